"""A quick check that nearly every valid crystal passes, in a tenth of the time of the checks that name the fault."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled
from aiida_goectp.core.crystals.compiled.matrices import determinant, face_distances
from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.elements import SYMBOLS
from aiida_goectp.core.crystals.validation import FEW_ATOMS, FLATTEST, MAX_LENGTH, MAX_POSITION, MIN_DISTANCE

__all__ = ('is_surely_valid',)

_HEAVIEST = len(SYMBOLS) - 1


def is_surely_valid(crystal: Crystal) -> bool:
    """Return True for a crystal that passes all checks; False for an invalid one, a large one or one in a flat cell."""
    lattice, numbers, positions = crystal.lattice, crystal.atomic_numbers, crystal.fractional_positions
    plain = (
        all(isinstance(array, np.ndarray) for array in (lattice, numbers, positions))
        and lattice.dtype == positions.dtype == np.float64
        and numbers.dtype.kind in 'iu'
        and (lattice.shape, positions.shape) == ((3, 3), (len(numbers), 3))
        and 0 < len(numbers) <= FEW_ATOMS
    )
    return plain and _passes(lattice, numbers.astype(np.int64), positions)


@compiled()
def _passes(lattice: np.ndarray, numbers: np.ndarray, positions: np.ndarray) -> bool:  # pragma: no cover - compiled
    lengths = 1.0
    for i in range(3):
        square = 0.0
        for x in range(3):
            square += lattice[i, x] ** 2
            if not abs(lattice[i, x]) <= MAX_LENGTH:
                return False
        lengths *= np.sqrt(square)
    volume, n = abs(determinant(lattice)), len(numbers)
    if not volume > FLATTEST * lengths or volume < n * MIN_DISTANCE**3 / np.sqrt(2):
        return False
    heights = face_distances(lattice)
    if min(heights[0], heights[1], heights[2]) <= 2 * MIN_DISTANCE:  # several images of an atom can be close
        return False
    for i in range(n):
        if numbers[i] < 1 or numbers[i] > _HEAVIEST:
            return False
        for x in range(3):
            if not abs(positions[i, x]) <= MAX_POSITION:
                return False
    return _all_apart(lattice, heights, positions)


@compiled()
def _all_apart(lattice: np.ndarray, heights: np.ndarray, positions: np.ndarray) -> bool:  # pragma: no cover - compiled
    """Return whether no two atoms are closer than allowed, in a cell where the nearest images suffice."""
    delta = np.empty(3)
    for i in range(len(positions)):
        for j in range(i):
            near = True
            for x in range(3):
                delta[x] = positions[i, x] - positions[j, x]
                delta[x] -= np.rint(delta[x])
                near = near and abs(delta[x]) * heights[x] < MIN_DISTANCE
            if not near:
                continue
            square = 0.0
            for x in range(3):
                square += (delta[0] * lattice[0, x] + delta[1] * lattice[1, x] + delta[2] * lattice[2, x]) ** 2
            if square < MIN_DISTANCE**2:
                return False
    return True
