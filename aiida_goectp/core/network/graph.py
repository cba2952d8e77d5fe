"""Crystal graphs of k nearest neighbours, with a tolerance for equal distances, for many crystals at once.

The published algorithm (Hua et al., arXiv 2601.04755, after Yan et al., ICLR 2024) increases a cutoff until every atom
has k neighbours, keeps for each atom those not farther than the k-th, and makes the result undirected. Its edge set has
a closed form, which is computed here: with d_k(i) the distance of the k-th neighbour of atom i, the undirected edge
(i, j, S) exists if and only if d ≤ max(d_k(i), d_k(j)) + tolerance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled
from aiida_goectp.core.crystals.compiled.matrices import determinant, face_distances

__all__ = ('NEIGHBOURS', 'TOLERANCE', 'Graphs', 'build_graphs', 'grow_rows', 'pairs_of_all', 'without_edges')

NEIGHBOURS = 16
"""k, number of neighbours of an atom (published setting)"""
TOLERANCE = 1e-4
"""Å; neighbours whose distances differ by less belong to one shell"""


class Graphs(NamedTuple):
    """Undirected edges of many crystals; each represents j → i with vector d and i → j with −d."""

    source: np.ndarray
    """(U,) index of atom j among the atoms of all crystals"""
    target: np.ndarray
    """(U,) index of atom i"""
    vectors: np.ndarray
    """(U, 3) Å, from one atom to a periodic image of the other"""
    edge_offsets: np.ndarray
    """(n + 1,) crystal c owns the edges ``edge_offsets[c]:edge_offsets[c + 1]``"""


def without_edges(count: int) -> Graphs:
    """Return ``count`` graphs without edges."""
    nothing = np.zeros(0, dtype=np.int64)
    return Graphs(nothing, nothing, np.zeros((0, 3)), np.zeros(count + 1, dtype=np.int64))


def build_graphs(
    lattices: np.ndarray,
    atom_offsets: np.ndarray,
    fractional_positions: np.ndarray,
    references: np.ndarray,
    *,
    neighbours: int = NEIGHBOURS,
    tolerance: float = TOLERANCE,
    double_self_images: bool = False,
) -> Graphs:
    """Return the graphs of many crystals.

    :param lattices: (n, 3, 3) Å, rows
    :param atom_offsets: (n + 1,) crystal c owns the atoms ``atom_offsets[c]:atom_offsets[c + 1]``
    :param fractional_positions: (N, 3), wrapped or not
    :param references: (n, 3, 3) Å, rows: three lattice vectors along which each atom has an edge to its own image
    :param neighbours: k
    :param tolerance: Å, distances that differ by less are equal
    :param double_self_images: repeat edges of an atom to its own images, as in the published graph
    """
    wrapped = fractional_positions - np.floor(fractional_positions)
    arrays = (np.ascontiguousarray(a, dtype=np.float64) for a in (lattices, wrapped, references))
    cells, positions, triples = arrays
    offsets = atom_offsets.astype(np.int64)
    result = _build(cells, offsets, positions, triples, neighbours, tolerance, double_self_images)
    return Graphs(*(array.copy() for array in result))  # without the unused end


def pairs_of_all(
    lattices: np.ndarray, atom_offsets: np.ndarray, fractional_positions: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs of atoms of each crystal that are not farther apart than a radius; each pair once.

    :param lattices: (n, 3, 3) Å, rows
    :param atom_offsets: (n + 1,) as for :func:`build_graphs`
    :param fractional_positions: (N, 3), wrapped or not
    :param radius: Å
    :return: (U, 2) indices i ≤ j within the crystal; (U, 3) Å, vectors from i to a periodic image of j; and (n + 1,)
        pairs of each crystal
    """
    wrapped = fractional_positions - np.floor(fractional_positions)
    return _pairs_of_all(np.ascontiguousarray(lattices), atom_offsets, np.ascontiguousarray(wrapped), radius)


@compiled()
def _pairs_of_all(
    lattices: np.ndarray, offsets: np.ndarray, positions: np.ndarray, radius: float
) -> Any:  # pragma: no cover - compiled
    capacity = 32 * len(positions)
    pairs, steps = np.empty((capacity, 2), dtype=np.int64), np.empty((capacity, 3))
    pair_offsets, count = np.zeros(len(offsets), dtype=np.int64), 0
    for cell in range(len(lattices)):
        inside = positions[offsets[cell] : offsets[cell + 1]]
        found, vectors, _ = _candidates(lattices[cell], inside, face_distances(lattices[cell]), radius, 1)
        if count + len(found) > capacity:
            capacity = 2 * (count + len(found))
            pairs, steps = grow_rows(pairs, capacity), grow_rows(steps, capacity)
        for p in range(len(found)):
            pairs[count, 0], pairs[count, 1] = found[p, 0], found[p, 1]
            for x in range(3):
                steps[count, x] = vectors[p, x]
            count += 1
        pair_offsets[cell + 1] = count
    return pairs[:count].copy(), steps[:count].copy(), pair_offsets


