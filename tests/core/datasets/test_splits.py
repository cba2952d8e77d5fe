"""Splits: what stands in which part, and that nothing leaks."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.datasets.splits import SPLIT_PARTS, given_parts, make_split, reduced_formulas
from aiida_goectp.core.formats.npz import FormatError
from tests import tiny


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


def test_random_parts_have_the_sizes_that_were_asked_for():
    column = make_split(many(), np.ones(200, bool), 'random', 0)
    assert sizes(column) == [160, 20, 20]
    assert sizes(make_split(many(), np.ones(200, bool), 'random', 0, (0.5, 0.0, 0.5))) == [100, 0, 100]


@pytest.mark.parametrize('kind', ['random', 'formula'])
def test_seed_and_crystals_decide_not_the_order(kind):
    crystals, everything = many(), np.ones(200, bool)
    column = make_split(crystals, everything, kind, 3)
    assert (make_split(crystals, everything, kind, 3) == column).all()
    assert (make_split(crystals, everything, kind, 4) != column).any()
    order = np.random.default_rng(1).permutation(200)
    assert (make_split(crystals.take(order), everything, kind, 3) == column[order]).all()


def test_no_formula_stands_in_two_parts():
    crystals = many()
    column = make_split(crystals, np.ones(200, bool), 'formula', 0, (0.6, 0.2, 0.2))
    formulas = np.array(reduced_formulas(crystals))
    for formula in set(formulas.tolist()):
        assert len(set(column[formulas == formula].tolist())) == 1
    assert min(sizes(column)) > 10


def test_one_formula_in_every_cell():
    small = Crystal('a', np.eye(3), np.array([22, 8, 8], np.int16), np.zeros((3, 3)))
    large = Crystal('b', np.eye(3), np.array([8, 8, 22, 8, 8, 22], np.int16), np.zeros((6, 3)))
    other = Crystal('c', np.eye(3), np.array([8, 22], np.int16), np.zeros((2, 3)))
    names = reduced_formulas(CrystalSet.from_crystals([small, large, other]))
    assert names[0] == names[1] != names[2]


def test_rows_that_may_not_be_used_are_in_no_part():
    eligible = np.arange(200) % 3 > 0
    column = make_split(many(), eligible, 'random', 0)
    assert (column[~eligible] == '').all()
    assert (column[eligible] != '').all()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (('folds', 0), "no split is of kind 'folds'; kinds are random, formula"),
        (('random', 0, (0.8, 0.1)), 'give three that add up to 1'),
        (('random', 0, (0.8, 0.1, 0.2)), 'give three that add up to 1'),
        (('random', 0, (1.2, -0.1, -0.1)), 'give three that add up to 1'),
        (('random', 0, (float('nan'), 0.5, 0.5)), 'give three that add up to 1'),
        (('random', 0, (0.0, 0.5, 0.5)), 'give three that add up to 1'),
        (('random', -1), 'seed -1'),
    ],
)
def test_what_is_refused(arguments, words):
    with pytest.raises(FormatError, match=words):
        make_split(many(), np.ones(200, bool), *arguments)


def test_too_few_rows():
    with pytest.raises(FormatError, match='3 trainable rows are too few for a part'):
        make_split(many(3), np.ones(3, bool), 'random', 0)
    assert sizes(make_split(many(3), np.ones(3, bool), 'random', 0, (1.0, 0.0, 0.0))) == [3, 0, 0]
    with pytest.raises(FormatError, match='0 trainable rows'):
        make_split(tiny.some_crystals(4), np.zeros(4, bool), 'random', 0)


def test_given_parts():
    rows = {name: np.array(part) for name, part in {'train': [0, 1, 4], 'test': [3]}.items()}
    column = given_parts(rows, np.array([True, False, True, True, True]))
    assert column.tolist() == ['train', '', '', 'test', 'train']
    for bad, words in (
        ({'train': [0], 'test': [0]}, 'row of the part test stands twice'),
        ({'train': [0, 0]}, 'row of the part train stands twice'),
        ({'train': [0], 'holdout': [1]}, "has no part 'holdout'"),
        ({'train': [1]}, 'no trainable row in its part train'),
    ):
        with pytest.raises(FormatError, match=words):
            given_parts({name: np.array(part) for name, part in bad.items()}, np.array([True, False]))
