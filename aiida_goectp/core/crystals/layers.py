"""Layered crystals: finding the layers, and pulling them apart.

Sixteen neighbours of an atom do not see how much empty space lies between layers, so a network must be shown. Far
apart, layers respond as sheets in vacuum: with c the repeat of the stacking, (ε_∥ − 1) and (1 − 1/ε_⊥) are
proportional to 1/c (sheets in parallel and in series; D. E. Aspnes, Am. J. Phys. 50, 704 (1982)).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from ase.data import covalent_radii

from aiida_goectp.core.crystals.crystalset import Crystal

__all__ = (
    'WIDEST_GAP',
    'Layers',
    'find_layers',
    'vacuum_average_ratio',
    'vacuum_averaged',
    'with_vacuum_reduced',
    'with_vacuum_scaled',
)

_BOND = 1.25
"""bonds reach to this multiple of the sum of covalent radii; van der Waals contacts begin near 1.6"""
_SMALLEST_GAP = 2.5
"""Å between the outermost nuclei of neighbouring layers; less is no van der Waals gap"""
WIDEST_GAP = 3.6
"""Å; 98 of 100 gaps of real crystals are narrower (phonondb), and beyond it layers act on one another by their fields
alone"""


class Layers(NamedTuple):
    """The layers of a crystal."""

    normal: np.ndarray
    """(3,) unit vector across the layers"""
    lattice: np.ndarray
    """(3, 3) Å, rows: two translations within the layers, and one across"""
    positions: np.ndarray
    """(n, 3) Å, Cartesian, each layer in one piece"""
    order: np.ndarray
    """(n,) number of each atom's layer along the normal, from 0"""
    gaps: np.ndarray
    """(layers,) Å between the outermost nuclei of a layer and the next"""


def find_layers(crystal: Crystal) -> Layers | None:
    """Return the layers of a crystal that consists of nothing but parallel ones with van der Waals gaps, else None."""
    lattice = np.asarray(crystal.lattice, dtype=np.float64)
    pieces = _pieces(crystal, lattice)
    if pieces is None:
        return None
    offsets, label, plane = pieces
    basis = _basis(plane)
    if basis is None:
        return None
    cell = basis @ lattice
    normal = np.cross(cell[0], cell[1])
    normal /= np.copysign(np.linalg.norm(normal), normal @ cell[2])  # a cell may be left-handed
    repeat = float(cell[2] @ normal)
    cartesian = (crystal.fractional_positions + offsets) @ lattice
    order, positions = _stacked(cartesian, label, normal, cell[2])
    height = positions @ normal
    layers = int(order.max()) + 1
    low = np.array([height[order == k].min() for k in range(layers)])
    high = np.array([height[order == k].max() for k in range(layers)])
    gaps = np.append(low[1:], low[0] + repeat) - high
    return Layers(normal, cell, positions, order, gaps) if gaps.min() >= _SMALLEST_GAP else None


