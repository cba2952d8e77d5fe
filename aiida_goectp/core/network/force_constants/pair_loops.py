"""Compiled loops over pairs of neighbours, for predictions on a CPU.

They compute what the tensor operations of :mod:`.springs` and :mod:`.pair_blocks` do, without their temporary arrays of
nine to 69 numbers a pair; derivatives come from those operations only.
"""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled

__all__ = ('add_blocks', 'add_coordinates', 'add_springs', 'gather_centres', 'gather_pairs', 'project_pairs')


@compiled(fastmath=True)
def project_pairs(
    vectors: np.ndarray,
    tensors: np.ndarray,
    atoms: np.ndarray,
    directions: np.ndarray,
    quadrupoles: np.ndarray,
    result: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add u · v and y · t of one atom of each pair to a result (U, 16).

    :param vectors: (N, 3, 8)
    :param tensors: (N, 5, 8)
    :param atoms: (U,) index of the atom
    :param directions: (U, 3)
    :param quadrupoles: (U, 5)
    """
    count = vectors.shape[2]
    for e in range(len(atoms)):
        v, t, u, y, row = vectors[atoms[e]], tensors[atoms[e]], directions[e], quadrupoles[e], result[e]
        for c in range(count):
            row[c] += u[0] * v[0, c] + u[1] * v[1, c] + u[2] * v[2, c]
            row[count + c] += y[0] * t[0, c] + y[1] * t[1, c] + y[2] * t[2, c] + y[3] * t[3, c] + y[4] * t[4, c]


@compiled(fastmath=True)
def gather_pairs(
    sums: np.ndarray, source: np.ndarray, target: np.ndarray, hidden: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add s_i + s_j + p_i p_j to the hidden layer of each pair, (U, W).

    :param sums: (N, 2W), s and p of each atom
    """
    width = hidden.shape[1]
    for e in range(len(source)):
        a, b, row = sums[source[e]], sums[target[e]], hidden[e]
        for c in range(width):
            row[c] += a[c] + b[c] + a[width + c] * b[width + c]


@compiled(fastmath=True)
def gather_centres(
    own: np.ndarray, other: np.ndarray, centre: np.ndarray, neighbour: np.ndarray, hidden: np.ndarray
) -> None:  # pragma: no cover - compiled
    """Add a feature of the centre and one of the neighbour to the hidden layer of each directed pair, (E, W)."""
    for e in range(len(centre)):
        a, b, row = own[centre[e]], other[neighbour[e]], hidden[e]
        for c in range(len(row)):
            row[c] += a[c] + b[c]


@compiled(fastmath=True)
def add_springs(
    k: np.ndarray,
    directions: np.ndarray,
    vectors: np.ndarray,
    matrices: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    block: np.ndarray,
    transposed: np.ndarray,
    result: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add the spring of each pair to both blocks of the pair, (B, 3, 3).

    :param k: (U, 6) coefficients
    :param vectors: (N, 3, 2)
    :param matrices: (N, 4, 3, 3)
    """
    other = np.empty(3, dtype=k.dtype)
    for e in range(len(source)):
        i, j, u = source[e], target[e], directions[e]
        for a in range(3):
            turned = k[e, 0] * 0
            for b in range(3):
                turned += (matrices[i, 0, a, b] + matrices[j, 0, a, b]) * u[b]
            other[a] = k[e, 1] * u[a] + k[e, 2] * (vectors[i, a, 0] - vectors[j, a, 0]) + k[e, 3] * turned
        for a in range(3):
            for b in range(3):
                spring = u[a] * other[b] + other[a] * u[b]
                spring += k[e, 4] * (matrices[i, 1, a, b] + matrices[j, 1, a, b])
                spring += k[e, 5] * (matrices[i, 2, a, b] + matrices[j, 2, a, b])
                if a == b:
                    spring += k[e, 0]
                result[block[e], a, b] += spring
                result[transposed[e], a, b] += spring


@compiled(fastmath=True)
def add_blocks(
    k: np.ndarray,
    directions: np.ndarray,
    vectors: np.ndarray,
    tensors: np.ndarray,
    basis: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    block: np.ndarray,
    transposed: np.ndarray,
    result: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add the matrix of each pair to the block of the pair, and its transpose to that of the reversed pair.

    The formula is that of :class:`.PairBlocks`, the coefficients in its order.

    :param k: (U, 2 + 5 C) coefficients
    :param vectors: (N, 3, C)
    :param tensors: (N, 5, C)
    :param basis: (5, 3, 3)
    """
    count = vectors.shape[2]
    p, q = np.empty(3, dtype=k.dtype), np.empty(3, dtype=k.dtype)
    matrices = np.empty((3, 3, 3), dtype=k.dtype)
    for pair in range(len(source)):
        i, j, u, row = source[pair], target[pair], directions[pair], k[pair]
        c, d, e = row[2 : 2 + count], row[2 + count : 2 + 2 * count], row[2 + 2 * count : 2 + 3 * count]
        f, g = row[2 + 3 * count : 2 + 4 * count], row[2 + 4 * count :]
        matrices[:] = 0
        for m in range(5):
            even, odd, other = k[pair, 0] * 0, k[pair, 0] * 0, k[pair, 0] * 0
            for n in range(count):
                plus, minus = tensors[i, m, n] + tensors[j, m, n], tensors[i, m, n] - tensors[j, m, n]
                even += e[n] * plus
                odd += f[n] * minus
                other += g[n] * plus
            for a in range(3):
                for b in range(3):
                    weight = basis[m, a, b]
                    matrices[0, a, b] += weight * even
                    matrices[1, a, b] += weight * odd
                    matrices[2, a, b] += weight * other
        for a in range(3):
            p[a], q[a] = row[1] / 2 * u[a], 0
            for n in range(count):
                p[a] += c[n] * (vectors[i, a, n] - vectors[j, a, n])
                q[a] += d[n] * (vectors[i, a, n] + vectors[j, a, n])
            for b in range(3):
                p[a] += matrices[0, a, b] * u[b]
                q[a] += matrices[1, a, b] * u[b]
        for a in range(3):
            matrices[2, a, a] += row[0]
            for b in range(3):
                value = matrices[2, a, b] + u[a] * (p[b] + q[b]) + (p[a] - q[a]) * u[b]
                result[block[pair], a, b] += value
                result[transposed[pair], b, a] += value


@compiled(fastmath=True)
def add_coordinates(
    coefficients: np.ndarray,
    directions: np.ndarray,
    own: np.ndarray,
    centre: np.ndarray,
    blocks: np.ndarray,
    counts: np.ndarray,
    result: np.ndarray,
) -> None:  # pragma: no cover - compiled
    """Add the coefficients of the internal coordinates of each directed pair to its block, (B, rows, 3).

    :param coefficients: (E, 3 nv + 2 ns + 2 nt)
    :param own: (N, 3, nv + ns)
    :param counts: (3,) ns, nv, nt
    """
    ns, nv, nt = counts[0], counts[1], counts[2]
    for e in range(len(centre)):
        c, u, vectors, rows = coefficients[e], directions[e], own[centre[e]], result[blocks[e]]
        for v in range(nv):
            first, second, third = c[3 * v], c[3 * v + 1], c[3 * v + 2]
            for a in range(3):
                along = second * u[a] + third * vectors[a, v]
                for b in range(3):
                    rows[3 * v + a, b] += along * u[b]
                rows[3 * v + a, a] += first
        place = 3 * nv
        for s in range(ns):
            first, second = c[place + 2 * s], c[place + 2 * s + 1]
            for b in range(3):
                rows[place + s, b] += first * u[b] + second * vectors[b, nv + s]
        start, place = place + ns, 3 * nv + 2 * ns
        for t in range(nt):
            first, second = c[place + 2 * t] / 2, c[place + 2 * t + 1]
            for a in range(3):
                for b in range(3):
                    row = rows[start + 9 * t + 3 * a + b]
                    row[b] += first * u[a]
                    row[a] += first * u[b]
                    for x in range(3):
                        row[x] += second * u[a] * u[b] * u[x]
