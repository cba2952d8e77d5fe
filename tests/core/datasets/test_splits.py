"""Splits: sizes of the parts, reproducibility, and no formula in two parts."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.datasets.splits import SPLIT_PARTS, given_parts, make_split, reduced_formulas
from aiida_goectp.core.formats.errors import FormatError
from tests import tiny
from tests.core.crystals.test_matching import CELLS
from tests.core.datasets.equivalent_crystals import equivalent_crystal, rotation
from tests.core.selection.builders import crystal_set

PARTS = {'validation': [16, 37, 39, 48, 51, 52], 'test': [2, 10, 15, 31, 40, 50]}
"""of the crystals of a seed"""


def many(count=200):
    """Return crystals of some ten formulas, in cells of different size."""
    rng = np.random.default_rng(0)
    rows = []
    for row in range(count):
        copies = int(rng.integers(1, 3))
        numbers = np.repeat(rng.choice([[3, 9], [11, 17], [12, 8], [19, 35], [20, 8], [37, 53]][row % 6], 2), copies)
        lattice = np.diag([4.0, 4.0, 4.0 * copies]) + rng.uniform(0, 0.1, (3, 3))
        rows.append(Crystal(f'c{row}', lattice, numbers.astype(np.int16), rng.uniform(size=(2 * copies, 3))))
    return CrystalSet.from_crystals(rows)


def sizes(column):
    return [int((column == part).sum()) for part in SPLIT_PARTS]


def test_sizes_of_random_parts():
    column = make_split(many(), np.ones(200, bool), 'random', 0)
    assert sizes(column) == [160, 20, 20]
    assert sizes(make_split(many(), np.ones(200, bool), 'random', 0, (0.5, 0.0, 0.5))) == [100, 0, 100]


def test_parts_of_a_seed():
    """A split of different crystals is that of the first version of the package."""
    column = make_split(crystal_set(60), np.ones(60, bool), 'random', 3)
    assert {part: np.flatnonzero(column == part).tolist() for part in ('validation', 'test')} == PARTS


def with_twins(count=40, seed=0):
    """Return crystals, and each once more: every other one strained, or in another cell and frame."""
    rows = list(crystal_set(count))
    twins = [
        equivalent_crystal(row, rotation(place), CELLS['supercell'], place)[0]
        if place % 2
        else row._replace(lattice=row.lattice * 1.01)
        for place, row in enumerate(rows)
    ]
    return CrystalSet.from_crystals([*rows, *(row._replace(id=f'{row.id}b') for row in twins)])


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_rows_of_one_crystal_are_in_one_random_part(seed):
    crystals = with_twins()
    column = make_split(crystals, np.ones(80, bool), 'random', seed)
    assert (column[:40] == column[40:]).all()
    assert sizes(column) == [64, 8, 8]
    order = np.random.default_rng(seed).permutation(80)
    assert (make_split(crystals.take(order), np.ones(80, bool), 'random', seed) == column[order]).all()
    # the twin of a row that is not eligible has no effect
    eligible = np.arange(80) < 40
    alone = make_split(crystals, eligible, 'random', seed)
    assert (alone[:40] == make_split(crystals.take(np.arange(40)), np.ones(40, bool), 'random', seed)).all()


@pytest.mark.parametrize('kind', ['random', 'formula'])
def test_splits_do_not_depend_on_the_order_of_rows(kind):
    crystals, everything = many(), np.ones(200, bool)
    column = make_split(crystals, everything, kind, 3)
    assert (make_split(crystals, everything, kind, 3) == column).all()
    assert (make_split(crystals, everything, kind, 4) != column).any()
    order = np.random.default_rng(1).permutation(200)
    assert (make_split(crystals.take(order), everything, kind, 3) == column[order]).all()


def test_no_formula_is_in_two_parts():
    crystals = many()
    column = make_split(crystals, np.ones(200, bool), 'formula', 0, (0.6, 0.2, 0.2))
    formulas = np.array(reduced_formulas(crystals))
    for formula in set(formulas.tolist()):
        assert len(set(column[formulas == formula].tolist())) == 1
    assert min(sizes(column)) > 10


def test_reduced_formulas_do_not_depend_on_the_cell():
    small = Crystal('a', np.eye(3), np.array([22, 8, 8], np.int16), np.zeros((3, 3)))
    large = Crystal('b', np.eye(3), np.array([8, 8, 22, 8, 8, 22], np.int16), np.zeros((6, 3)))
    other = Crystal('c', np.eye(3), np.array([8, 22], np.int16), np.zeros((2, 3)))
    names = reduced_formulas(CrystalSet.from_crystals([small, large, other]))
    assert names[0] == names[1] != names[2]


def test_rows_that_are_not_eligible_are_in_no_part():
    eligible = np.arange(200) % 3 > 0
    column = make_split(many(), eligible, 'random', 0)
    assert (column[~eligible] == '').all()
    assert (column[eligible] != '').all()


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        (('folds', 0), "'folds'.*random, formula"),
        (('random', 0, (0.8, 0.1)), 'fractions'),
        (('random', 0, (0.8, 0.1, 0.2)), 'fractions'),
        (('random', 0, (1.2, -0.1, -0.1)), 'fractions'),
        (('random', 0, (float('nan'), 0.5, 0.5)), 'fractions'),
        (('random', 0, (0.0, 0.5, 0.5)), 'fractions'),
        (('random', -1), 'seed'),
    ],
)
def test_invalid_arguments_are_refused(arguments, name):
    with pytest.raises(FormatError, match=name):
        make_split(many(), np.ones(200, bool), *arguments)


def test_too_few_rows():
    with pytest.raises(FormatError, match=r'3 .*fraction'):
        make_split(many(3), np.ones(3, bool), 'random', 0)
    assert sizes(make_split(many(3), np.ones(3, bool), 'random', 0, (1.0, 0.0, 0.0))) == [3, 0, 0]
    with pytest.raises(FormatError, match=r'0 .*fraction'):
        make_split(tiny.some_crystals(4), np.zeros(4, bool), 'random', 0)


def test_given_parts():
    rows = {name: np.array(part) for name, part in {'train': [0, 1, 4], 'test': [3]}.items()}
    column = given_parts(rows, np.array([True, False, True, True, True]))
    assert column.tolist() == ['train', '', '', 'test', 'train']
    for invalid, name in (
        ({'train': [0], 'test': [0]}, 'part test'),
        ({'train': [0, 0]}, 'part train'),
        ({'train': [0], 'holdout': [1]}, "'holdout'"),
        ({'train': [1]}, 'part train'),
    ):
        with pytest.raises(FormatError, match=name):
            given_parts({part: np.array(rows) for part, rows in invalid.items()}, np.array([True, False]))
