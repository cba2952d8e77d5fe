"""Diversity: disguises are seen through, what differs is kept, features as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.selection.diversity import DiversitySettings, StructureMatcher, choose, scaled_features
from tests.core.crystals.test_matching import CELLS, polymorphs
from tests.core.datasets.disguise import disguised, low_symmetry, rotation, rutile


def compare(kind, first: Crystal, second: Crystal, **options) -> bool:
    rows = CrystalSet.from_crystals([first._replace(id='1'), second._replace(id='2')])
    one, other = (str(name) for name in rows.hashes)
    judge = StructureMatcher(**options)
    found = getattr(judge, kind)(rows[0], one, rows[1], other)
    assert getattr(judge, kind)(rows[1], other, rows[0], one) == found
    return found


@pytest.mark.parametrize('kind', ['same', 'alike'])
@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize('crystal', [rutile(), low_symmetry()], ids=lambda crystal: crystal.id)
def test_disguises_are_seen_through(kind, crystal, cell):
    other, _ = disguised(crystal, rotation(3, mirrored=True), CELLS[cell], seed=1)
    assert compare(kind, crystal, other)


@pytest.mark.parametrize('kind', polymorphs())
def test_polymorphs_are_told_apart(kind):
    one, other = polymorphs()[kind]
    assert not compare('same', one, other)
    # near-duplicates are a wider notion: a triclinic crystal with one atom moved is one
    assert compare('alike', one, other) == (kind == 'one atom elsewhere')


def test_another_relaxation_is_a_near_duplicate_within_the_tolerance():
    assert compare('alike', rutile(), rutile(c=2.96 * 1.04))
    assert not compare('alike', rutile(), rutile(c=2.96 * 1.06))
    assert compare('alike', rutile(), rutile(c=2.96 * 1.06), volume_tolerance=0.1)
    assert not compare('same', rutile(), rutile(c=2.96 * 1.04))


def names(n):
    return [f'c{row}' for row in range(n)]


def never(row, other):
    return False


def pick(order, number, near=never, **options):
    return choose(order, number, DiversitySettings(**options), near, names(9))


def test_near_duplicates_of_a_pick_are_passed_with_a_reason():
    found = pick([4, 3, 2, 1, 0], 3, near=lambda row, other: row % 2 == other % 2)
    assert found.picks == [4, 3]
    assert found.passed == {
        2: 'near-duplicate: of c4, picked before it',
        1: 'near-duplicate: of c3, picked before it',
        0: 'near-duplicate: of c4, picked before it',
    }
    assert pick([4, 3, 2, 1, 0], 3, near=lambda row, other: True, structures=False).picks == [4, 3, 2]


def test_the_batch_is_full_before_the_rest_is_looked_at():
    asked = []
    found = pick([0, 1, 2, 3], 2, near=lambda row, other: asked.append(row) or False)
    assert found == ([0, 1], {})
    assert asked == [1]
    assert pick([], 2).picks == []
    assert pick([0, 1], 0).picks == []


def test_the_threshold_at_its_edge():
    points = np.array([[0.0], [0.5], [0.25], [2.0]])
    asked = DiversitySettings(features='threshold', min_distance=0.5)
    found = choose([0, 1, 2, 3], 4, asked, never, names(4), points)
    assert found.picks == [0, 1, 3]
    assert found.passed == {2: 'near-duplicate: features 0.25 from those of c0, picked before it'}


def test_farthest_takes_the_best_then_what_is_far_within_the_shortlist():
    points = np.array([[0.0], [0.1], [5.0], [2.0], [100.0]])
    asked = DiversitySettings(features='farthest', shortlist=2)
    assert choose([0, 1, 2, 3, 4], 2, asked, never, names(5), points).picks == [0, 2]
    everything = asked.model_copy(update={'shortlist': 9})
    assert choose([0, 1, 2, 3, 4], 3, everything, never, names(5), points).picks == [0, 4, 2]
    # a duplicate by structure makes room for one behind the shortlist
    found = choose([0, 1, 2, 3, 4], 2, asked, lambda row, other: row < 4, names(5), points)
    assert found.picks == [0, 4]
    assert set(found.passed) == {1, 2, 3}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12, unique=True),
    st.integers(1, 6),
    st.sampled_from(['threshold', 'farthest']),
    st.randoms(),
)
def test_the_choice_hangs_on_the_order_given_not_on_row_numbers(points, number, mode, random):
    array = np.array(points, dtype=float)
    asked = DiversitySettings(features=mode, min_distance=1.5)
    shuffle = list(range(len(points)))
    random.shuffle(shuffle)
    first = choose(range(len(points)), number, asked, never, names(len(points)), array)
    moved = np.empty_like(array)
    moved[shuffle] = array
    second = choose(shuffle, number, asked, never, names(len(points)), moved)
    assert second.picks == [shuffle[row] for row in first.picks]
    if mode == 'farthest':
        assert len(first.picks) == min(number, len(points))
    else:
        chosen = array[first.picks]
        apart = np.sqrt(((chosen[:, None] - chosen[None]) ** 2).mean(axis=2)) + 9 * np.eye(len(chosen))
        assert (apart >= 1.5).all()


def test_features_are_scaled_column_by_column():
    rows = np.array([[1.0, 1e6, 7], [3.0, 3e6, 7]])
    assert scaled_features(rows, names(2)).tolist() == [[-1, -1, 0], [1, 1, 0]]
    assert scaled_features(np.zeros((0, 3)), []).shape == (0, 3)


def test_missing_or_bad_features_are_refused():
    with pytest.raises(FormatError, match=r"diversity.features: 'farthest' needs the features .* set it to off"):
        choose([0], 1, DiversitySettings(features='farthest'), never, names(1))
    with pytest.raises(FormatError, match=r'expected \(2, k\) numbers with k at least 1, found \(3, 1\)'):
        scaled_features(np.zeros((3, 1)), names(2))
    with pytest.raises(FormatError, match='features of c1 are not finite'):
        scaled_features(np.array([[1.0], [np.nan]]), names(2))