def _pieces(crystal: Crystal, lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Follow the bonds: cell offsets (n, 3) and label (n,) of each atom, and Miller indices of the plane of all pieces.

    None unless each piece repeats along exactly two directions, the same for all.
    """
    reach = covalent_radii[crystal.atomic_numbers] * _BOND
    positions = np.ascontiguousarray(crystal.fractional_positions, dtype=np.float64)
    offsets, label, planes = _follow(np.ascontiguousarray(lattice), positions, reach)
    if not len(planes) or any(np.cross(planes[0], other).any() for other in planes):
        return None
    return offsets, label, planes[0] // np.gcd.reduce(planes[0])


@numba.njit(cache=True, nogil=True)
def _bonds(lattice: np.ndarray, positions: np.ndarray, reach: np.ndarray) -> Any:  # pragma: no cover - compiled
    """Return bonds (b, 5), each in both directions: atom, other atom, its cell; and where those of each atom begin."""
    n = len(positions)
    heights = 1 / np.sqrt((np.linalg.inv(lattice) ** 2).sum(axis=0))
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
                            found = np.concatenate((found, np.empty_like(found)))
                        found[count, 0], found[count, 1] = i, j
                        found[count, 2], found[count, 3], found[count, 4] = a, b, c
                        count += 1
        starts[i + 1] = count
    return found[:count], starts


@numba.njit(cache=True, nogil=True)
def _follow(lattice: np.ndarray, positions: np.ndarray, reach: np.ndarray) -> Any:  # pragma: no cover - compiled
    """Return offsets, labels, and for each piece the cross product of two translations that carry it onto itself.

    No such products at all if a piece repeats along fewer directions or more.
    """
    bonds, starts = _bonds(lattice, positions, reach)
    n, pieces = len(positions), 0
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
                other, place = bonds[bond, 1], offsets[atom] + bonds[bond, 2:]
                if label[other] < 0:
                    label[other], offsets[other], waiting[count] = start, place, other
                    count += 1
                else:
                    rank = _extend(loops, rank, place - offsets[other])
                    if rank > 2:
                        return offsets, label, none
        if rank < 2:
            return offsets, label, none
        planes[pieces] = np.cross(loops[0], loops[1])
        pieces += 1
    return offsets, label, planes[:pieces].copy()


@numba.njit(cache=True, nogil=True)
def _extend(loops: np.ndarray, rank: int, loop: np.ndarray) -> int:  # pragma: no cover - compiled
    """Keep a translation that is independent of those kept; return how many are, 3 for a crystal in one piece."""
    if rank == 0:
        loops[0] = loop
        return 1 if np.any(loop != 0) else 0
    if rank == 1:
        loops[1] = loop
        return 2 if np.any(np.cross(loops[0], loop) != 0) else 1
    return 3 if np.sum(np.cross(loops[0], loops[1]) * loop) != 0 else 2


def _basis(index: np.ndarray) -> np.ndarray | None:
    """Return an integer basis with determinant 1 whose first two rows lie in the plane of the given Miller indices."""
    grid = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing='ij'), axis=-1).reshape(-1, 3)
    grid = grid[np.argsort(np.abs(grid).sum(axis=1), kind='stable')]
    flat, steps = grid[(grid @ index == 0)][1:], grid[grid @ index == 1]
    for first in flat:
        for second in flat:
            basis = np.array([first, second, steps[0]])
            if round(np.linalg.det(basis)) == 1:
                return basis
    return None


def _stacked(
    cartesian: np.ndarray, label: np.ndarray, normal: np.ndarray, step: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bring all layers into one repeat along the normal, and number them from below."""
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


def with_vacuum_scaled(crystal: Crystal, layers: Layers, share: float) -> Crystal:
    """Return the crystal with every gap wider by a share of itself; the layers stay as they are, and their frame too.

    :param share: 0 leaves all as it is, 1 doubles the gaps
    """
    return _respaced(crystal, layers, share * layers.gaps)._replace(id=f'{crystal.id}+{share:.2f}')


def with_vacuum_reduced(crystal: Crystal, layers: Layers, widest: float = WIDEST_GAP) -> tuple[Crystal, float]:
    """Return the crystal with no gap wider than a length, and how much thinner the one that was given is.

    :param widest: Å
    :return: a crystal of the same layers in the same frame, and the ratio of its repeat across the layers to the one
        given, at most 1: ``thinner`` of :func:`vacuum_average_ratio`
    """
    other = _respaced(crystal, layers, np.minimum(widest - layers.gaps, 0.0))
    return other, abs(float(np.linalg.det(other.lattice) / np.linalg.det(layers.lattice)))


def _respaced(crystal: Crystal, layers: Layers, wider: np.ndarray) -> Crystal:
    lift = np.concatenate([[0.0], np.cumsum(wider)])
    positions = layers.positions + lift[layers.order][:, None] * layers.normal
    lattice = layers.lattice.copy()
    lattice[2] += lift[-1] * layers.normal
    fractional = positions @ np.linalg.inv(lattice)
    return crystal._replace(lattice=lattice, fractional_positions=fractional - np.floor(fractional))


def vacuum_averaged(electronic: np.ndarray, layers: Layers, share: float) -> np.ndarray:
    """Return the electronic tensor that electrostatics demands after :func:`with_vacuum_scaled`, (3, 3).

    What lies within the layers falls as 1/c in ε − 1; across them, 1 − 1/ε does. Components that mix both directions
    are left out, as in all but triclinic and some monoclinic stackings they vanish.
    """
    repeat = float(layers.lattice[2] @ layers.normal)
    return vacuum_average_ratio(electronic, layers.normal, repeat / (repeat + share * layers.gaps.sum()))


def vacuum_average_ratio(tensor: np.ndarray, normal: np.ndarray, thinner: float) -> np.ndarray:
    """Return a tensor (3, 3) as it is when the repeat along a normal (3,) is longer; see :func:`vacuum_averaged`.

    :param thinner: ratio of the repeats, before over after, at most 1
    """
    across = np.outer(normal, normal)
    within = np.eye(3) - across
    perpendicular = float(normal @ tensor @ normal)
    inside = within @ (tensor - np.eye(3)) @ within * thinner + within
    return inside + across / (1 - (1 - 1 / perpendicular) * thinner)
