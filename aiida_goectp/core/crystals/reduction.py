"""All reduced bases of a lattice: the choice of cell, made unique up to the lattice's own symmetry."""

from __future__ import annotations

from itertools import product

import numpy as np
import spglib

__all__ = ('polar_rotation', 'reduced_bases')

LENGTH_TOLERANCE = 1e-4
"""Å; vectors whose lengths differ by less count as equally long"""

_COEFFICIENTS = np.array([c for c in product(range(-2, 3), repeat=3) if any(c)], dtype=np.int64)


def reduced_bases(lattice: np.ndarray, tolerance: float = LENGTH_TOLERANCE) -> tuple[np.ndarray, np.ndarray]:
    """Return a reduced basis of a lattice and every basis that is equally reduced.

    A basis is reduced when its vectors attain the three successive minima of the lattice and, among those, the sum of
    its three scalar products, then each of them in turn, is the largest. All such bases have the same Gram matrix, so
    they are related by the isometries that map the lattice onto itself: the set depends on the lattice alone, not on
    the cell in which it was given. Ties are broken with a tolerance, so that the set does not depend on rounding.

    :param lattice: (3, 3) Å, rows a, b, c
    :param tolerance: Å, lengths closer than this are equal
    :return: the reduced rows (3, 3) in the frame of the input, and (m, 3, 3) integer matrices whose products with them
        are the equally reduced bases (rows); −B is among them for every B
    """
    start = spglib.niggli_reduce(lattice, eps=1e-5)
    start = np.asarray(lattice, dtype=np.float64) if start is None else np.asarray(start)
    vectors = _COEFFICIENTS @ start
    lengths = np.linalg.norm(vectors, axis=1)
    minima = _successive_minima(vectors, lengths)
    first, second, third = (np.flatnonzero(np.abs(lengths - minimum) < tolerance) for minimum in minima)
    i, j, k = (grid.ravel() for grid in np.meshgrid(first, second, third, indexing='ij'))
    bases = np.stack([_COEFFICIENTS[i], _COEFFICIENTS[j], _COEFFICIENTS[k]], axis=1)
    bases = bases[np.abs(_determinants(bases)) == 1]
    return start, _largest_products(bases, start, 2 * tolerance * minima[2])


def _successive_minima(vectors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the lengths of the shortest vector, the shortest not collinear, the shortest not coplanar."""
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

    P is symmetric positive definite, so a rotation or reflection R of the crystal turns Q into R Q and leaves P.
    Source: Hua et al., arXiv 2410.02372.

    :param lattices: (..., 3, 3)
    :return: (..., 3, 3), columns as in Lᵀ
    """
    u, _, vh = np.linalg.svd(np.swapaxes(lattices, -1, -2))
    return u @ vh
