"""Labels of the force constant network: force constants and Born charges in the primitive cells of the crystals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.row_gates import charges_usable
from aiida_goectp.core.dielectric.gamma_modes import folded, from_blocks, mean_by_atom, to_blocks
from aiida_goectp.core.formats.ragged import ranges
from aiida_goectp.core.network.force_constants.cells import CellArrays

__all__ = ('LatticeBatch', 'LatticeLabels')

_STIFF = 1000.0
"""eV/Å², given to rigid translations, so that the lowest eigenvalue is an optical one"""
_SOFTNESS = 0.3
"""eV/Å², added to the eigenvalues of the weights, so that soft modes do not dominate the loss"""


class LatticeBatch(NamedTuple):
    """Labels of some crystals, in the order of the blocks and atoms of their :class:`.CellBatch`."""

    force_constants: torch.Tensor
    """(B, 3, 3) eV/Å², NaN where missing"""
    weights: torch.Tensor
    """(B, 3, 3) Å/eV^½, blocks of (|Φ| + 0.3 eV/Å²)^−½, NaN where missing"""
    born_charges: torch.Tensor
    """(N, 3, 3) e, NaN where missing"""


@dataclass(frozen=True)
class LatticeLabels:
    """Labels of n crystals with N atoms and B = Σ n² pairs of atoms in their primitive cells."""

    block_offsets: np.ndarray
    """(n + 1,) pairs of atoms of each cell"""
    atom_offsets: np.ndarray
    """(n + 1,) atoms of each cell"""
    force_constants: np.ndarray
    """(B, 3, 3) as in :class:`LatticeBatch`"""
    weights: np.ndarray
    """(B, 3, 3)"""
    born_charges: np.ndarray
    """(N, 3, 3)"""

    @classmethod
    def from_dataset(cls, data: Dataset, cells: CellArrays) -> LatticeLabels:
        """Return the labels that no failed gate refuses; crystals whose layers were brought closer have none.

        :param cells: primitive cells of its crystals
        """
        counts = cells.atom_counts
        block_offsets = np.concatenate([[0], np.cumsum(counts**2)]).astype(np.int64)
        constants = np.full((block_offsets[-1], 3, 3), np.nan, dtype=np.float32)
        weights = constants.copy()
        charges = np.full((cells.atom_offsets[-1], 3, 3), np.nan, dtype=np.float32)
        known = data.has_force_constants & cells.complete
        for row in np.flatnonzero(cells.complete):
            start, stop = cells.given_offsets[row : row + 2]
            atoms = cells.primitive_atom[start:stop]
            place = slice(*cells.atom_offsets[row : row + 2])
            if charges_usable(str(data.failed_gates[row])):
                charges[place] = mean_by_atom(data.born_charges[start:stop], atoms, counts[row])
            if known[row] and data.force_constants is not None:
                blocks = data.force_constants[slice(*data.block_offsets[row : row + 2])]
                matrix = folded(blocks, atoms, counts[row])
                place = slice(*block_offsets[row : row + 2])
                constants[place], weights[place] = to_blocks(matrix), to_blocks(_weight(matrix))
        return cls(block_offsets, cells.atom_offsets, constants, weights, charges)

    def lowest_eigenvalues(self) -> np.ndarray:
        """Return the lowest optical eigenvalue of the force constants of each crystal, (n,) eV/Å²; NaN if missing."""
        found = np.full(len(self.atom_offsets) - 1, np.nan)
        for row, n in enumerate(np.diff(self.atom_offsets).tolist()):
            blocks = self.force_constants[slice(*self.block_offsets[row : row + 2])]
            if n > 1 and np.isfinite(blocks).all():
                shifted = from_blocks(blocks.astype(np.float64)) + _STIFF * np.tile(np.eye(3), (n, n)) / n
                found[row] = np.linalg.eigvalsh((shifted + shifted.T) / 2)[0]
        return found

    def batch(self, rows: np.ndarray, device: str) -> LatticeBatch:
        """Return the labels of some crystals on a device."""
        blocks, atoms = ranges(self.block_offsets, rows)[0], ranges(self.atom_offsets, rows)[0]
        columns = self.force_constants[blocks], self.weights[blocks], self.born_charges[atoms]
        return LatticeBatch(*(torch.from_numpy(column).to(device) for column in columns))


def _weight(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors / np.sqrt(np.abs(values) + _SOFTNESS)) @ vectors.T
