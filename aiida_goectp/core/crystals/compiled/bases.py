"""Reduced bases: their search among the short vectors of a lattice, see :func:`.reduced_bases`, and their cosets."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled
from aiida_goectp.core.crystals.compiled.matrices import inverse, product, product_transposed

__all__ = ('one_of_each_coset', 'reduced_among')


@compiled()
def reduced_among(
    start: np.ndarray, coefficients: np.ndarray, tolerance: float
) -> np.ndarray:  # pragma: no cover - compiled
    """Return all reduced bases in terms of a Minkowski-reduced one, (m, 3, 3) integers.

    :param start: (3, 3) Å, rows
    :param coefficients: (k, 3) integers, the vectors of which bases are made
    :param tolerance: Å, lengths that differ by less are equal
    """
    vectors = product(coefficients.astype(np.float64), start)
    lengths = np.empty(len(vectors))
    for v in range(len(vectors)):
        lengths[v] = np.sqrt(vectors[v, 0] ** 2 + vectors[v, 1] ** 2 + vectors[v, 2] ** 2)
    minima = _successive_minima(vectors, lengths)
    triples = _unimodular_triples(coefficients, lengths, minima, tolerance)
    keys = np.empty((len(triples), 4))
    for t in range(len(triples)):
        a, b, c = vectors[triples[t, 0]], vectors[triples[t, 1]], vectors[triples[t, 2]]
        keys[t, 1], keys[t, 2], keys[t, 3] = _dot(a, b), _dot(a, c), _dot(b, c)
        keys[t, 0] = keys[t, 1] + keys[t, 2] + keys[t, 3]
    left = np.arange(len(triples))
    for column in range(4):
        best, kept = -np.inf, 0
        for place in range(len(left)):
            best = max(best, keys[left[place], column])
        for place in range(len(left)):
            if keys[left[place], column] > best - 2 * tolerance * minima[2]:
                left[kept] = left[place]
                kept += 1
        left = left[:kept]
    bases = np.empty((len(left), 3, 3), dtype=np.int64)
    for place in range(len(left)):
        for row in range(3):
            for x in range(3):
                bases[place, row, x] = coefficients[triples[left[place], row], x]
    return bases


@compiled()
def one_of_each_coset(
    bases: np.ndarray, lattice: np.ndarray, operations: np.ndarray
) -> np.ndarray:  # pragma: no cover - compiled
    """Return one basis of each set of bases that the operations and inversion map onto each other, (k, 3, 3) integers.

    :param bases: (m, 3, 3) integers, in terms of the lattice
    :param lattice: (3, 3) Å, rows
    :param operations: (g, 3, 3) orthogonal Cartesian matrices, a group of isometries of the lattice
    """
    m, back = len(bases), inverse(lattice)
    rotations = np.empty((len(operations), 3, 3), dtype=np.int64)  # vectors of the lattice are rows here
    for g in range(len(operations)):
        rotations[g] = np.rint(product(product_transposed(lattice, operations[g]), back)).astype(np.int64)
    chosen, count, taken = np.empty(m, dtype=np.int64), 0, np.zeros(m, dtype=np.bool_)
    image = np.empty((3, 3), dtype=np.int64)
    for basis in range(m):
        if taken[basis]:
            continue
        chosen[count] = basis
        count += 1
        for g in range(len(rotations)):
            for row in range(3):
                for x in range(3):
                    image[row, x] = 0
                    for y in range(3):
                        image[row, x] += bases[basis, row, y] * rotations[g, y, x]
            for other in range(basis, m):
                if not taken[other] and _equal_or_inverted(bases[other], image):
                    taken[other] = True
    return bases[chosen[:count]]


@compiled(inline='always')
def _equal_or_inverted(a: np.ndarray, b: np.ndarray) -> bool:  # pragma: no cover - compiled
    same, inverted = True, True
    for row in range(3):
        for x in range(3):
            same = same and a[row, x] == b[row, x]
            inverted = inverted and a[row, x] == -b[row, x]
    return same or inverted


@compiled()
def _successive_minima(vectors: np.ndarray, lengths: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return the lengths of the shortest vector, the shortest one not collinear, the shortest one not coplanar."""
    first, second, third = 0, -1, -1
    for v in range(len(vectors)):
        if lengths[v] < lengths[first]:
            first = v
    normal, across = np.empty(3), np.empty(3)
    for v in range(len(vectors)):
        if second < 0 or lengths[v] < lengths[second]:
            _cross(vectors[first], vectors[v], across)
            if np.sqrt(_dot(across, across)) > 1e-3 * lengths[first] * lengths[v]:
                second = v
                normal[0], normal[1], normal[2] = across[0], across[1], across[2]
    size = np.sqrt(_dot(normal, normal))
    for v in range(len(vectors)):
        if (third < 0 or lengths[v] < lengths[third]) and abs(_dot(vectors[v], normal)) > 1e-3 * size * lengths[v]:
            third = v
    return np.array([lengths[first], lengths[second], lengths[third]])


@compiled()
def _unimodular_triples(
    coefficients: np.ndarray, lengths: np.ndarray, minima: np.ndarray, tolerance: float
) -> np.ndarray:  # pragma: no cover - compiled
    """Return indices (t, 3) of vectors whose lengths are the minima and whose determinant is ±1."""
    shells, sizes = np.empty((3, len(lengths)), dtype=np.int64), np.zeros(3, dtype=np.int64)
    for v in range(len(lengths)):
        for shell in range(3):
            if abs(lengths[v] - minima[shell]) < tolerance:
                shells[shell, sizes[shell]] = v
                sizes[shell] += 1
    triples, count = np.empty((sizes[0] * sizes[1] * sizes[2], 3), dtype=np.int64), 0
    for i in shells[0, : sizes[0]]:
        for j in shells[1, : sizes[1]]:
            a, b = coefficients[i], coefficients[j]
            x, y, z = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
            for k in shells[2, : sizes[2]]:
                c = coefficients[k]
                if abs(x * c[0] + y * c[1] + z * c[2]) == 1:
                    triples[count, 0], triples[count, 1], triples[count, 2] = i, j, k
                    count += 1
    return triples[:count]


@compiled(inline='always')
def _dot(a: np.ndarray, b: np.ndarray) -> float:  # pragma: no cover - compiled
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled()
def _cross(a: np.ndarray, b: np.ndarray, result: np.ndarray) -> None:  # pragma: no cover - compiled
    result[0] = a[1] * b[2] - a[2] * b[1]
    result[1] = a[2] * b[0] - a[0] * b[2]
    result[2] = a[0] * b[1] - a[1] * b[0]
