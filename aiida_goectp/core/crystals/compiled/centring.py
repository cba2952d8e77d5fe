"""Translations that map a crystal onto itself, and the primitive cell that they make."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled

__all__ = ('primitive_by_translations',)

_WIDEST = 4.0
"""times the tolerance: two atoms that are exchanged, and the one from which the translation was taken, can be displaced
by it each"""
_FARTHEST_FROM_INTEGER = 0.2
"""largest distance of a translation times their number from an integer vector"""


def primitive_by_translations(
    lattice: np.ndarray, positions: np.ndarray, numbers: np.ndarray, symprec: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a primitive lattice (3, 3) Å, rows, and the atom of its cell for each atom, (n,); None if there is no
    translation beside those of the lattice, or if the ones found form no group.

    A translation is accepted if it maps each atom to within ``symprec`` of an atom of the same element, after the shift
    that fits all atoms best.

    :param lattice: (3, 3) Å, rows
    :param positions: (n, 3) fractional
    :param numbers: (n,) atomic numbers, int64
    :param symprec: Å
    """
    translations, partners = _translations(positions, numbers, lattice @ lattice.T, symprec)
    order = len(translations) + 1
    if order == 1:
        return None
    scaled = translations * order  # a translation of a group of this order: integers
    integers = np.rint(scaled)
    if np.abs(scaled - integers).max() > _FARTHEST_FROM_INTEGER:
        return None
    basis = _echelon(np.concatenate([integers.astype(np.int64), order * np.eye(3, dtype=np.int64)]))
    if abs(round(np.prod(np.diag(basis).astype(float)))) != order**2:  # other translations are missing
        return None
    smallest = np.minimum(partners.min(axis=0), np.arange(len(numbers)))
    first, mapping = np.unique(smallest, return_inverse=True)
    if len(first) * order != len(numbers):
        return None
    return basis / order @ lattice, mapping


@compiled()
def _translations(
    positions: np.ndarray, numbers: np.ndarray, metric: np.ndarray, symprec: float
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Return translations (m, 3), fractional, and the atom to which each maps each atom, (m, n)."""
    n, rarest, fewest = len(numbers), 0, len(numbers) + 1
    for i in range(n):
        count = 0
        for j in range(n):
            count += numbers[j] == numbers[i]
        if count < fewest:
            rarest, fewest = i, count
    found, partners, count = np.empty((fewest, 3)), np.empty((fewest, n), dtype=np.int64), 0
    steps, delta, shift = np.empty((n, 3)), np.empty(3), np.empty(3)
    for other in range(n):
        if other == rarest or numbers[other] != numbers[rarest]:
            continue
        complete = True
        shift[:] = 0.0
        for i in range(n):
            nearest = (_WIDEST * symprec) ** 2
            partners[count, i] = -1
            for j in range(n):
                if numbers[j] != numbers[i]:
                    continue
                square = 0.0
                for x in range(3):
                    delta[x] = positions[j, x] - positions[i, x] - positions[other, x] + positions[rarest, x]
                    delta[x] -= np.rint(delta[x])
                for x in range(3):
                    for y in range(3):
                        square += delta[x] * metric[x, y] * delta[y]
                if square < nearest:
                    nearest, partners[count, i] = square, j
                    for x in range(3):
                        steps[i, x] = delta[x]
            if partners[count, i] < 0:
                complete = False
                break
            for x in range(3):
                shift[x] += steps[i, x] / n
        if not complete:
            continue
        for i in range(n):
            square = 0.0
            for x in range(3):
                for y in range(3):
                    square += (steps[i, x] - shift[x]) * metric[x, y] * (steps[i, y] - shift[y])
            complete = complete and square <= symprec**2
        if complete:
            for x in range(3):
                found[count, x] = positions[other, x] - positions[rarest, x] + shift[x]
            count += 1
    return found[:count], partners[:count]


@compiled()
def _echelon(rows: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return a basis of the lattice that integer rows generate, (3, 3) upper triangular."""
    rows = rows.copy()
    for column in range(3):
        while True:
            pivot, others = -1, 0
            for r in range(column, len(rows)):
                if rows[r, column] != 0:
                    others += 1
                    if pivot < 0 or abs(rows[r, column]) < abs(rows[pivot, column]):
                        pivot = r
            for x in range(3):
                rows[column, x], rows[pivot, x] = rows[pivot, x], rows[column, x]
            if others == 1:
                break
            for r in range(column + 1, len(rows)):
                factor = rows[r, column] // rows[column, column]
                for x in range(3):
                    rows[r, x] -= factor * rows[column, x]
    return rows[:3].copy()
