"""Structure matching: identity of two crystals, and the rotation between their frames."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.reduction import polar_rotation
from aiida_goectp.core.crystals.symmetry import CanonicalCell

__all__ = ('MAX_DISTANCE', 'MAX_STRAIN', 'Alignment', 'align', 'primitive_sites')

MAX_STRAIN = 0.03
"""largest principal strain between two relaxations of a crystal; functionals and codes differ by less"""

MAX_DISTANCE = 0.1
"""Å, largest distance of two matched atoms"""

_COEFFICIENTS = np.array([c for c in product(range(-2, 3), repeat=3) if any(c)], dtype=np.int64)


class Alignment(NamedTuple):
    """Match of the second of two crystals with the first."""

    rotation: np.ndarray
    """(3, 3) rotation or reflection R: a vector v of the second is R v in the frame of the first, a tensor R T Rᵀ"""
    permutation: np.ndarray
    """(n,) index of the atom in the second primitive cell that matches each atom of the first"""
    strain: float
    """largest principal strain"""
    distance: float
    """Å, largest distance of two matched atoms"""


def align(
    first: CanonicalCell,
    second: CanonicalCell,
    max_strain: float = MAX_STRAIN,
    max_distance: float = MAX_DISTANCE,
    *,
    first_match: bool = False,
) -> Alignment | None:
    """Return the match with the smallest strain and distance, or None if the crystals differ.

    Crystals are identical if their primitive cells agree after rotation or reflection and change of origin, cell and
    atom order, with a strain up to ``max_strain`` and distances up to ``max_distance``, and if their point groups have
    the same order: a small distortion that breaks the symmetry, as at a ferroelectric transition, changes
    the tensors strongly.

    :param first: canonical cell of the first crystal
    :param second: canonical cell of the second crystal
    :param max_strain: largest principal strain
    :param max_distance: Å, largest distance of two matched atoms
    :param first_match: return the first match that is found, which takes less time than the best one
    """
    numbers = first.atomic_numbers
    if len(first.operations) != len(second.operations) or len(numbers) != len(second.atomic_numbers):
        return None
    if (np.sort(numbers) != np.sort(second.atomic_numbers)).any():
        return None
    candidates = []
    for basis in _bases(first.lattice, second.lattice, max_strain):
        gradient = np.linalg.solve(basis @ second.lattice, first.lattice).T
        rotation = polar_rotation(gradient.T)
        strain = float(np.abs(np.linalg.eigvalsh(rotation.T @ gradient) - 1).max())
        if strain <= max_strain:
            candidates.append((strain, basis, rotation))
    edge = float(np.abs(np.linalg.det(first.lattice))) ** (1 / 3)
    best, least = None, np.inf
    for strain, basis, rotation in sorted(candidates, key=lambda item: item[0]):
        if strain * edge >= least:
            break
        positions = second.fractional_positions @ np.linalg.inv(basis)
        found = _match(first, positions, second.atomic_numbers, max_distance)
        if found is not None and strain * edge + found[1] < least:
            best, least = Alignment(rotation, found[0], strain, found[1]), strain * edge + found[1]
            if first_match:
                break
    return best


def _bases(lattice: np.ndarray, other: np.ndarray, max_strain: float) -> Iterator[np.ndarray]:
    """Yield integer matrices whose products with the other lattice are bases of nearly the same shape as this one."""
    vectors = _COEFFICIENTS @ other
    edges, lengths = np.linalg.norm(lattice, axis=1), np.linalg.norm(vectors, axis=1)
    scalar = lattice @ lattice.T
    fits = [np.flatnonzero(np.abs(lengths - edge) <= 1.01 * max_strain * edge) for edge in edges]
    products = vectors @ vectors.T

    def close(i: int, j: int, s: int, t: np.ndarray) -> np.ndarray:
        # to first order, a strain e changes the scalar product of edges a and b by up to 2 e a b
        return t[np.abs(products[s, t] - scalar[i, j]) <= 2.05 * max_strain * edges[i] * edges[j]]

    for a in fits[0].tolist():
        thirds = close(0, 2, a, fits[2])
        for b in close(0, 1, a, fits[1]).tolist():
            for c in close(1, 2, b, thirds).tolist():
                basis = _COEFFICIENTS[[a, b, c]]
                if abs(round(np.linalg.det(basis))) == 1:
                    yield basis


def _match(
    first: CanonicalCell, positions: np.ndarray, numbers: np.ndarray, max_distance: float
) -> tuple[np.ndarray, float] | None:
    """Return the matching atom of each atom and the largest distance, for the best shift of the origin, or None.

    :param positions: (n, 3) fractional positions of the second crystal, in the basis that matches the first lattice
    :param numbers: (n,) atomic numbers of the second crystal
    :param max_distance: Å, largest distance of two matched atoms
    """
    kinds, counts = np.unique(first.atomic_numbers, return_counts=True)
    rarest = kinds[np.argmin(counts)]
    anchor = first.fractional_positions[np.flatnonzero(first.atomic_numbers == rarest)[0]]
    different = first.atomic_numbers[:, None] != numbers[None, :]
    best: tuple[np.ndarray, float] | None = None
    for start in np.flatnonzero(numbers == rarest):
        shifted = positions + (anchor - positions[start])
        steps = shifted[None, :] - first.fractional_positions[:, None]
        steps -= np.rint(steps)
        distances = np.linalg.norm(steps @ first.lattice, axis=2)
        distances[different] = np.inf
        matched = distances.argmin(axis=1)
        # the anchor may be displaced itself, which doubles distances until the mean shift is subtracted
        if len(set(matched.tolist())) < len(matched) or distances.min(axis=1).max() > 2 * max_distance:
            continue
        shifts = steps[np.arange(len(matched)), matched] @ first.lattice
        distance = float(np.linalg.norm(shifts - shifts.mean(axis=0), axis=1).max())
        if distance <= max_distance and (best is None or distance < best[1]):
            best = matched, distance
    return best


def primitive_sites(crystal: Crystal, cell: CanonicalCell) -> np.ndarray:
    """Return the index of the equivalent atom in the canonical cell for each atom of a crystal, (n,).

    :param crystal: the crystal
    :param cell: canonical cell of this crystal, with the same frame and origin
    """
    cartesian = np.asarray(crystal.fractional_positions) @ crystal.lattice
    steps = (cartesian @ np.linalg.inv(cell.lattice))[:, None] - cell.fractional_positions[None, :]
    steps -= np.rint(steps)
    distances = np.linalg.norm(steps @ cell.lattice, axis=2)
    distances[np.asarray(crystal.atomic_numbers)[:, None] != cell.atomic_numbers[None, :]] = np.inf
    return distances.argmin(axis=1)
