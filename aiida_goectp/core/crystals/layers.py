"""Layered crystals: detection of the layers, and change of the vacuum between them.

The sixteen nearest neighbours of an atom do not contain the width of the gap between layers, so the network cannot
learn its effect from the graph. Widely separated layers respond as sheets in vacuum: with c the repeat of the stacking,
ε_∥ − 1 and 1 − 1/ε_⊥ are proportional to 1/c (sheets in parallel and in series; D. E. Aspnes, Am. J. Phys. 50, 704
(1982)).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase.data import covalent_radii

from aiida_goectp.core.crystals.compiled.cache import compiled
from aiida_goectp.core.crystals.compiled.matrices import face_distances
from aiida_goectp.core.crystals.crystalset import Crystal

__all__ = (
    'WIDEST_GAP',
    'Layers',
    'find_layers',
    'vacuum_averaged',
    'with_vacuum_reduced',
    'with_vacuum_scaled',
)

_BOND = 1.25
"""longest bond, in sums of covalent radii; van der Waals contacts begin near 1.6"""
_SMALLEST_GAP = 2.5
"""Å between the outermost nuclei of neighbouring layers, smallest van der Waals gap"""
WIDEST_GAP = 3.6
"""Å; 98 of 100 gaps in phonondb are narrower, and wider ones follow the laws of :func:`vacuum_averaged`"""


class Layers(NamedTuple):
    """The layers of a crystal."""

    normal: np.ndarray
    """(3,) unit vector across the layers"""
    lattice: np.ndarray
    """(3, 3) Å, rows: two translations within the layers, and one from a layer to its next repeat"""
    positions: np.ndarray
    """(n, 3) Å, Cartesian, atoms of each layer connected"""
    order: np.ndarray
    """(n,) index of the layer of each atom, in order along the normal"""
    gaps: np.ndarray
    """(layers,) Å between the outermost nuclei of each layer and the next"""


def find_layers(crystal: Crystal) -> Layers | None:
    """Return the layers of a layered crystal, else None.

    Layered is a crystal whose bonded fragments all extend along the same two directions, with van der Waals gaps
    between them.
    """
    lattice = np.asarray(crystal.lattice, dtype=np.float64)
    fragments = _fragments(crystal, lattice)
    if fragments is None:
        return None
    offsets, label, plane = fragments
    basis = _basis(tuple(plane.tolist()))
    if basis is None:
        return None
    cell = basis @ lattice
    normal = np.cross(cell[0], cell[1])
    normal /= np.copysign(np.linalg.norm(normal), normal @ cell[2])  # a cell may be left-handed
    repeat = float(cell[2] @ normal)
    cartesian = (crystal.fractional_positions + offsets) @ lattice
    order, positions = _stack(cartesian, label, normal, cell[2])
    height = positions @ normal
    layers = int(order.max()) + 1
    low = np.array([height[order == k].min() for k in range(layers)])
    high = np.array([height[order == k].max() for k in range(layers)])
    gaps = np.append(low[1:], low[0] + repeat) - high
    return Layers(normal, cell, positions, order, gaps) if gaps.min() >= _SMALLEST_GAP else None


def _fragments(crystal: Crystal, lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the fragments that bonds connect: cell (n, 3) and fragment (n,) of each atom, Miller indices of the plane.

    None unless every fragment is periodic in exactly two directions, which are the same for all.
    """
    reach = covalent_radii[crystal.atomic_numbers] * _BOND
    positions = np.ascontiguousarray(crystal.fractional_positions, dtype=np.float64)
    lattice = np.ascontiguousarray(lattice)
    offsets, label, planes = _connect(lattice, face_distances(lattice), positions, reach)
    if not len(planes) or any(np.cross(planes[0], other).any() for other in planes):
        return None
    return offsets, label, planes[0] // np.gcd.reduce(planes[0])


