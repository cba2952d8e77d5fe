"""Primitive cells for the force constant network: neighbours, reciprocal lattice vectors and atom maps, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from aiida_goectp.core.formats.ragged import ranges
from aiida_goectp.core.network.graph import pairs_within

__all__ = ('CUTOFF', 'WAVE_WIDTH', 'CellArrays', 'build_cells')

CUTOFF = 5.0
"""Å, radius of the neighbourhood of an atom"""
WAVE_WIDTH = 0.5
"""Å⁻¹, η of the Gaussian exp(−G²/4η²) that limits the reciprocal sum; what it leaves out, erfc(ηr) in real space, is
4·10⁻⁴ at 5 Å, within the range of the springs"""
_SMALLEST_WEIGHT = 1e-5
"""value of the Gaussian below which reciprocal lattice vectors are left out"""


@dataclass(frozen=True)
class CellArrays:
    """Primitive cells of c crystals as flat arrays: N atoms, U pairs of neighbours, W reciprocal lattice vectors."""

    atom_offsets: np.ndarray
    """(c + 1,) atoms of each cell"""
    pair_offsets: np.ndarray
    """(c + 1,) pairs of each cell"""
    wave_offsets: np.ndarray
    """(c + 1,) reciprocal lattice vectors of each cell"""
    given_offsets: np.ndarray
    """(c + 1,) atoms of each crystal as given"""
    numbers: np.ndarray
    """(N,) atomic numbers"""
    positions: np.ndarray
    """(N, 3) Å, Cartesian, in the frame of the crystal"""
    source: np.ndarray
    """(U,) index of an atom within its cell"""
    target: np.ndarray
    """(U,) index of an atom within its cell, not below ``source``"""
    vectors: np.ndarray
    """(U, 3) Å, from source to a periodic image of target; each pair stands once"""
    waves: np.ndarray
    """(W, 3) Å⁻¹, one of G and −G"""
    primitive_atom: np.ndarray
    """index within the primitive cell of each atom of the crystals as given"""
    lattices: np.ndarray
    """(c, 3, 3) Å, rows"""
    complete: np.ndarray
    """(c,) whether the cell is that of the crystal; false if its layers were brought closer"""

    def __len__(self) -> int:
        return len(self.lattices)

    @property
    def volumes(self) -> np.ndarray:
        """(c,) Å³."""
        return np.abs(np.linalg.det(self.lattices))

    @property
    def atom_counts(self) -> np.ndarray:
        """(c,) number of atoms in each cell."""
        return np.diff(self.atom_offsets)

    @property
    def primitive_atoms(self) -> list[np.ndarray]:
        """``primitive_atom`` of each crystal."""
        return np.split(self.primitive_atom, self.given_offsets[1:-1])

    @classmethod
    def concatenate(cls, parts: Sequence[CellArrays]) -> CellArrays:
        """Return the cells of one or more parts in order."""
        columns = {item.name: [getattr(part, item.name) for part in parts] for item in fields(cls)}
        for name in _RAGGED:
            columns[name] = [_joined(columns[name])]
        return cls(**{name: np.concatenate(pieces) for name, pieces in columns.items()})

    def take(self, rows: np.ndarray) -> CellArrays:
        """Return the given cells in the given order."""
        taken = {name: getattr(self, name)[rows] for name in ('lattices', 'complete')}
        for offsets, names in _RAGGED.items():
            elements, taken[offsets] = ranges(getattr(self, offsets), rows)
            taken.update({name: getattr(self, name)[elements] for name in names})
        return CellArrays(**taken)


_RAGGED = {
    'atom_offsets': ('numbers', 'positions'),
    'pair_offsets': ('source', 'target', 'vectors'),
    'wave_offsets': ('waves',),
    'given_offsets': ('primitive_atom',),
}
"""offsets → arrays that they divide"""


def _joined(offsets: Sequence[np.ndarray]) -> np.ndarray:
    """Return the offsets of ragged arrays that are joined."""
    ends = np.cumsum([0, *(part[-1] for part in offsets)])
    shifted = [part[1:] + end for part, end in zip(offsets, ends, strict=False)]
    return np.concatenate([np.zeros(1, dtype=np.int64), *shifted])


def build_cells(
    lattices: Sequence[np.ndarray],
    numbers: Sequence[np.ndarray],
    positions: Sequence[np.ndarray],
    primitive_atoms: Sequence[np.ndarray],
    complete: Sequence[bool],
) -> CellArrays:
    """Return the cells of c crystals.

    :param lattices: (3, 3) Å each, rows, of the primitive cell
    :param numbers: (n,) each
    :param positions: (n, 3) each, fractional
    :param primitive_atoms: (given atoms,) each; index within the primitive cell
    :param complete: whether each cell is that of the crystal
    """
    pairs, steps = [], []
    for lattice, fractional in zip(lattices, positions, strict=True):
        found, vectors = pairs_within(lattice, fractional, CUTOFF)
        pairs.append(found)
        steps.append(vectors)
    waves = [_waves(lattice) for lattice in lattices]
    cartesian = [fractional @ lattice for lattice, fractional in zip(lattices, positions, strict=True)]
    joined = np.concatenate([np.zeros((0, 2), dtype=np.int64), *pairs])
    return CellArrays(
        _offsets(numbers),
        _offsets(pairs),
        _offsets(waves),
        _offsets(primitive_atoms),
        np.concatenate([np.zeros(0, dtype=np.int64), *numbers]).astype(np.int64),
        np.concatenate([np.zeros((0, 3)), *cartesian]),
        joined[:, 0].copy(),
        joined[:, 1].copy(),
        np.concatenate([np.zeros((0, 3)), *steps]),
        np.concatenate([np.zeros((0, 3)), *waves]),
        np.concatenate([np.zeros(0, dtype=np.int64), *primitive_atoms]).astype(np.int64),
        np.array(lattices, dtype=np.float64).reshape(-1, 3, 3),
        np.array(complete, dtype=bool).reshape(-1),
    )


def _offsets(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)


def _waves(lattice: np.ndarray) -> np.ndarray:
    """Return the reciprocal lattice vectors within the Gaussian, one of G and −G, (w, 3) Å⁻¹."""
    reciprocal = 2 * np.pi * np.linalg.inv(lattice).T
    longest = 2 * WAVE_WIDTH * np.sqrt(-np.log(_SMALLEST_WEIGHT))
    reach = np.floor(longest * np.linalg.norm(lattice, axis=1) / (2 * np.pi)).astype(int)
    grids = np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing='ij')
    indices = np.stack(grids, axis=-1).reshape(-1, 3)
    half = indices[len(indices) // 2 + 1 :]  # the middle one is zero, and those before it are the negatives
    vectors = half @ reciprocal
    return vectors[(vectors**2).sum(axis=1) < longest**2]
