"""Layered crystals: finding the layers, and pulling them apart.

Sixteen neighbours of an atom do not see how much empty space lies between layers, so a network must be shown. Far
apart, layers respond as sheets in vacuum: with c the repeat of the stacking, (ε_∥ − 1) and (1 − 1/ε_⊥) are
proportional to 1/c (sheets in parallel and in series; D. E. Aspnes, Am. J. Phys. 50, 704 (1982)).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import primitive_neighbor_list

from aiida_goectp.crystals.crystalset import Crystal

__all__ = ('Layers', 'diluted', 'find_layers', 'stretched')

_BOND = 1.25
"""bonds reach to this multiple of the sum of covalent radii; van der Waals contacts begin near 1.6"""
_SMALLEST_GAP = 2.5
"""Å between the outermost nuclei of neighbouring layers; less is no van der Waals gap"""


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
    normal /= np.linalg.norm(normal)
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
    """Follow the bonds: cell offsets (n, 3) and label (n,) of each atom, and the translations of all pieces.

    None unless each piece repeats along exactly two directions, the same for all.
    """
    radii = covalent_radii[crystal.atomic_numbers] * _BOND
    first, second, shift = primitive_neighbor_list(
        'ijS', (True, True, True), lattice, crystal.fractional_positions @ lattice, list(radii)
    )
    n = len(radii)
    offsets, label = np.zeros((n, 3), dtype=int), np.full(n, -1)
    normals = []
    by_atom = [np.flatnonzero(first == atom) for atom in range(n)]
    for start in range(n):
        if label[start] >= 0:
            continue
        label[start], waiting, loops = start, [start], []
        while waiting:
            atom = waiting.pop()
            for edge in by_atom[atom]:
                other, place = second[edge], offsets[atom] + shift[edge]
                if label[other] < 0:
                    label[other], offsets[other] = start, place
                    waiting.append(other)
                elif np.any(place != offsets[other]):
                    loops.append(place - offsets[other])
        if not loops or np.linalg.matrix_rank(np.array(loops)) != 2:
            return None
        normals.append(np.linalg.svd(np.array(loops, dtype=float))[2][2])
    across = normals[0]
    same = all(abs(abs(other @ across) - 1) < 1e-6 for other in normals)
    return (offsets, label, across) if same else None


def _basis(across: np.ndarray) -> np.ndarray | None:
    """Return an integer basis with determinant 1 whose first two rows are perpendicular to a rational direction."""
    smallest = np.abs(across)[np.abs(across) > 1e-6].min()
    for multiple in range(1, 7):
        index = across / smallest * multiple
        if np.allclose(index, np.rint(index), atol=1e-4):
            index = np.rint(index).astype(int)
            break
    else:
        return None
    index //= np.gcd.reduce(index)
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


def stretched(crystal: Crystal, layers: Layers, share: float) -> Crystal:
    """Return the crystal with every gap wider by a share of itself; the layers stay as they are, and their frame too.

    :param share: 0 leaves all as it is, 1 doubles the gaps
    """
    wider = share * layers.gaps
    lift = np.concatenate([[0.0], np.cumsum(wider)])
    positions = layers.positions + lift[layers.order][:, None] * layers.normal
    lattice = layers.lattice.copy()
    lattice[2] += lift[-1] * layers.normal
    fractional = positions @ np.linalg.inv(lattice)
    return Crystal(f'{crystal.id}+{share:.2f}', lattice, crystal.atomic_numbers, fractional - np.floor(fractional))


def diluted(electronic: np.ndarray, layers: Layers, share: float) -> np.ndarray:
    """Return the electronic tensor that electrostatics demands after :func:`stretched`, (3, 3).

    What lies within the layers falls as 1/c in ε − 1; across them, 1 − 1/ε does. Components that mix both directions
    are left out, as in all but triclinic and some monoclinic stackings they vanish.
    """
    repeat = float(layers.lattice[2] @ layers.normal)
    thinner = repeat / (repeat + share * layers.gaps.sum())
    across = np.outer(layers.normal, layers.normal)
    within = np.eye(3) - across
    perpendicular = float(layers.normal @ electronic @ layers.normal)
    inside = within @ (electronic - np.eye(3)) @ within * thinner + within
    return inside + across / (1 - (1 - 1 / perpendicular) * thinner)
