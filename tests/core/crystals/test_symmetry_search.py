"""Symmetry search: crystal systems, failures, and the type of listed operations."""

from __future__ import annotations

import numpy as np
import pytest
import spglib

from aiida_goectp.core.crystals import Crystal, CrystalSet, read_structures
from aiida_goectp.core.crystals.equivalent import change_cell, make_supercell
from aiida_goectp.core.crystals.symmetry_search import (
    SYMPREC,
    SYSTEMS,
    crystal_system,
    crystal_systems,
    find_symmetry,
    group_number,
    minkowski_reduce,
)
from tests.core.datasets.equivalent_crystals import equivalent_crystal, low_symmetry, rotation, rutile
from tests.rows import PETOUSIS


def test_systems_of_textbook_structures(crystal_set):
    found = dict(zip(crystal_set.ids.tolist(), crystal_systems(crystal_set).tolist(), strict=True))
    cubic = dict.fromkeys(['Si', 'MgO', 'GaAs', 'SrTiO3'], 'cubic')
    assert found == {**cubic, 'TiO2': 'tetragonal', 'AlN': 'hexagonal'}
    assert crystal_system(low_symmetry()) == 'triclinic'
    assert crystal_systems(crystal_set.take([])).tolist() == []


def test_the_system_does_not_depend_on_the_cell():
    other, _ = equivalent_crystal(rutile(), rotation(1), np.array([[1, 1, 0], [0, 2, 0], [0, 1, 1]]))
    assert crystal_system(other) == 'tetragonal'


def test_failures_are_none_without_a_warning(recwarn):
    flat = Crystal('x', np.zeros((3, 3)), np.array([8], np.int16), np.zeros((1, 3)))
    assert find_symmetry(flat.lattice, flat.fractional_positions, flat.atomic_numbers) is None
    assert crystal_systems(CrystalSet.from_crystals([flat])).tolist() == ['unknown']
    assert not recwarn.list


@pytest.mark.parametrize('value', [np.nan, np.inf, 1e300, 1e-300])
def test_extreme_lattices_have_no_symmetry(value):
    assert find_symmetry(np.diag([value, 4, 4]), np.zeros((1, 3)), np.array([8])) is None


@pytest.mark.timeout(30)
def test_the_search_in_a_cell_of_extreme_shape_returns():
    assert find_symmetry(np.diag([0.96, 3.5, 9686]), np.zeros((1, 3)), np.array([8])) is None
    assert find_symmetry(np.diag([5.6, 0.84, 0.016]), np.zeros((1, 3)), np.array([8])) is None
    assert find_symmetry(np.diag([4, 4, 800]), np.zeros((1, 3)), np.array([8])).number == 123


def test_cells_without_atoms_and_positions_that_are_no_numbers():
    assert find_symmetry(np.eye(3), np.zeros((0, 3)), np.zeros(0, np.int16)) is None
    assert find_symmetry(np.eye(3), np.full((1, 3), np.nan), np.array([8])) is None


def test_the_operations_are_those_of_spglib():
    """Same rotations, translations, primitive lattice and equivalent atoms, in cells as published and in others."""
    rng = np.random.default_rng(0)
    for given in list(read_structures([PETOUSIS]))[::5]:
        for crystal in (given, change_cell(given, rng), make_supercell(given, rng)):
            lattice, positions, numbers = crystal.lattice, crystal.fractional_positions, crystal.atomic_numbers
            found = find_symmetry(lattice, positions, numbers)
            expected = spglib.get_symmetry_dataset((lattice, positions, numbers), symprec=SYMPREC)
            assert found.number == expected.number, crystal.id
            assert len(found.rotations) == len(expected.rotations), crystal.id
            difference = found.translations[:, None] - expected.translations
            shift = np.linalg.norm((difference - np.rint(difference)) @ lattice, axis=2)
            same = (found.rotations[:, None] == expected.rotations).all(axis=(2, 3)) & (shift < SYMPREC)
            assert same.any(axis=1).all(), crystal.id
            assert same.any(axis=0).all(), crystal.id
            change = found.primitive_lattice @ np.linalg.inv(expected.primitive_lattice)
            np.testing.assert_allclose(change, np.rint(change), atol=1e-2)
            assert abs(np.linalg.det(change)) == pytest.approx(1, abs=1e-2)
            pairs = {*zip(found.mapping_to_primitive.tolist(), expected.mapping_to_primitive.tolist(), strict=True)}
            assert len(pairs) == found.mapping_to_primitive.max() + 1 == max(expected.mapping_to_primitive) + 1


def test_a_rutile_supercell():
    other, _ = equivalent_crystal(rutile(), rotation(1), np.diag([2, 1, 1]))
    found = find_symmetry(other.lattice, other.fractional_positions, other.atomic_numbers)
    assert found.number == 136
    assert found.mapping_to_primitive.max() + 1 == 6
    assert abs(np.linalg.det(found.primitive_lattice)) * 2 == pytest.approx(abs(np.linalg.det(other.lattice)))


def test_group_of_operations_in_a_setting_that_no_table_has():
    found = find_symmetry(rutile().lattice, rutile().fractional_positions, rutile().atomic_numbers)
    shift = np.array([0.1, 0.2, 0.3])
    moved = found.translations + shift - found.rotations @ shift
    assert group_number(found.rotations, found.translations, rutile().lattice) == 136
    assert group_number(found.rotations, moved, rutile().lattice) == 136
    assert group_number(found.rotations[:3], found.translations[:3], rutile().lattice) != 136


def test_all_systems_occur_in_the_published_table():
    crystals = read_structures([PETOUSIS])
    assert set(crystal_systems(crystals).tolist()) == set(SYSTEMS)


@pytest.mark.parametrize('hand', [1, -1])
def test_reduced_lattice_keeps_orientation_and_handedness(hand):
    lattice = hand * np.array([[4.0, 0.1, 0.2], [0.3, 5.0, 0.4], [0.5, 0.6, 6.0]])
    reduced = minkowski_reduce(np.array([[1, 0, 0], [7, 1, 0], [-9, 4, 1]]) @ lattice)
    change = reduced @ np.linalg.inv(lattice)
    np.testing.assert_allclose(change, np.rint(change), atol=1e-9)
    assert np.linalg.det(change) == pytest.approx(1)
    lengths = np.linalg.norm(reduced, axis=1)
    np.testing.assert_allclose(np.sort(lengths), np.sort(np.linalg.norm(lattice, axis=1)), atol=1e-9)


def test_flat_lattice_is_not_reduced():
    flat = np.array([[4.0, 0, 0], [0, 5, 0], [1.3, -2.1, 1e-6]])
    assert minkowski_reduce(flat) is None
    assert minkowski_reduce(flat + np.diag([0, 0, 1e-4])) is not None
