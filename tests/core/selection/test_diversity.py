"""Structure matching and batches without near-duplicates."""

from __future__ import annotations

import numpy as np
import pytest
import spglib

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


ENANTIOMORPHS = [
    (76, 78), (91, 95), (92, 96), (144, 145), (151, 153), (152, 154), (169, 170), (171, 172), (178, 179), (180, 181),
    (212, 213),
]  # fmt: skip


def chiral_crystal(space_group: int) -> Crystal:
    """Return a crystal of a chiral tetragonal, hexagonal or cubic space group with three general positions."""
    hall = next(n for n in range(1, 531) if spglib.get_spacegroup_type(n).number == space_group)
    operations = spglib.get_symmetry_from_database(hall)
    cell = np.diag([9.0, 9.0, 9.0 if space_group > 194 else 12.0])
    if 143 <= space_group <= 194:
        cell[1, :2] = -4.5, 4.5 * np.sqrt(3)
    general = np.array([[0.11, 0.23, 0.07], [0.37, 0.19, 0.29], [0.23, 0.41, 0.13]])
    sites = np.einsum('oij,sj->soi', operations['rotations'], general) + operations['translations']
    numbers = np.repeat([38, 22, 8], len(operations['rotations'])).astype(np.int16)
    return Crystal(f'{space_group}', cell, numbers, sites.reshape(-1, 3) % 1)


@pytest.mark.parametrize('pair', ENANTIOMORPHS, ids=str)
def test_mirror_images_are_near_duplicates(pair):
    one = chiral_crystal(pair[0])
    other = one._replace(lattice=one.lattice @ np.diag([1, 1, -1]))
    found = [
        spglib.get_symmetry_dataset((row.lattice, row.fractional_positions, row.atomic_numbers)).number
        for row in (one, other)
    ]
    assert tuple(found) == pair
    assert compare('near_duplicates', one, other)
    assert StructureMatcher().prototype(other, 'other').space_group == pair[0]


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
