"""Structure matching: equivalent descriptions of a crystal, and similar but different crystals."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.matching import align, primitive_sites
from aiida_goectp.core.crystals.symmetry import canonical_cell
from tests.core.datasets.equivalent_crystals import equivalent_crystal, low_symmetry, rotation, rutile

CELLS = {
    'same': np.eye(3, dtype=int),
    'sheared': np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]),
    'supercell': np.array([[2, 0, 0], [0, 1, 1], [0, 0, 2]]),
}


@pytest.mark.parametrize('mirrored', [False, True])
@pytest.mark.parametrize('cell', CELLS)
def test_rotation_and_matching_atoms(cell, mirrored):
    crystal, turn = low_symmetry(), rotation(3, mirrored)
    other, atoms = equivalent_crystal(crystal, turn, CELLS[cell], seed=1)
    first, second = canonical_cell(crystal), canonical_cell(other)
    found = align(first, second)
    np.testing.assert_allclose(found.rotation, turn.T, atol=1e-6)
    assert found.strain < 1e-6
    assert found.distance < 1e-5
    matched = found.permutation[primitive_sites(crystal, first)]
    copies = primitive_sites(other, second)
    assert set(zip(atoms.tolist(), copies.tolist(), strict=True)) == set(enumerate(matched.tolist()))


def test_the_axis_of_a_tetragonal_crystal():
    turn = rotation(8)
    other, _ = equivalent_crystal(rutile(), turn, CELLS['supercell'], seed=2)
    found = align(canonical_cell(rutile()), canonical_cell(other))
    assert abs(found.rotation @ turn @ [0, 0, 1]) == pytest.approx([0, 0, 1], abs=1e-6)


def test_another_relaxation_matches():
    crystal = low_symmetry()
    strain = np.eye(3) + np.array([[0.012, 0.004, 0], [0.004, -0.009, 0.003], [0, 0.003, 0.008]])
    turn = rotation(5)
    other, _ = equivalent_crystal(crystal, turn @ strain, CELLS['sheared'], seed=4, noise=0.03)
    found = align(canonical_cell(crystal), canonical_cell(other))
    np.testing.assert_allclose(found.rotation, turn.T, atol=0.02)
    assert 0.005 < found.strain < 0.03
    assert 0.001 < found.distance < 0.1


def test_of_several_matches_the_best_is_returned():
    """Edges that differ by less than the tolerance: a on b is within it, but rotates the tensor wrongly."""
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    crystal = Crystal('ortho', np.diag([4.0, 4.05, 4.1]), np.array([38, 22, 8, 8, 8], np.int16), sites)
    turn = rotation(6)
    found = align(canonical_cell(crystal), canonical_cell(equivalent_crystal(crystal, turn, seed=3)[0]))
    np.testing.assert_allclose(np.abs(found.rotation @ turn), np.eye(3), atol=1e-6)


def polymorphs():
    fcc = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.1
    rocksalt = Crystal('rocksalt', fcc, np.array([12, 8], np.int16), np.array([[0, 0, 0], [0.5] * 3]))
    zincblende = rocksalt._replace(fractional_positions=np.array([[0, 0, 0], [0.25] * 3]))
    caesium = rocksalt._replace(lattice=np.eye(3) * 2.6)
    perovskite = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    cubic = Crystal('cubic', np.eye(3) * 4.0, np.array([56, 22, 8, 8, 8], np.int16), perovskite)
    shifted = perovskite + np.array([0, 0, 1.0])[None] * np.array([0, 0.015, -0.02, -0.01, -0.01])[:, None]
    ferroelectric = cubic._replace(lattice=np.diag([3.99, 3.99, 4.03]), fractional_positions=shifted)
    squeezed = rocksalt._replace(lattice=fcc * 0.9)
    swapped = rutile()._replace(atomic_numbers=np.array([8, 8, 22, 22, 22, 22], np.int16))
    moved = low_symmetry().fractional_positions.copy()
    moved[2] += [0.08, 0, 0]
    return {
        'other structure': (rocksalt, zincblende),
        'other lattice': (rocksalt, caesium),
        'under pressure': (rocksalt, squeezed),
        'ferroelectric': (cubic, ferroelectric),
        'anti': (rutile(), swapped),
        'one atom elsewhere': (low_symmetry(), low_symmetry()._replace(fractional_positions=moved)),
        'other element': (rutile(), rutile()._replace(atomic_numbers=np.array([40, 40, 8, 8, 8, 8], np.int16))),
    }


@pytest.mark.parametrize('kind', polymorphs())
def test_similar_crystals_do_not_match(kind):
    first, second = (canonical_cell(crystal) for crystal in polymorphs()[kind])
    assert align(first, second) is None
    assert align(second, first) is None
    assert align(first, first) is not None
