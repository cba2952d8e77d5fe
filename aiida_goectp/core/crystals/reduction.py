"""All reduced bases of a lattice: a choice of cell that is unique up to the symmetry of the lattice."""

from __future__ import annotations

import itertools

import numpy as np

from aiida_goectp.core.crystals.symmetry_search import minkowski_reduce

__all__ = ('polar_rotation', 'reduced_bases')

LENGTH_TOLERANCE = 1e-4
"""Å; lengths that differ by less are equal"""

_COEFFICIENTS = np.array([c for c in itertools.product(range(-2, 3), repeat=3) if any(c)], dtype=np.int64)


def reduced_bases(lattice: np.ndarray, tolerance: float = LENGTH_TOLERANCE) -> tuple[np.ndarray, np.ndarray]:
    """Return a Minkowski-reduced basis of a lattice, and all reduced bases in terms of it.

    A basis is reduced if the lengths of its vectors are the three successive minima of the lattice and, among these
    bases, the sum of the three scalar products, then each of them in turn, is largest. All reduced bases have the same
    Gram matrix, so they are related by the isometries of the lattice: the set depends on the lattice, not on the given
    cell. Values are compared with a tolerance, so that the set does not depend on rounding.

    :param lattice: (3, 3) Å, rows a, b, c
    :param tolerance: Å, lengths that differ by less are equal
    :raises ValueError: the lattice is too flat or too skewed
    :return: the basis (3, 3) Å, rows, in the given frame; and (m, 3, 3) integer matrices whose products with it are the
        reduced bases (rows), with −B for every B
    """
    from aiida_goectp.core.crystals.compiled.bases import reduced_among

    start = minkowski_reduce(lattice)
    if start is None:
        start = np.ascontiguousarray(lattice, dtype=np.float64)
    bases = reduced_among(start, _COEFFICIENTS, tolerance)
    if not len(bases):
        raise ValueError(f'the lattice {np.asarray(lattice).tolist()} cannot be reduced')
    return start, bases


def polar_rotation(lattices: np.ndarray) -> np.ndarray:
    """Return the orthogonal factor Q of the polar decomposition Lᵀ = Q P of lattices with rows a, b, c.

    P is symmetric positive definite: a rotation or reflection R of the crystal changes Q to R Q and leaves P unchanged
    (Hua et al., arXiv 2410.02372).

    :param lattices: (..., 3, 3)
    :return: (..., 3, 3), columns as in Lᵀ
    """
    from aiida_goectp.core.crystals.compiled.matrices import orthogonal_factors

    columns = np.swapaxes(np.asarray(lattices, dtype=np.float64), -1, -2)
    return orthogonal_factors(np.ascontiguousarray(columns.reshape(-1, 3, 3))).reshape(columns.shape)