# Compiled functions use loops instead of array expressions, whose compilation takes ten times as long.
@compiled()
def _bonds(
    lattice: np.ndarray, heights: np.ndarray, positions: np.ndarray, reach: np.ndarray
) -> Any:  # pragma: no cover - compiled
    """Return bonds (b, 5) in both directions: atom, other atom, cell of the latter; and the offsets of each atom's."""
    n = len(positions)
    found, starts, count = np.empty((16 * n, 5), dtype=np.int64), np.zeros(n + 1, dtype=np.int64), 0
    low, high, delta = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64), np.empty(3)
    for i in range(n):
        for j in range(n):
            cutoff = reach[i] + reach[j]
            for x in range(3):
                delta[x] = positions[j, x] - positions[i, x]
                low[x] = np.ceil(-delta[x] - cutoff / heights[x])
                high[x] = np.floor(-delta[x] + cutoff / heights[x])
            for a in range(low[0], high[0] + 1):
                for b in range(low[1], high[1] + 1):
                    for c in range(low[2], high[2] + 1):
                        square = 0.0
                        for x in range(3):
                            step = (delta[0] + a) * lattice[0, x] + (delta[1] + b) * lattice[1, x]
                            square += (step + (delta[2] + c) * lattice[2, x]) ** 2
                        if square > cutoff * cutoff or (i == j and a == 0 and b == 0 and c == 0):
                            continue
                        if count == len(found):
                            shorter, found = found, np.empty((2 * count, 5), dtype=np.int64)
                            for bond in range(count):
                                for x in range(5):
                                    found[bond, x] = shorter[bond, x]
                        found[count, 0], found[count, 1] = i, j
                        found[count, 2], found[count, 3], found[count, 4] = a, b, c
                        count += 1
        starts[i + 1] = count
    return found[:count], starts


@compiled()
def _connect(
    lattice: np.ndarray, heights: np.ndarray, positions: np.ndarray, reach: np.ndarray
) -> Any:  # pragma: no cover - compiled
    """Return cell and fragment of each atom, and for each fragment the cross product of two of its translations.

    The cross products are empty if a fragment is periodic in fewer or more than two directions.
    """
    bonds, starts = _bonds(lattice, heights, positions, reach)
    n, fragments = len(positions), 0
    offsets, label = np.zeros((n, 3), dtype=np.int64), np.full(n, -1)
    planes, none = np.zeros((n, 3), dtype=np.int64), np.zeros((0, 3), dtype=np.int64)
    waiting, loops = np.empty(n, dtype=np.int64), np.zeros((2, 3), dtype=np.int64)
    for start in range(n):
        if label[start] >= 0:
            continue
        label[start], waiting[0], count, rank = start, start, 1, 0
        while count > 0:
            count -= 1
            atom = waiting[count]
            for bond in range(starts[atom], starts[atom + 1]):
                other = bonds[bond, 1]
                a, b, c = (
                    offsets[atom, 0] + bonds[bond, 2],
                    offsets[atom, 1] + bonds[bond, 3],
                    offsets[atom, 2] + bonds[bond, 4],
                )
                if label[other] < 0:
                    label[other], waiting[count] = start, other
                    offsets[other, 0], offsets[other, 1], offsets[other, 2] = a, b, c
                    count += 1
                else:
                    rank = _extend(loops, rank, a - offsets[other, 0], b - offsets[other, 1], c - offsets[other, 2])
                    if rank > 2:
                        return offsets, label, none
        if rank < 2:
            return offsets, label, none
        planes[fragments, 0], planes[fragments, 1], planes[fragments, 2] = _cross(
            loops[0, 0], loops[0, 1], loops[0, 2], loops[1, 0], loops[1, 1], loops[1, 2]
        )
        fragments += 1
    return offsets, label, planes[:fragments]


@compiled()
def _cross(a: int, b: int, c: int, x: int, y: int, z: int) -> Any:  # pragma: no cover - compiled
    return b * z - c * y, c * x - a * z, a * y - b * x


@compiled()
def _extend(loops: np.ndarray, rank: int, x: int, y: int, z: int) -> int:  # pragma: no cover - compiled
    """Add a translation if it is independent of the previous ones; return the rank, 3 for a connected crystal."""
    if rank == 0:
        loops[0, 0], loops[0, 1], loops[0, 2] = x, y, z
        return 1 if x != 0 or y != 0 or z != 0 else 0
    if rank == 1:
        loops[1, 0], loops[1, 1], loops[1, 2] = x, y, z
        a, b, c = _cross(loops[0, 0], loops[0, 1], loops[0, 2], x, y, z)
        return 2 if a != 0 or b != 0 or c != 0 else 1
    a, b, c = _cross(loops[0, 0], loops[0, 1], loops[0, 2], loops[1, 0], loops[1, 1], loops[1, 2])
    return 3 if a * x + b * y + c * z != 0 else 2


@lru_cache(maxsize=1024)
def _basis(index: tuple[int, ...]) -> np.ndarray | None:
    """Return an integer basis with determinant 1, the first two rows in the plane with the given Miller indices."""
    grid = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing='ij'), axis=-1).reshape(-1, 3)
    grid = grid[np.argsort(np.abs(grid).sum(axis=1), kind='stable')]
    rise = grid @ np.array(index)
    flat, steps = grid[rise == 0][1:], grid[rise == 1]
    for first in flat:
        for second in flat:
            basis = np.array([first, second, steps[0]])
            if round(np.linalg.det(basis)) == 1:
                return basis
    return None