@compiled()
def _build(
    lattices: np.ndarray,
    offsets: np.ndarray,
    positions: np.ndarray,
    references: np.ndarray,
    k: int,
    tolerance: float,
    double: bool,
) -> Any:  # pragma: no cover - compiled
    n = len(lattices)
    capacity = 64 * max(len(positions), 1)
    source, target = np.empty(capacity, dtype=np.int64), np.empty(capacity, dtype=np.int64)
    vectors, edge_offsets = np.empty((capacity, 3)), np.zeros(n + 1, dtype=np.int64)
    count = 0
    for c in range(n):
        start, atoms = offsets[c], offsets[c + 1] - offsets[c]
        pairs, steps, shells = _neighbours(lattices[c], positions[start : start + atoms], k, tolerance)
        needed = count + 2 * len(pairs) + 3 * atoms
        if needed > capacity:
            capacity = 2 * needed
            source, target, vectors = _grow(source, capacity), _grow(target, capacity), grow_rows(vectors, capacity)
        for p in range(len(pairs)):
            i, j = pairs[p, 0], pairs[p, 1]
            if np.sqrt(_square(steps[p])) > max(shells[i], shells[j]) + tolerance:
                continue
            for sign in range(2 if double and i == j else 1):
                source[count], target[count] = start + i, start + j
                for x in range(3):
                    vectors[count, x] = steps[p, x] if sign == 0 else -steps[p, x]
                count += 1
        for i in range(atoms):
            for t in range(3):
                if np.sqrt(_square(references[c, t])) > shells[i] + tolerance:  # else a neighbour already
                    source[count], target[count] = start + i, start + i
                    for x in range(3):
                        vectors[count, x] = references[c, t, x]
                    count += 1
        edge_offsets[c + 1] = count
    return source[:count], target[:count], vectors[:count], edge_offsets


@compiled()
def _neighbours(
    lattice: np.ndarray, positions: np.ndarray, k: int, tolerance: float
) -> Any:  # pragma: no cover - compiled
    """Return candidate pairs (i ≤ j), their vectors, and the distance of the k-th neighbour of each atom.

    The initial radius contains about 1.5 k neighbours in a homogeneous crystal. It grows until it contains k neighbours
    of each atom; edges do not depend on the sequence of radii.
    """
    atoms, heights, volume = len(positions), face_distances(lattice), abs(determinant(lattice))
    radius = (1.5 * k * volume / atoms * 3 / (4 * np.pi)) ** (1 / 3) + 2 * tolerance
    while True:
        pairs, steps, shells = _candidates(lattice, positions, heights, radius, k)
        farthest = 0.0
        for shell in shells:
            farthest = max(farthest, shell)
        if farthest + tolerance <= radius:
            return pairs, steps, shells
        radius = farthest + 2 * tolerance if np.isfinite(farthest) else 1.3 * radius


@compiled()
def _candidates(
    lattice: np.ndarray, positions: np.ndarray, heights: np.ndarray, radius: float, k: int
) -> Any:  # pragma: no cover - compiled
    atoms = len(positions)
    capacity = 64 * atoms
    pairs, steps = np.empty((capacity, 2), dtype=np.int64), np.empty((capacity, 3))
    nearest = np.full((atoms, k), np.inf)  # squared distances of the k nearest, ascending
    delta, step = np.empty(3), np.empty(3)
    low, high = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
    count, square = 0, radius * radius
    for i in range(atoms):
        for j in range(i, atoms):
            for x in range(3):
                delta[x] = positions[j, x] - positions[i, x]
                reach = radius / heights[x]
                low[x], high[x] = np.ceil(-reach - delta[x]), np.floor(reach - delta[x])
            for a in range(low[0], high[0] + 1):
                for b in range(low[1], high[1] + 1):
                    for c in range(low[2], high[2] + 1):
                        if i == j and (a < 0 or (a == 0 and (b < 0 or (b == 0 and c <= 0)))):
                            continue  # one of S and −S; not the atom itself
                        for x in range(3):
                            step[x] = (
                                (delta[0] + a) * lattice[0, x]
                                + (delta[1] + b) * lattice[1, x]
                                + (delta[2] + c) * lattice[2, x]
                            )
                        distance = _square(step)
                        if distance > square:
                            continue
                        if count == capacity:
                            capacity *= 2
                            pairs, steps = grow_rows(pairs, capacity), grow_rows(steps, capacity)
                        pairs[count, 0], pairs[count, 1] = i, j
                        for x in range(3):
                            steps[count, x] = step[x]
                        count += 1
                        _insert(nearest[i], distance)
                        _insert(nearest[j], distance)
    shells = np.empty(atoms)
    for i in range(atoms):
        shells[i] = np.sqrt(nearest[i, k - 1])
    return pairs[:count], steps[:count], shells


@compiled(inline='always')
def _square(v: np.ndarray) -> float:  # pragma: no cover - compiled
    return v[0] * v[0] + v[1] * v[1] + v[2] * v[2]


@compiled()
def _insert(ascending: np.ndarray, value: float) -> None:  # pragma: no cover - compiled
    place = len(ascending) - 1
    if value >= ascending[place]:
        return
    while place > 0 and ascending[place - 1] > value:
        ascending[place] = ascending[place - 1]
        place -= 1
    ascending[place] = value


@compiled()
def _grow(array: np.ndarray, size: int) -> np.ndarray:  # pragma: no cover - compiled
    larger = np.empty(size, dtype=array.dtype)
    for row in range(len(array)):
        larger[row] = array[row]
    return larger


@compiled()
def grow_rows(array: np.ndarray, size: int) -> np.ndarray:  # pragma: no cover - compiled
    """Return an array with more rows, (size, k); the last ones are not set."""
    larger = np.empty((size, array.shape[1]), dtype=array.dtype)
    for row in range(len(array)):
        for x in range(array.shape[1]):
            larger[row, x] = array[row, x]
    return larger
