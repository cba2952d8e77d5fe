"""Whether two crystals are the same one, and the rotation that leads from the frame of one to that of the other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.reduction import polar_rotation
from aiida_goectp.core.crystals.symmetry import CanonicalCell

__all__ = ('MAX_DISTANCE', 'MAX_STRAIN', 'Alignment', 'align', 'sites')

MAX_STRAIN = 0.03
"""largest principal strain between two relaxations of one crystal; functionals and codes differ by less"""

MAX_DISTANCE = 0.1
"""Å, between an atom and its partner"""

_COEFFICIENTS = np.array([c for c in product(range(-2, 3), repeat=3) if any(c)], dtype=np.int64)


class Alignment(NamedTuple):
    """How the second of two crystals is laid over the first."""

    rotation: np.ndarray
    """(3, 3) rotation or reflection R: a vector v of the second is R v in the frame of the first; a tensor R T Rᵀ"""
    permutation: np.ndarray
    """(n,) the atom of the second primitive cell that lies on each atom of the first"""
    strain: float
    """largest principal strain"""
    distance: float
    """Å, largest distance of two partners"""


def align(first: CanonicalCell, second: CanonicalCell) -> Alignment | None:
    """Return how the second crystal lies on the first; None if they are not the same crystal.

    The same are crystals whose primitive cells differ by a rotation or reflection, another origin, another choice of
    cell and another order of atoms, by a strain up to :data:`MAX_STRAIN` and by shifts of atoms up to
    :data:`MAX_DISTANCE`, and whose point groups are equally large: a small distortion that breaks the symmetry, as at a
    ferroelectric transition, makes another crystal, and very different tensors. Of all ways to lay one over the other
    the one with the least strain and shift is taken.
    """
    numbers = first.atomic_numbers
    if len(first.operations) != len(second.operations) or len(numbers) != len(second.atomic_numbers):
        return None
    if (np.sort(numbers) != np.sort(second.atomic_numbers)).any():
        return None
    ways = []
    for basis in _bases(first.lattice, second.lattice):
        gradient = np.linalg.solve(basis @ second.lattice, first.lattice).T
        rotation = polar_rotation(gradient.T)
        strain = float(np.abs(np.linalg.eigvalsh(rotation.T @ gradient) - 1).max())
        if strain <= MAX_STRAIN:
            ways.append((strain, basis, rotation))
    edge = float(np.abs(np.linalg.det(first.lattice))) ** (1 / 3)
    best, least = None, np.inf
    for strain, basis, rotation in sorted(ways, key=lambda way: way[0]):
        if strain * edge >= least:
            break
        positions = second.fractional_positions @ np.linalg.inv(basis)
        found = _match(first, positions, second.atomic_numbers)
        if found is not None and strain * edge + found[1] < least:
            best, least = Alignment(rotation, found[0], strain, found[1]), strain * edge + found[1]
    return best


def _bases(lattice: np.ndarray, other: np.ndarray) -> Iterator[np.ndarray]:
    """Yield integer matrices whose products with the other lattice are bases of nearly the shape of this one."""
    vectors = _COEFFICIENTS @ other
    wanted, lengths = np.linalg.norm(lattice, axis=1), np.linalg.norm(vectors, axis=1)
    scalar = lattice @ lattice.T
    fits = [np.flatnonzero(np.abs(lengths - edge) <= 1.01 * MAX_STRAIN * edge) for edge in wanted]
    products = vectors @ vectors.T

    def close(i: int, j: int, s: int, t: np.ndarray) -> np.ndarray:
        # a strain e changes a scalar product of edges a and b by 2 e a b at most, and a little
        return t[np.abs(products[s, t] - scalar[i, j]) <= 2.05 * MAX_STRAIN * wanted[i] * wanted[j]]

    for a in fits[0].tolist():
        thirds = close(0, 2, a, fits[2])
        for b in close(0, 1, a, fits[1]).tolist():
            for c in close(1, 2, b, thirds).tolist():
                basis = _COEFFICIENTS[[a, b, c]]
                if abs(round(np.linalg.det(basis))) == 1:
                    yield basis


def _match(first: CanonicalCell, positions: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Return the partner of each atom and the largest distance, for the best shift of the origin; None without one.

    :param positions: (n, 3) of the second crystal in the basis that corresponds to the first lattice
    """
    kinds, counts = np.unique(first.atomic_numbers, return_counts=True)
    rarest = kinds[np.argmin(counts)]
    anchor = first.fractional_positions[np.flatnonzero(first.atomic_numbers == rarest)[0]]
    unlike = first.atomic_numbers[:, None] != numbers[None, :]
    best: tuple[np.ndarray, float] | None = None
    for start in np.flatnonzero(numbers == rarest):
        moved = positions + (anchor - positions[start])
        steps = moved[None, :] - first.fractional_positions[:, None]
        steps -= np.rint(steps)
        distances = np.linalg.norm(steps @ first.lattice, axis=2)
        distances[unlike] = np.inf
        partners = distances.argmin(axis=1)
        # the anchor may itself be shifted, so the others may seem twice as far off until the mean is taken away
        if len(set(partners.tolist())) < len(partners) or distances.min(axis=1).max() > 2 * MAX_DISTANCE:
            continue
        shifts = steps[np.arange(len(partners)), partners] @ first.lattice
        distance = float(np.linalg.norm(shifts - shifts.mean(axis=0), axis=1).max())
        if distance <= MAX_DISTANCE and (best is None or distance < best[1]):
            best = partners, distance
    return best


def sites(crystal: Crystal, cell: CanonicalCell) -> np.ndarray:
    """Return for each atom of a crystal the atom of its own canonical primitive cell, (n,).

    :param cell: the canonical cell of this crystal: frame and origin are the same
    """
    cartesian = np.asarray(crystal.fractional_positions) @ crystal.lattice
    steps = (cartesian @ np.linalg.inv(cell.lattice))[:, None] - cell.fractional_positions[None, :]
    steps -= np.rint(steps)
    distances = np.linalg.norm(steps @ cell.lattice, axis=2)
    distances[np.asarray(crystal.atomic_numbers)[:, None] != cell.atomic_numbers[None, :]] = np.inf
    return distances.argmin(axis=1)
