"""Short-range part of the force constants, from the features of the atoms.

Two terms, each symmetric, without force in a rigid translation, and covariant by construction:

- a spring for each pair of neighbours within :data:`.CUTOFF`: a symmetric matrix K that depends on the direction of the
  pair and on the features of its atoms;
- internal coordinates of each atom and its neighbours within :data:`SHORT_CUTOFF`, q = Σ_j B_j (u_j − u_i), which
  couple all of these neighbours: Bᵀ S B with fixed signs S, some of them negative, which soft modes need.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from aiida_goectp.core.network.force_constants.arrays import arrays, in_compiled_loops
from aiida_goectp.core.network.force_constants.batch import CellBatch, SizeGroup
from aiida_goectp.core.network.force_constants.linear import joined_linear
from aiida_goectp.core.network.force_constants.messages import Channels
from aiida_goectp.core.network.force_constants.pair_loops import (
    add_coordinates,
    add_springs,
    gather_centres,
    gather_pairs,
    project_pairs,
)
from aiida_goectp.core.network.force_constants.tensor_basis import as_matrices
from aiida_goectp.core.network.force_constants.trunk import AtomFeatures, Geometry, envelope_of

__all__ = ('SHORT_CUTOFF', 'InternalCoordinates', 'PairSprings')

SHORT_CUTOFF = 3.8
"""Å, radius of the internal coordinates"""
_TYPICAL_LENGTH = 2.0
"""Å; force constants decrease with a power of the length of a bond over this length"""
_TYPICAL_SPRING = 10.0
"""eV/Å² at the typical length"""
_SPRING_SIZES = 6, 2, 4
"""numbers of coefficients of a spring, and of vectors and tensors of an atom (the last tensor is not used)"""
_INVARIANTS = 8
"""number of projections of the features of an atom onto the direction to its neighbour, each of vectors and tensors"""


def _outer(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.unsqueeze(-1) * b.unsqueeze(-2)


class _Projections(nn.Module):
    """Invariants u · v and y · t of the features of atoms and directions, (U, 16)."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        self.vectors = nn.Linear(channels.vectors, _INVARIANTS, bias=False)
        self.tensors = nn.Linear(channels.tensors, _INVARIANTS, bias=False)

    def forward(
        self,
        atoms: AtomFeatures,
        ends: Sequence[tuple[torch.Tensor, float]],
        directions: torch.Tensor,
        quadrupoles: torch.Tensor,
    ) -> torch.Tensor:
        """Return the sum over ends.

        :param ends: index of an atom of each pair (U,), and the sign of its u · v
        :param directions: (U, 3)
        :param quadrupoles: (U, 5)
        """
        vectors, tensors = self.vectors(atoms.vectors), self.tensors(atoms.tensors)
        if in_compiled_loops(vectors):
            result = vectors.new_zeros(len(directions), 2 * _INVARIANTS)
            for index, sign in ends:
                project_pairs(*arrays(vectors, tensors, index, sign * directions, quadrupoles, result))
            return result
        along = torch.stack([sign * torch.einsum('ea,eac->ec', directions, vectors[index]) for index, sign in ends])
        aligned = torch.stack([torch.einsum('ea,eac->ec', quadrupoles, tensors[index]) for index, _ in ends])
        return torch.cat([along.sum(0), aligned.sum(0)], dim=1)


