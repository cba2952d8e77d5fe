"""Primitive cells for the force constant network: neighbours, reciprocal lattice vectors and atom maps, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled
from aiida_goectp.core.crystals.compiled.matrices import inverse
from aiida_goectp.core.formats.ragged import ranges
from aiida_goectp.core.network.graph import grow_rows, pairs_of_all

__all__ = ('CUTOFF', 'WAVE_WIDTH', 'CellArrays', 'build_cells')

CUTOFF = 5.0
"""Å, radius of the neighbourhood of an atom"""
WAVE_WIDTH = 0.5
"""Å⁻¹, η of the Gaussian exp(−G²/4η²) that limits the reciprocal sum; what it leaves out for isotropic ε_∞, erfc(ηr)
in real space, is 4·10⁻⁴ at 5 Å, within the range of the springs"""
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
    atom_offsets = _offsets(numbers)
    cells = np.array(lattices, dtype=np.float64).reshape(-1, 3, 3)
    fractional = np.concatenate([np.zeros((0, 3)), *positions])
    pairs, vectors, pair_offsets = pairs_of_all(cells, atom_offsets, fractional, CUTOFF)
    longest = 2 * WAVE_WIDTH * np.sqrt(-np.log(_SMALLEST_WEIGHT))
    waves, wave_offsets = _waves(cells, longest)
    return CellArrays(
        atom_offsets,
        pair_offsets,
        wave_offsets,
        _offsets(primitive_atoms),
        np.concatenate([np.zeros(0, dtype=np.int64), *numbers]).astype(np.int64),
        np.einsum('nx,nxy->ny', fractional, np.repeat(cells, np.diff(atom_offsets), axis=0)),
        pairs[:, 0].copy(),
        pairs[:, 1].copy(),
        vectors,
        waves,
        np.concatenate([np.zeros(0, dtype=np.int64), *primitive_atoms]).astype(np.int64),
        cells,
        np.array(complete, dtype=bool).reshape(-1),
    )


def _offsets(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)


@compiled()
def _waves(lattices: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Return the reciprocal lattice vectors shorter than a length, one of G and −G, (W, 3) Å⁻¹, and their offsets."""
    waves, offsets, count = np.empty((64 * len(lattices), 3)), np.zeros(len(lattices) + 1, dtype=np.int64), 0
    g, reach = np.empty(3), np.empty(3, dtype=np.int64)
    for cell in range(len(lattices)):
        lattice = lattices[cell]
        back = inverse(lattice)
        for x in range(3):
            length = np.sqrt(lattice[x, 0] ** 2 + lattice[x, 1] ** 2 + lattice[x, 2] ** 2)
            reach[x] = np.int64(np.floor(longest * length / (2 * np.pi)))
        for a in range(reach[0] + 1):
            for b in range(-reach[1] if a > 0 else 0, reach[1] + 1):
                for c in range(-reach[2] if a > 0 or b > 0 else 1, reach[2] + 1):
                    for x in range(3):
                        g[x] = 2 * np.pi * (back[x, 0] * a + back[x, 1] * b + back[x, 2] * c)
                    if g[0] ** 2 + g[1] ** 2 + g[2] ** 2 >= longest**2:
                        continue
                    if count == len(waves):
                        waves = grow_rows(waves, 2 * count + 64)
                    waves[count, 0], waves[count, 1], waves[count, 2] = g[0], g[1], g[2]
                    count += 1
        offsets[cell + 1] = count
    return waves[:count].copy(), offsets
