"""Compiled loops against numpy, against the full checks, and on supercells."""

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.compiled import matrices
from aiida_goectp.core.crystals.compiled.centring import primitive_by_translations
from aiida_goectp.core.crystals.compiled.quick_check import is_surely_valid
from aiida_goectp.core.crystals.equivalent import make_supercell
from aiida_goectp.core.crystals.symmetry_search import SYMPREC, SYSTEMS
from aiida_goectp.core.crystals.validation import MIN_DISTANCE
from tests.core.network.random_crystals import SETTINGS, random_crystal


def test_matrices_equal_those_of_numpy():
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = random.normal(size=(2, 3, 3))
        np.testing.assert_allclose(matrices.inverse(a), np.linalg.inv(a), atol=1e-9)
        assert matrices.determinant(a) == pytest.approx(np.linalg.det(a))
        np.testing.assert_allclose(matrices.product_transposed(a, b), a @ b.T, atol=1e-12)
        root = matrices.square_root(a @ a.T)
        np.testing.assert_allclose(root @ root, a @ a.T, atol=1e-9)
        np.testing.assert_allclose(matrices.face_distances(a), abs(np.linalg.det(a)) / _areas(a))


def _areas(cell):
    return [np.linalg.norm(np.cross(cell[(x + 1) % 3], cell[(x + 2) % 3])) for x in range(3)]


def test_no_crystal_with_close_atoms_passes_the_quick_check():
    """Two atoms near the smallest distance, in skewed cells; all images are compared here."""
    random, passed = np.random.default_rng(1), 0
    grid = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing='ij'), axis=-1).reshape(-1, 3)
    for _ in range(300):
        lattice = random.normal(size=(3, 3)) * 1.5 + np.eye(3) * 2
        step = random.normal(size=3)
        step *= MIN_DISTANCE * random.uniform(0.8, 1.2) / np.linalg.norm(step)
        positions = np.array([[0.0, 0.0, 0.0], step @ np.linalg.inv(lattice)]) + random.uniform(-2, 2, size=3)
        distances = np.linalg.norm((grid[:, None] + [positions[1] - positions[0], [0, 0, 0]]) @ lattice, axis=2)
        found = is_surely_valid(Crystal('x', lattice, np.array([8, 8]), positions))
        assert not found or distances[distances > 0].min() >= MIN_DISTANCE
        passed += found
    assert passed > 20


@pytest.mark.parametrize('system', SYSTEMS)
def test_the_primitive_cell_of_a_supercell(system):
    random = np.random.default_rng(SYSTEMS.index(system))
    for hall in SETTINGS[system]:
        crystal = random_crystal(system, hall, random)
        cell = crystal.lattice, crystal.fractional_positions, crystal.atomic_numbers.astype(np.int64)
        given = primitive_by_translations(*cell, SYMPREC)
        atoms = len(cell[2]) if given is None else given[1].max() + 1
        larger = make_supercell(crystal, random)
        lattice, mapping = primitive_by_translations(
            larger.lattice, larger.fractional_positions, larger.atomic_numbers.astype(np.int64), SYMPREC
        )
        assert mapping.max() + 1 == atoms
        density = len(cell[2]) / abs(np.linalg.det(crystal.lattice))
        assert atoms / abs(np.linalg.det(lattice)) == pytest.approx(density)
        for atom in range(atoms):
            assert len(set(larger.atomic_numbers[mapping == atom])) == 1


def test_a_translation_that_maps_some_of_the_atoms_makes_no_smaller_cell():
    """Three of four atoms of a chain are equally spaced: a quarter of the repeat maps two of them only."""
    positions = np.array([[0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [0.76, 0, 0]])
    assert primitive_by_translations(np.diag([8.0, 3, 3]), positions, np.full(4, 26), SYMPREC) is None