class PairSprings(nn.Module):
    """A spring between each pair of neighbours.

    :param channels: of the features of the atoms
    :param radial: number of radial functions
    :param width: of the hidden layers
    :param sizes: numbers of coefficients of a pair, and of vectors and tensors of an atom
    """

    def __init__(
        self, channels: Channels, radial: int, width: int, sizes: tuple[int, int, int] = _SPRING_SIZES
    ) -> None:
        super().__init__()
        self.atoms = nn.Linear(channels.scalars, 2 * width)
        self.radial = nn.Linear(radial, width)
        self.projections = _Projections(channels)
        self.invariants = nn.Linear(2 * _INVARIANTS, width)
        self.coefficients = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, sizes[0]))
        self.vectors = nn.Linear(channels.vectors, sizes[1], bias=False)
        self.tensors = nn.Linear(channels.tensors, sizes[2], bias=False)

    def forward(self, atoms: AtomFeatures, batch: CellBatch, geometry: Geometry) -> torch.Tensor:
        """Return the springs of each ordered pair of atoms, summed over images, (B, 3, 3) eV/Å²; they are symmetric."""
        k = self._scaled_coefficients(atoms, batch, geometry)
        vectors, matrices = self.vectors(atoms.vectors), as_matrices(self.tensors(atoms.tensors))
        found = k.new_zeros(batch.blocks, 3, 3)
        if in_compiled_loops(k):
            indices = batch.source, batch.target, batch.block, batch.transposed_block
            add_springs(*arrays(k, geometry.directions, vectors, matrices, *indices, found))
            return found
        springs = self._springs(k, batch, geometry.directions, vectors, matrices)
        return found.index_add(0, batch.block, springs).index_add(0, batch.transposed_block, springs)

    def _scaled_coefficients(self, atoms: AtomFeatures, batch: CellBatch, geometry: Geometry) -> torch.Tensor:
        """Return the coefficients of each pair, in eV/Å²."""
        hidden = self._hidden(atoms, batch, geometry)
        decay = ((_TYPICAL_LENGTH / geometry.lengths) ** 4).clamp(max=20.0)
        return self.coefficients(hidden) * (geometry.envelope * _TYPICAL_SPRING * decay)[:, None]

    def _hidden(self, atoms: AtomFeatures, batch: CellBatch, geometry: Geometry) -> torch.Tensor:
        """Return the first layer of each pair, (U, W)."""
        ends = (batch.source, 1.0), (batch.target, -1.0)
        invariants = self.projections(atoms, ends, geometry.directions, geometry.quadrupoles)
        hidden = joined_linear(self.radial, self.invariants, [geometry.radial, invariants])
        features = self.atoms(atoms.scalars)
        if in_compiled_loops(hidden):
            gather_pairs(*arrays(features, batch.source, batch.target, hidden))
            return hidden
        sums, products = features.chunk(2, 1)
        i, j = batch.source, batch.target
        return hidden + sums[i] + sums[j] + products[i] * products[j]

    @staticmethod
    def _springs(
        k: torch.Tensor, batch: CellBatch, u: torch.Tensor, vectors: torch.Tensor, matrices: torch.Tensor
    ) -> torch.Tensor:
        """Return the spring matrix of each pair, (U, 3, 3), equal in both directions."""
        i, j = batch.source, batch.target
        difference, both = vectors[i] - vectors[j], matrices[i] + matrices[j]
        turned = (both[:, 0] @ u.unsqueeze(-1)).squeeze(-1)
        other = k[:, 1, None] * u + k[:, 2, None] * difference[:, :, 0] + k[:, 3, None] * turned
        unit = torch.eye(3, dtype=u.dtype, device=u.device)
        spring = k[:, 0, None, None] * unit + _outer(u, other) + _outer(other, u)
        return spring + k[:, 4, None, None] * both[:, 1] + k[:, 5, None, None] * both[:, 2]

    @staticmethod
    def assemble(group: SizeGroup, springs: torch.Tensor) -> torch.Tensor:
        """Return the force constants of the springs, (g, 3n, 3n) eV/Å².

        :param springs: (B, 3, 3) eV/Å², sums of the springs of each ordered pair of atoms, both orders
        """
        matrices = springs[group.blocks]
        unit = torch.eye(matrices.shape[1], dtype=springs.dtype, device=springs.device)[None, :, :, None, None]
        balanced = unit * matrices.sum(2, keepdim=True) - matrices
        return balanced.permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)


