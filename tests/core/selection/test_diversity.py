"""Structure matching and batches without near-duplicates."""

from __future__ import annotations

import pytest

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.selection.diversity import StructureMatcher, take_batch
from tests.core.crystals.test_matching import CELLS, polymorphs
from tests.core.datasets.equivalent_crystals import equivalent_crystal, low_symmetry, rotation, rutile


def compare(method, first: Crystal, second: Crystal, **options) -> bool:
    rows = CrystalSet.from_crystals([first._replace(id='1'), second._replace(id='2')])
    one, other = (str(name) for name in rows.hashes)
    matcher = StructureMatcher(**options)
    found = getattr(matcher, method)(rows[0], one, rows[1], other)
    assert getattr(matcher, method)(rows[1], other, rows[0], one) == found
    return found


@pytest.mark.parametrize('method', ['same', 'near_duplicates'])
@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize('crystal', [rutile(), low_symmetry()], ids=lambda crystal: crystal.id)
def test_other_cells_and_frames_of_a_crystal_match(method, crystal, cell):
    other, _ = equivalent_crystal(crystal, rotation(3, mirrored=True), CELLS[cell], seed=1)
    assert compare(method, crystal, other)


@pytest.mark.parametrize('kind', polymorphs())
def test_polymorphs_do_not_match(kind):
    one, other = polymorphs()[kind]
    assert not compare('same', one, other)
    # near-duplicates include displacements that keep the orbits, as in a triclinic crystal
    assert compare('near_duplicates', one, other) == (kind == 'one atom elsewhere')


def test_volume_tolerance_of_near_duplicates():
    assert compare('near_duplicates', rutile(), rutile(c=2.96 * 1.04))
    assert not compare('near_duplicates', rutile(), rutile(c=2.96 * 1.06))
    assert compare('near_duplicates', rutile(), rutile(c=2.96 * 1.06), volume_tolerance=0.1)
    assert not compare('same', rutile(), rutile(c=2.96 * 1.04))


def test_near_duplicates_of_a_pick_are_skipped():
    batch = take_batch([4, 3, 2, 1, 0], 3, lambda row, other: row % 2 == other % 2)
    assert batch == ([4, 3], {2: 4, 1: 3, 0: 4})


def test_full_batch_ends_the_comparison():
    compared = []
    batch = take_batch([0, 1, 2, 3], 2, lambda row, other: compared.append((row, other)) or False)
    assert batch == ([0, 1], {})
    assert compared == [(1, 0)]
    assert take_batch([], 2, lambda row, other: False).picks == []
    assert take_batch([0, 1], 0, lambda row, other: False).picks == []
