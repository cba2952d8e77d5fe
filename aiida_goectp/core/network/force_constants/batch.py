"""Batches of primitive cells as torch tensors, the input of the force constant network."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from aiida_goectp.core.formats.ragged import ranges
from aiida_goectp.core.network.force_constants.cells import CellArrays

__all__ = ('CellBatch', 'SizeGroup', 'copied')


def copied(values: torch.Tensor, copies: int) -> torch.Tensor:
    """Return copies of values, one after the other, along the first axis."""
    return torch.cat([values] * copies)  # takes a fifth of the time of repeat() for small tensors


class SizeGroup(NamedTuple):
    """The g cells of a batch that have the same number n of atoms; their matrices are evaluated together."""

    cells: torch.Tensor
    """(g,) indices of the cells"""
    atoms: torch.Tensor
    """(g, n) indices of their atoms"""
    blocks: torch.Tensor
    """(g, n, n) indices of their pairs of atoms, among those of all cells"""
    waves: torch.Tensor
    """(g, w) indices of their reciprocal lattice vectors, filled with the last one of the batch"""
    wave_known: torch.Tensor
    """(g, w) true where ``waves`` belongs to the cell"""


@dataclass
class CellBatch:
    """Primitive cells of c crystals: N atoms, U pairs of neighbours, B = Σ n² pairs of atoms, W reciprocal vectors."""

    numbers: torch.Tensor
    """(N,) atomic numbers"""
    atom_cell: torch.Tensor
    """(N,) index of the cell of each atom"""
    atom_counts: torch.Tensor
    """(c,) atoms of each cell"""
    positions: torch.Tensor
    """(N, 3) Å"""
    source: torch.Tensor
    """(U,) index of an atom"""
    target: torch.Tensor
    """(U,) index of an atom"""
    block: torch.Tensor
    """(U,) index of (source, target) among the pairs of atoms"""
    transposed_block: torch.Tensor
    """(U,) index of (target, source)"""
    vectors: torch.Tensor
    """(U, 3) Å, from source to target"""
    waves: torch.Tensor
    """(W, 3) Å⁻¹"""
    volumes: torch.Tensor
    """(c,) Å³"""
    groups: list[SizeGroup]
    """cells by their number of atoms"""
    blocks: int
    """B"""
    copies: int = 1
    """number of times that the crystals are in the batch, one copy after the other; see :meth:`repeated`"""

    def __len__(self) -> int:
        return len(self.volumes)

    @classmethod
    def from_arrays(cls, cells: CellArrays, dtype: torch.dtype = torch.float32) -> CellBatch:
        """Return the batch on the CPU."""
        counts, pairs = cells.atom_counts, np.diff(cells.pair_offsets)
        block_offsets = np.concatenate([[0], np.cumsum(counts**2)]).astype(np.int64)
        first, owner = np.repeat(cells.atom_offsets[:-1], pairs), np.repeat(np.arange(len(cells)), pairs)
        block = block_offsets[owner] + cells.source * counts[owner] + cells.target
        transposed = block_offsets[owner] + cells.target * counts[owner] + cells.source

        def real(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)

        waves = np.concatenate([cells.waves, np.zeros((1, 3))])  # the last one fills up groups
        return cls(
            torch.from_numpy(cells.numbers),
            torch.from_numpy(np.repeat(np.arange(len(cells)), counts)),
            torch.from_numpy(counts),
            real(cells.positions),
            torch.from_numpy(cells.source + first),
            torch.from_numpy(cells.target + first),
            torch.from_numpy(block),
            torch.from_numpy(transposed),
            real(cells.vectors),
            real(waves),
            real(cells.volumes),
            [_group(cells, block_offsets, rows) for rows in _rows_by_size(counts)],
            int(block_offsets[-1]),
        )

    def repeated(self, copies: int) -> CellBatch:
        """Return a batch with several copies of all cells, one after the other; reciprocal vectors are shared."""

        def shifted(index: torch.Tensor, count: int) -> torch.Tensor:
            first = torch.arange(0, copies * count, count, device=index.device)
            return (index + first.view(-1, *[1] * index.dim())).flatten(0, 1)

        atoms, blocks = len(self.numbers), self.blocks
        groups = [
            SizeGroup(
                shifted(group.cells, len(self)),
                shifted(group.atoms, atoms),
                shifted(group.blocks, blocks),
                copied(group.waves, copies),
                copied(group.wave_known, copies),
            )
            for group in self.groups
        ]
        return CellBatch(
            copied(self.numbers, copies),
            shifted(self.atom_cell, len(self)),
            copied(self.atom_counts, copies),
            copied(self.positions, copies),
            shifted(self.source, atoms),
            shifted(self.target, atoms),
            shifted(self.block, blocks),
            shifted(self.transposed_block, blocks),
            copied(self.vectors, copies),
            self.waves,
            copied(self.volumes, copies),
            groups,
            copies * blocks,
            copies * self.copies,
        )

    def to(self, device: torch.device | str) -> CellBatch:
        """Return the batch on a device."""
        moved: dict[str, Any] = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor)
        }
        groups = [SizeGroup(*(index.to(device, non_blocking=True) for index in group)) for group in self.groups]
        return replace(self, **moved, groups=groups)


def _rows_by_size(counts: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(counts == count) for count in np.unique(counts)]


def _group(cells: CellArrays, block_offsets: np.ndarray, rows: np.ndarray) -> SizeGroup:
    n = int(cells.atom_counts[rows[0]])
    places, offsets = ranges(cells.wave_offsets, rows)
    widths = np.diff(offsets)
    width = max(1, int(widths.max()))
    known = np.arange(width) < widths[:, None]
    waves = np.full((len(rows), width), len(cells.waves), dtype=np.int64)
    waves[known] = places
    return SizeGroup(
        torch.from_numpy(rows),
        torch.from_numpy(cells.atom_offsets[rows][:, None] + np.arange(n)),
        torch.from_numpy(block_offsets[rows][:, None, None] + np.arange(n * n).reshape(n, n)),
        torch.from_numpy(waves),
        torch.from_numpy(known),
    )
