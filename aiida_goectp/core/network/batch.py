"""Batches of crystal graphs as torch tensors, the input of every backbone."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from aiida_goectp.core.network.force_constants.batch import CellBatch
from aiida_goectp.core.network.preparation import GraphArrays

__all__ = ('GraphBatch',)


@dataclass
class GraphBatch:
    """Graphs of c crystals as tensors: g graphs, N atoms, U undirected edges.

    An undirected edge stands for two directed ones: source → target with the given cosines, and target → source with
    the cosines of opposite sign.
    """

    numbers: torch.Tensor
    """(N,) atomic numbers"""
    atom_graph: torch.Tensor
    """(N,) index of the graph of each atom"""
    source: torch.Tensor
    """(U,) index of an atom"""
    target: torch.Tensor
    """(U,) index of an atom"""
    edge_graph: torch.Tensor
    """(U,) index of the graph of each edge"""
    lengths: torch.Tensor
    """(U,) Å"""
    cosines: torch.Tensor
    """(U, 3) of the angles between an edge and the three reference lattice vectors"""
    reference_lengths: torch.Tensor
    """(g, 3) Å, lengths of the reference lattice vectors"""
    atom_density: torch.Tensor
    """(g,) atoms per Å³"""
    rotations: torch.Tensor
    """(g, 3, 3) Q of each graph's frame"""
    owners: torch.Tensor
    """(g,) index of the crystal of each graph"""
    projectors: torch.Tensor
    """(c, 2, 9, 9) projectors onto the tensors that the point group allows: any tensor, and an ionic one"""
    vacuum: torch.Tensor
    """(c, 4) normal of layers that were brought closer, and the ratio of the repeats across them; see
    :class:`.PreparedCrystal`"""
    descriptors: torch.Tensor | None = None
    """(g, k) result of :meth:`.CrystalDescriptors.compute`, if computed before"""
    cells: CellBatch | None = None
    """primitive cells, with preset ``force_constants``"""

    @classmethod
    def from_arrays(cls, arrays: GraphArrays, dtype: torch.dtype = torch.float32) -> GraphBatch:
        """Return the batch on the CPU; geometry is computed in float64 and rounded to ``dtype``."""
        atoms, edges = np.diff(arrays.atom_offsets), np.diff(arrays.edge_offsets)
        edge_graph = np.repeat(np.arange(len(edges)), edges)
        shift = np.repeat(arrays.atom_offsets[:-1], edges)
        lengths = np.linalg.norm(arrays.vectors, axis=1)
        reference_lengths = np.linalg.norm(arrays.references, axis=2)
        products = np.einsum('ui,uti->ut', arrays.vectors, arrays.references[edge_graph])
        # 1e-8 Å² as in the published code, so that cosines of edges of length zero are finite
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
            real(arrays.vacuum),
            None if arrays.descriptors is None else real(arrays.descriptors),
            None if arrays.cells is None else CellBatch.from_arrays(arrays.cells, dtype),
        )

    def to(self, device: torch.device | str) -> GraphBatch:
        """Return the batch on a device."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor)
        }
        return replace(self, **moved, cells=None if self.cells is None else self.cells.to(device))
