"""All reduced bases of a lattice: a choice of cell that is unique up to the symmetry of the lattice."""

from __future__ import annotations

from itertools import product

import numpy as np

from aiida_goectp.core.crystals.symmetry_search import niggli_reduce

__all__ = ('polar_rotation', 'reduced_bases')

LENGTH_TOLERANCE = 1e-4
"""Å; lengths that differ by less are equal"""

_COEFFICIENTS = np.array([c for c in product(range(-2, 3), repeat=3) if any(c)], dtype=np.int64)


def reduced_bases(lattice: np.ndarray, tolerance: float = LENGTH_TOLERANCE) -> tuple[np.ndarray, np.ndarray]:
    """Return a Niggli-reduced basis of a lattice, and all reduced bases in terms of it.

    A basis is reduced if the lengths of its vectors are the three successive minima of the lattice and, among these
    bases, the sum of the three scalar products, then each of them in turn, is largest. All reduced bases have the same
    Gram matrix, so they are related by the isometries of the lattice: the set depends on the lattice, not on the given
    cell. Values are compared with a tolerance, so that the set does not depend on rounding.

    :param lattice: (3, 3) Å, rows a, b, c
    :param tolerance: Å, lengths that differ by less are equal
    :return: the basis (3, 3) Å, rows, in the given frame; and (m, 3, 3) integer matrices whose products with it are the
        reduced bases (rows), with −B for every B
    """
    start = niggli_reduce(lattice)
    start = np.asarray(lattice, dtype=np.float64) if start is None else start
    vectors = _COEFFICIENTS @ start
    lengths = np.linalg.norm(vectors, axis=1)
    minima = _successive_minima(vectors, lengths)
    first, second, third = (np.flatnonzero(np.abs(lengths - minimum) < tolerance) for minimum in minima)
    i, j, k = (grid.ravel() for grid in np.meshgrid(first, second, third, indexing='ij'))
    bases = np.stack([_COEFFICIENTS[i], _COEFFICIENTS[j], _COEFFICIENTS[k]], axis=1)
    bases = bases[np.abs(_determinants(bases)) == 1]
    return start, _largest_products(bases, start, 2 * tolerance * minima[2])


def _successive_minima(vectors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the lengths of the shortest vector, the shortest one not collinear, the shortest one not coplanar."""
    order = np.argsort(lengths, kind='stable')
    units = vectors[order] / lengths[order, None]
    cross = np.cross(units[0], units)
    second = int(np.argmax(np.linalg.norm(cross, axis=1) > 1e-3))
    third = int(np.argmax(np.abs(units @ cross[second]) > 1e-3 * np.linalg.norm(cross[second])))
    return lengths[order[[0, second, third]]]


def _determinants(matrices: np.ndarray) -> np.ndarray:
    a, b, c = matrices[:, 0], matrices[:, 1], matrices[:, 2]
    return np.einsum('ni,ni->n', a, np.cross(b, c))


def _largest_products(bases: np.ndarray, lattice: np.ndarray, tolerance: float) -> np.ndarray:
    metric = lattice @ lattice.T
    products = np.stack(
        [np.einsum('ni,ij,nj->n', bases[:, s], metric, bases[:, t]) for s, t in ((0, 1), (0, 2), (1, 2))], axis=1
    )
    keys = np.concatenate([products.sum(axis=1, keepdims=True), products], axis=1)
    for column in range(4):
        keep = keys[:, column] > keys[:, column].max() - tolerance
        bases, keys = bases[keep], keys[keep]
    return bases


def polar_rotation(lattices: np.ndarray) -> np.ndarray:
    """Return the orthogonal factor Q of the polar decomposition Lᵀ = Q P of lattices with rows a, b, c.

    P is symmetric positive definite: a rotation or reflection R of the crystal changes Q to R Q and leaves P unchanged
    (Hua et al., arXiv 2410.02372).

    :param lattices: (..., 3, 3)
    :return: (..., 3, 3), columns as in Lᵀ
    """
    u, _, vh = np.linalg.svd(np.swapaxes(lattices, -1, -2))
    return u @ vh