def _stack(
    cartesian: np.ndarray, label: np.ndarray, normal: np.ndarray, step: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Translate all layers into one repeat along the normal; return the layer (n,) and position (n, 3) of each atom."""
    repeat = float(step @ normal)
    positions = cartesian.copy()
    names = np.unique(label)
    middles = []
    for name in names:
        rows = label == name
        turns = np.floor((positions[rows] @ normal).mean() / repeat + 1e-9)
        positions[rows] -= turns * step
        middles.append((positions[rows] @ normal).mean())
    rank = np.empty(len(names), dtype=int)
    rank[np.argsort(middles)] = np.arange(len(names))
    return rank[np.searchsorted(names, label)], positions


def with_vacuum_scaled(crystal: Crystal, layers: Layers, widening: float) -> Crystal:
    """Return the crystal with wider gaps between its layers; structure and orientation of the layers are unchanged.

    :param crystal: a layered crystal
    :param layers: result of :func:`find_layers` for this crystal
    :param widening: increase of each gap as a fraction of it: 0 changes nothing, 1 doubles the gaps
    :return: its id has the widening appended
    """
    return _with_gaps(crystal, layers, widening * layers.gaps)._replace(id=f'{crystal.id}+{widening:.2f}')


def with_vacuum_reduced(crystal: Crystal, layers: Layers, widest: float = WIDEST_GAP) -> tuple[Crystal, float]:
    """Return the crystal with all gaps reduced to a maximum, and the ratio of its repeat to that of the given crystal.

    :param crystal: a layered crystal
    :param layers: result of :func:`find_layers` for this crystal
    :param widest: Å, the maximum; narrower gaps are unchanged
    :return: a crystal of the same layers in the same frame, and new over old repeat across the layers, at most 1
    """
    other = _with_gaps(crystal, layers, np.minimum(widest - layers.gaps, 0.0))
    return other, abs(float(np.linalg.det(other.lattice) / np.linalg.det(layers.lattice)))


def _with_gaps(crystal: Crystal, layers: Layers, changes: np.ndarray) -> Crystal:
    """Return the crystal with the gap above each layer changed by (layers,) Å."""
    lift = np.concatenate([[0.0], np.cumsum(changes)])
    positions = layers.positions + lift[layers.order][:, None] * layers.normal
    lattice = layers.lattice.copy()
    lattice[2] += lift[-1] * layers.normal
    fractional = positions @ np.linalg.inv(lattice)
    return crystal._replace(lattice=lattice, fractional_positions=fractional - np.floor(fractional))


def vacuum_averaged(tensor: np.ndarray, layers: Layers, widening: float) -> np.ndarray:
    """Return the average of the permittivity of layers and of vacuum, for gaps as of :func:`with_vacuum_scaled`.

    With c the repeat across the layers, ε_∥ − 1 and 1 − 1/ε_⊥ are proportional to 1/c (Aspnes, Am. J. Phys. 50, 704
    (1982)). Where ε couples both directions, as in triclinic and some monoclinic stackings, the average is that of a
    laminate: fields within the layers and the displacement across them are continuous, so that 1/ε_⊥, ε_∥⊥/ε_⊥ and
    ε_∥ − ε_∥⊥ ε_⊥∥/ε_⊥ are averaged (G. W. Milton, The Theory of Composites (2002), chapter 9).

    :param tensor: (3, 3) electronic or static relative permittivity at the given gaps
    :param layers: the layers at the given gaps
    :param widening: increase of each gap as a fraction of it
    :return: (3, 3)
    """
    normal, repeat = layers.normal, float(layers.lattice[2] @ layers.normal)
    ratio = repeat / (repeat + widening * layers.gaps.sum())
    across = np.outer(normal, normal)
    within = np.eye(3) - across
    perpendicular = float(normal @ tensor @ normal)
    left, right = within @ tensor @ normal, normal @ tensor @ within
    inside = (within @ (tensor - np.eye(3)) @ within - np.outer(left, right) / perpendicular) * ratio + within
    inverse = 1 - (1 - 1 / perpendicular) * ratio
    left, right = normal + left * ratio / perpendicular, normal + right * ratio / perpendicular
    return inside + np.outer(left, right) / inverse
