"""Equal crystals: found in every description, and not confused with similar ones."""

from __future__ import annotations

import io

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.crystals.equivalent import DESCRIPTIONS, random_orthogonal, rotate
from aiida_goectp.core.datasets.prototypes import composition
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection import equal_crystals
from aiida_goectp.core.selection.equal_crystals import composition_keys, equal_rows
from aiida_goectp.core.selection.final_ranking import rank_verified
from aiida_goectp.core.selection.history import History
from aiida_goectp.core.selection.ranking import Ranking, rank
from aiida_goectp.core.selection.reasons import ReasonCode, parse_reasons
from tests.core.datasets.equivalent_crystals import rutile

from .builders import crystal_set as cubic_oxides
from .builders import predictions_for
from .test_final_ranking import labelled


def described(crystal, name, rng):
    """Return another description of a crystal, rotated."""
    return rotate(DESCRIPTIONS[name](crystal, rng), random_orthogonal(rng))


def rows_of(*crystals):
    return CrystalSet.from_crystals([item._replace(id=f'c{row}') for row, item in enumerate(crystals)])


@pytest.mark.parametrize('name', DESCRIPTIONS)
def test_other_descriptions_are_equal(crystal_set, name):
    rng = np.random.default_rng(3)
    others = [described(crystal, name, rng) for crystal in crystal_set]
    table = rows_of(*crystal_set, *others)
    assert equal_rows(table, np.arange(12)).tolist() == [-1] * 6 + list(range(6))
    backwards = equal_rows(table, np.arange(12)[::-1])
    assert backwards.tolist() == [*range(6, 12), *[-1] * 6]


def test_numbers_with_few_decimals_are_equal(crystal_set):
    rounded = [
        crystal._replace(
            lattice=np.round(crystal.lattice, 3), fractional_positions=np.round(crystal.fractional_positions, 4)
        )
        for crystal in crystal_set
    ]
    found = equal_rows(rows_of(*crystal_set, *rounded), range(12))
    assert found[6:].tolist() == list(range(6))


def test_keys_of_blocks_are_those_of_the_whole_set(crystal_set, monkeypatch):
    whole = composition_keys(crystal_set)
    monkeypatch.setattr(equal_crystals, 'BLOCK_ROWS', 4)
    for one, other in zip(composition_keys(crystal_set), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(np.unique(whole.compositions, axis=0)) == len({composition(crystal) for crystal in crystal_set})
    assert [len(item) for item in composition_keys(CrystalSet.from_crystals([]))] == [0, 0]


def test_groups_are_read_together_at_a_cost_for_each_of_them(monkeypatch):
    """A screen of 10⁶ crystals has 10⁵ groups of two."""
    asked = []

    class Group(list):
        def __len__(self):
            asked.append(1)
            return 2

    monkeypatch.setattr(equal_crystals, '_READ_ROWS', 300)
    groups = [Group((k, k)) for k in range(500)]
    parts = list(equal_crystals._portions(groups))
    assert [group for part in parts for group in part] == groups
    assert list(map(len, parts)) == [150, 150, 150, 50]
    assert len(asked) < 10 * len(groups)


def test_rows_that_are_not_compared_are_equal_to_none(crystal_set):
    table = rows_of(crystal_set[0], crystal_set[0], crystal_set[1])
    assert equal_rows(table, [1, 2]).tolist() == [-1, -1, -1]
    assert equal_rows(table, [1, 0]).tolist() == [1, -1, -1]
    assert equal_rows(CrystalSet.from_crystals([]), []).tolist() == []


def test_similar_crystals_are_different():
    crystal = rutile()
    stretched = crystal._replace(lattice=crystal.lattice * np.array([[1.0], [1.0], [1.004]]))
    larger = crystal._replace(lattice=crystal.lattice * 1.002)
    moved = crystal.fractional_positions.copy()
    moved[2:] += np.sign(moved[2:] - 0.5) * np.array([0.006, 0.006, 0])
    distorted = crystal.fractional_positions.copy()
    distorted[0, 2] += 0.02
    others = [crystal._replace(fractional_positions=positions) for positions in (moved, distorted)]
    numbers = crystal.atomic_numbers.copy()
    numbers[0] = 40
    table = rows_of(crystal, stretched, larger, *others, crystal._replace(atomic_numbers=numbers))
    assert equal_rows(table, range(6)).tolist() == [-1] * 6


def test_polymorphs_of_equal_density_are_different():
    rng = np.random.default_rng(0)
    cells = [
        Crystal('', np.diag([4.0, 4.0, 4.0]), np.array([12, 8], np.int16), np.array([[0, 0, 0], [0.5, 0.5, 0.5]])),
        Crystal('', np.diag([4.0, 4.0, 4.0]), np.array([12, 8], np.int16), np.array([[0, 0, 0], [0.5, 0.5, 0]])),
        Crystal('', np.diag([3.2, 4.0, 5.0]), np.array([12, 8], np.int16), np.array([[0, 0, 0], [0.5, 0.5, 0.5]])),
    ]
    table = rows_of(*cells, *(described(cell, 'supercell', rng) for cell in cells))
    assert equal_rows(table, range(6)).tolist() == [-1, -1, -1, 0, 1, 2]


def test_many_crystals_of_one_lattice():
    rng = np.random.default_rng(1)
    base = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], dtype=float)
    cells = [
        Crystal('', np.eye(3) * 5, np.array([12, 12, 8, 8], np.int16), base + rng.normal(size=(4, 3)) * 0.03)
        for _ in range(60)
    ]
    found = equal_rows(rows_of(*cells, *cells[:20], *(described(cell, 'cell', rng) for cell in cells[:5])), range(85))
    assert found.tolist() == [-1] * 60 + list(range(20)) + list(range(5))


