"""The torch batch that every backbone reads."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from aiida_goectp.core.network.preparation import GraphArrays

__all__ = ('GraphBatch',)


@dataclass
class GraphBatch:
    """Graphs of some crystals as tensors; what every backbone reads.

    An undirected edge stands for two messages: source → target with the cosines as they are, target → source with
    their signs turned.
    """

    numbers: torch.Tensor
    """(N,) atomic numbers"""
    atom_graph: torch.Tensor
    """(N,) graph of each atom"""
    source: torch.Tensor
    """(U,) atom of the batch"""
    target: torch.Tensor
    """(U,)"""
    edge_graph: torch.Tensor
    """(U,) graph of each edge"""
    lengths: torch.Tensor
    """(U,) Å"""
    cosines: torch.Tensor
    """(U, 3) with the three reference vectors"""
    reference_lengths: torch.Tensor
    """(g, 3) Å"""
    atom_density: torch.Tensor
    """(g,) atoms per Å³"""
    rotations: torch.Tensor
    """(g, 3, 3) Q of each graph's frame"""
    owners: torch.Tensor
    """(g,) crystal of each graph"""
    projectors: torch.Tensor
    """(c, 2, 9, 9) onto what each crystal's point group allows: of any tensor, and of an ionic one"""
    dilution: torch.Tensor
    """(c, 4) normal of layers that were brought closer, and the ratio of the repeats; 1 where nothing was changed"""
    described: torch.Tensor | None = None
    """(g, k) what :meth:`.CrystalNumbers.describe` returns, where it has been asked already"""

    @classmethod
    def from_arrays(cls, arrays: GraphArrays, dtype: torch.dtype = torch.float32) -> GraphBatch:
        """Turn flat arrays into tensors on the CPU; geometry is computed in float64 and then rounded."""
        atoms, edges = np.diff(arrays.atom_offsets), np.diff(arrays.edge_offsets)
        edge_graph = np.repeat(np.arange(len(edges)), edges)
        shift = np.repeat(arrays.atom_offsets[:-1], edges)
        lengths = np.linalg.norm(arrays.vectors, axis=1)
        reference_lengths = np.linalg.norm(arrays.references, axis=2)
        products = np.einsum('ui,uti->ut', arrays.vectors, arrays.references[edge_graph])
        # the published code adds 1e-8 Å², which leaves cosines of degenerate edges finite
        cosines = np.clip(products / (lengths[:, None] * reference_lengths[edge_graph] + 1e-8), -1, 1)

        def real(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)

        return cls(
            torch.from_numpy(arrays.numbers),
            torch.from_numpy(np.repeat(np.arange(len(atoms)), atoms)),
            torch.from_numpy(arrays.source + shift),
            torch.from_numpy(arrays.target + shift),
            torch.from_numpy(edge_graph),
            real(lengths),
            real(cosines),
            real(reference_lengths),
            real(atoms / arrays.volumes),
            real(arrays.rotations),
            torch.from_numpy(np.repeat(np.arange(len(arrays)), np.diff(arrays.graph_offsets))),
            real(arrays.projectors),
            real(arrays.dilution),
            None if arrays.described is None else real(arrays.described),
        )

    def to(self, device: torch.device | str) -> GraphBatch:
        """Return the batch on a device."""
        known = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in known.items()})
