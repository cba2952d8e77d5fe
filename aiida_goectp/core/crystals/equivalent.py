"""Equivalent descriptions of a crystal: rotated, with another origin, atom order or cell, or as a supercell.

A dielectric tensor rotates with the crystal and does not depend on the other choices. Tests apply these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal

__all__ = (
    'DESCRIPTIONS',
    'change_cell',
    'make_supercell',
    'permute_atoms',
    'random_orthogonal',
    'rotate',
    'shift_origin',
)


def random_orthogonal(rng: np.random.Generator) -> np.ndarray:
    """Return a random rotation or roto-inversion, (3, 3)."""
    return np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.choice([-1, 1])


def rotate(crystal: Crystal, rotation: np.ndarray) -> Crystal:
    """Return the crystal rotated (or reflected) by an orthogonal matrix (3, 3)."""
    return crystal._replace(lattice=crystal.lattice @ rotation.T)


def shift_origin(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return the crystal with another origin, each atom moved by a random lattice vector."""
    shifts = rng.normal(size=3) + rng.integers(-4, 5, (len(crystal.atomic_numbers), 3))
    return crystal._replace(fractional_positions=crystal.fractional_positions + shifts)


def permute_atoms(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return the crystal with its atoms in random order."""
    order = rng.permutation(len(crystal.atomic_numbers))
    return crystal._replace(
        atomic_numbers=crystal.atomic_numbers[order], fractional_positions=crystal.fractional_positions[order]
    )


def change_cell(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return the crystal with other lattice vectors of the same lattice, left-handed ones included."""
    matrix = _random_integers(rng, -2, 2, {1})
    return crystal._replace(
        lattice=matrix @ crystal.lattice, fractional_positions=crystal.fractional_positions @ np.linalg.inv(matrix)
    )


def make_supercell(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return a random supercell of two or three cells."""
    matrix = _random_integers(rng, -1, 2, {2, 3})
    inverse = np.linalg.inv(matrix)
    points = np.array(list(product(range(-8, 9), repeat=3))) @ inverse
    wrapped = np.round(points - np.floor(points + 1e-9), 6) % 1
    shifts = points[np.unique(wrapped, axis=0, return_index=True)[1]]
    positions = (crystal.fractional_positions @ inverse)[:, None] + shifts
    return crystal._replace(
        lattice=matrix @ crystal.lattice,
        atomic_numbers=np.repeat(crystal.atomic_numbers, len(shifts)),
        fractional_positions=positions.reshape(-1, 3),
    )


def _random_integers(rng: np.random.Generator, low: int, high: int, determinants: set[int]) -> np.ndarray:
    """Return a random integer matrix whose absolute determinant is one of the given ones."""
    while True:
        matrix = rng.integers(low, high + 1, (3, 3))
        if round(abs(np.linalg.det(matrix))) in determinants:
            return matrix


DESCRIPTIONS: dict[str, Callable[[Crystal, np.random.Generator], Crystal]] = {
    'origin': shift_origin,
    'atom_order': permute_atoms,
    'cell': change_cell,
    'supercell': make_supercell,
}
"""Choices on which no property of the crystal depends; the orientation is kept"""