@pytest.fixture
def doubled():
    """Three crystals, and the first two again in other cells, with higher and lower predictions."""
    rng = np.random.default_rng(5)
    first = list(cubic_oxides(3))
    table = rows_of(*first, described(first[0], 'supercell', rng), described(first[1], 'cell', rng))
    return table, predictions_for(table, electronic=[4, 5, 6, 4.5, 4.5])


def test_equal_crystals_are_ranked_once(doubled):
    table, predictions = doubled
    ranking = rank(table, predictions)
    assert ranking.ids[ranking.top()].tolist() == ['c2', 'c1', 'c3']
    assert ranking.joined_to.tolist() == [3, -1, -1, -1, 1]
    assert ranking.joined_ids(3) == ['c0']
    assert [parse_reasons(text)[0].code for text in ranking.reason[[0, 4]]] == [ReasonCode.EQUAL_CRYSTAL] * 2
    assert ranking.reason_counts() == {'equal crystal': 2}
    kept = rank(table, predictions, keep_duplicates=True)
    assert kept.ranked_count == 5
    assert (kept.joined_to == -1).all()


def test_the_verified_one_of_equal_crystals_is_ranked(doubled):
    table, predictions = doubled
    label = labelled([0], value=1.0)
    label = type(label)(table.take([0]), label.electronic, label.ionic)
    ranking = rank_verified(table, predictions, label, History(figure_of_merit='total'))
    assert ranking.ids[ranking.top()].tolist() == ['c2', 'c1', 'c0']
    assert ranking.joined_to.tolist() == [-1, -1, -1, 0, 1]
    kept = rank_verified(table, predictions, label, History(figure_of_merit='total'), keep_duplicates=True)
    assert kept.ranked_count == 5


def test_joined_rows_in_the_file(doubled, tmp_path):
    ranking = rank(*doubled)
    ranking.save(tmp_path / 'r.npz')
    again = Ranking.load(tmp_path / 'r.npz')
    assert again.joined_to.tolist() == ranking.joined_to.tolist()
    assert again.content_hash == ranking.content_hash
    for wrong in ([3, -1, -1, -1, 0], [9, -1, -1, -1, 1], [3, -1, -1, 1, 1], [-2, -1, -1, -1, 1]):
        buffer = io.BytesIO()
        with pytest.raises(FormatError, match='joined'):
            type(ranking)(**{**vars_of(ranking), 'joined_to': np.array(wrong)}).save(buffer)


def vars_of(ranking):
    return {name: getattr(ranking, name) for name in ranking.stored_fields()}
