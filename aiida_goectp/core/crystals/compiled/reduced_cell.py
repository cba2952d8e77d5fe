"""From a given cell to a reduced one for the symmetry search, and back: compiled loops over atoms and operations."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled
from aiida_goectp.core.crystals.compiled.matrices import inverse, product, product_transposed

__all__ = ('in_given_cell', 'inside_reduced')

_MOST_ELONGATED = 500.0
"""longest over shortest vector of a reduced cell; moyopy 0.21 does not return from a search beyond about 2,500"""
_SHORTEST = 0.3
"""Å, vector of a reduced cell, below any distance of atoms; moyopy 0.21 does not return from some shorter ones"""


@compiled()
def inside_reduced(
    reduced: np.ndarray, change: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:  # pragma: no cover - compiled
    """Return fractional positions in a reduced cell, (n, 3) in [0, 1), and the fractional origin (3,) that was chosen.

    Along each axis the origin is the middle of the largest interval without atoms. The last result is false if the cell
    is too elongated or too short.
    """
    shortest, longest = np.inf, 0.0
    for row in range(3):
        length = np.sqrt(reduced[row, 0] ** 2 + reduced[row, 1] ** 2 + reduced[row, 2] ** 2)
        shortest, longest = min(shortest, length), max(longest, length)
    back = inverse(change)
    for i in range(3):
        for j in range(3):
            back[i, j] = np.rint(back[i, j])
    inside, origin = product_transposed(positions, back), np.zeros(3)
    for x in range(3):
        column = np.empty(len(inside))
        for atom in range(len(inside)):
            column[atom] = inside[atom, x] - np.floor(inside[atom, x])
        column.sort()
        widest = -1.0
        for atom in range(len(column)):
            gap = (column[atom + 1] if atom + 1 < len(column) else column[0] + 1) - column[atom]
            if gap > widest:
                widest, origin[x] = gap, column[atom] + gap / 2
        for atom in range(len(inside)):
            inside[atom, x] -= origin[x]
            inside[atom, x] -= np.floor(inside[atom, x])
    return inside, origin, shortest >= _SHORTEST and longest <= _MOST_ELONGATED * shortest


@compiled()
def in_given_cell(
    rotations: np.ndarray, translations: np.ndarray, origin: np.ndarray, change: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Return rotations and translations of operations of the reduced cell in the given cell."""
    back, turned, moved = inverse(change), np.empty(rotations.shape, dtype=np.int64), np.empty((len(rotations), 3))
    for g in range(len(rotations)):
        for i in range(3):
            moved[g, i] = translations[g, i] + origin[i]
            for j in range(3):
                moved[g, i] -= rotations[g, i, j] * origin[j]
        image = product(product(change, rotations[g]), back)
        for i in range(3):
            for j in range(3):
                turned[g, i, j] = np.int64(np.rint(image[i, j]))
    moved = product_transposed(moved, change)
    for g in range(len(moved)):
        for x in range(3):
            moved[g, x] -= np.floor(moved[g, x])
    return turned, moved