class InternalCoordinates(nn.Module):
    """Internal coordinates of each atom and its nearest neighbours, with fixed signs.

    :param channels: of the features of the atoms
    :param radial: number of radial functions
    :param width: of the hidden layers
    :param counts: numbers of coordinates that are scalars, vectors (three rows each) and tensors (nine rows each)
    :param envelope: power of :func:`.envelope_of`
    """

    def __init__(self, channels: Channels, radial: int, width: int, counts: Channels, envelope: int) -> None:
        super().__init__()
        self.counts, self.envelope = counts, envelope
        self.centre, self.neighbour = nn.Linear(channels.scalars, width), nn.Linear(channels.scalars, width)
        self.radial = nn.Linear(radial, width)
        self.projections = _Projections(channels)
        self.invariants = nn.Linear(2 * _INVARIANTS, width)
        outputs = 2 * counts.scalars + 3 * counts.vectors + 2 * counts.tensors
        self.coefficients = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, outputs))
        self.vectors = nn.Linear(channels.vectors, counts.vectors + counts.scalars, bias=False)
        signs = [_signs(counts.vectors, 3), _signs(counts.scalars, 1), _signs(counts.tensors, 9)]
        self.register_buffer('signs', torch.cat(signs), persistent=False)

    signs: torch.Tensor
    """(rows,) of the coordinates of an atom"""

    def forward(
        self,
        atoms: AtomFeatures,
        centre: torch.Tensor,
        neighbour: torch.Tensor,
        directions: torch.Tensor,
        quadrupoles: torch.Tensor,
        lengths: torch.Tensor,
        radial: torch.Tensor,
        blocks: torch.Tensor,
        count: int,
    ) -> torch.Tensor:
        """Return the coefficients B of each ordered pair of atoms, summed over images, (count, rows, 3).

        :param centre: (E,) atom to which the coordinates belong
        :param neighbour: (E,)
        :param directions: (E, 3) from centre to neighbour
        :param blocks: (E,) index of the ordered pair
        :param count: number of ordered pairs
        """
        invariants = self.projections(atoms, [(centre, 1.0)], directions, quadrupoles)
        hidden = joined_linear(self.radial, self.invariants, [radial, invariants])
        first, second = self.centre(atoms.scalars), self.neighbour(atoms.scalars)
        if in_compiled_loops(hidden):
            gather_centres(*arrays(first, second, centre, neighbour, hidden))
        else:
            hidden = hidden + first[centre] + second[neighbour]
        scale = 2 * envelope_of(lengths / SHORT_CUTOFF, self.envelope) * (_TYPICAL_LENGTH / lengths) ** 2
        coefficients = self.coefficients(hidden) * scale[:, None]
        own = self.vectors(atoms.vectors)
        found = coefficients.new_zeros(count, len(self.signs), 3)
        if in_compiled_loops(coefficients):
            add_coordinates(*arrays(coefficients, directions, own, centre, blocks, torch.tensor(self.counts), found))
            return found
        return found.index_add(0, blocks, self._rows(coefficients, directions, own.transpose(1, 2)[centre]))

    def _rows(self, coefficients: torch.Tensor, u: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Return the coefficients B of directed pairs, (E, rows, 3)."""
        ns, nv, nt = self.counts
        vector, scalar, tensor = coefficients.split([3 * nv, 2 * ns, 2 * nt], dim=1)
        unit = torch.eye(3, dtype=u.dtype, device=u.device)
        a = vector.unflatten(1, (nv, 3))[..., None, None]
        along = u[:, None].expand(-1, nv, -1)
        rows_v = a[:, :, 0] * unit + a[:, :, 1] * _outer(along, along) + a[:, :, 2] * _outer(own[:, :nv], along)
        b = scalar.unflatten(1, (ns, 2))[..., None]
        rows_s = b[:, :, 0] * u[:, None] + b[:, :, 1] * own[:, nv:]
        c = tensor.unflatten(1, (nt, 2))[..., None, None, None]
        mixed = torch.einsum('ea,bc->eabc', u, unit)
        cubic = _outer(u, u)[..., None] * u[:, None, None]
        rows_t = c[:, :, 0] * ((mixed + mixed.transpose(1, 2)) / 2)[:, None] + c[:, :, 1] * cubic[:, None]
        return torch.cat([rows_v.flatten(1, 2), rows_s, rows_t.flatten(1, 3)], dim=1)

    def assemble(self, group: SizeGroup, coefficients: torch.Tensor) -> torch.Tensor:
        """Return the force constants Bᵀ S B, (g, 3n, 3n) eV/Å².

        :param coefficients: (B, rows, 3) sums of the coefficients of each ordered pair of atoms
        """
        matrices = coefficients[group.blocks]  # (g, centre, neighbour, rows, 3)
        g, n = matrices.shape[:2]
        unit = torch.eye(n, dtype=matrices.dtype, device=matrices.device)[None, :, :, None, None]
        matrices = matrices - unit * matrices.sum(2, keepdim=True)
        flat = matrices.permute(0, 1, 3, 2, 4).reshape(g, -1, 3 * n)
        return flat.transpose(1, 2) @ (flat * self.signs.repeat(n)[:, None])


def _signs(count: int, rows: int) -> torch.Tensor:
    """Return the signs of the rows of coordinates, about a third of them negative."""
    positive = (2 * count + 2) // 3
    return torch.tensor([1.0] * positive + [-1.0] * (count - positive)).repeat_interleave(rows)
