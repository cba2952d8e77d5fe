"""Force constants between pairs of neighbours as general matrices, whose antisymmetric part springs do not have.

The block Φ_ij of two atoms is a matrix without symmetry of its own, unless an operation of the crystal gives it one:
Φ_ji is its transpose.
"""

from __future__ import annotations

import torch

from aiida_goectp.core.network.force_constants.arrays import arrays, in_compiled_loops
from aiida_goectp.core.network.force_constants.batch import CellBatch
from aiida_goectp.core.network.force_constants.messages import Channels
from aiida_goectp.core.network.force_constants.pair_loops import add_blocks
from aiida_goectp.core.network.force_constants.springs import PairSprings
from aiida_goectp.core.network.force_constants.tensor_basis import TENSOR_BASIS
from aiida_goectp.core.network.force_constants.trunk import AtomFeatures, Geometry

__all__ = ('PairBlocks',)


class PairBlocks(PairSprings):
    """A matrix for each pair of neighbours, a function of its direction and of C vectors and tensors of both atoms.

    With u from atom i to atom j, vectors v, tensors T, and coefficients a to g that are equal in both directions:

    .. math:: a + b u⊗u + u ⊗ (p + q) + (p − q) ⊗ u + \\sum g (T_i + T_j)

    .. math:: p = \\sum c (v_i − v_j) + e (T_i + T_j) u, \\quad q = \\sum d (v_i + v_j) + f (T_i − T_j) u

    where the terms in q change sign when i and j are exchanged, as the transpose does.

    :param channels: of the features of the atoms
    :param radial: number of radial functions
    :param width: of the hidden layers
    :param count: C
    """

    def __init__(self, channels: Channels, radial: int, width: int, count: int) -> None:
        super().__init__(channels, radial, width, (2 + 5 * count, count, count))

    def forward(self, atoms: AtomFeatures, batch: CellBatch, geometry: Geometry) -> torch.Tensor:
        """Return the matrix of each ordered pair of atoms, summed over images, (B, 3, 3) eV/Å²."""
        k = self._scaled_coefficients(atoms, batch, geometry)
        vectors, tensors = self.vectors(atoms.vectors), self.tensors(atoms.tensors)
        found = k.new_zeros(batch.blocks, 3, 3)
        basis = TENSOR_BASIS.to(k)
        if in_compiled_loops(k):
            indices = batch.source, batch.target, batch.block, batch.transposed_block
            add_blocks(*arrays(k, geometry.directions, vectors, tensors, basis, *indices, found))
            return found
        matrices = _matrices(k, batch, geometry.directions, vectors, tensors, basis)
        found = found.index_add(0, batch.block, matrices)
        return found.index_add(0, batch.transposed_block, matrices.transpose(1, 2))


def _matrices(
    k: torch.Tensor,
    batch: CellBatch,
    u: torch.Tensor,
    vectors: torch.Tensor,
    tensors: torch.Tensor,
    basis: torch.Tensor,
) -> torch.Tensor:
    """Return the matrix of each pair from source to target, (U, 3, 3)."""
    count = vectors.shape[2]
    ab, c, d, e, f, g = k.split([2, *[count] * 5], dim=1)
    (v_i, v_j), (t_i, t_j) = (
        (values.index_select(0, batch.source), values.index_select(0, batch.target)) for values in (vectors, tensors)
    )
    even, odd = t_i + t_j, t_i - t_j
    components = torch.stack([torch.einsum('umc,uc->um', t, w) for t, w in ((even, e), (odd, f), (even, g))], dim=1)
    symmetric = (components.flatten(0, 1) @ basis.flatten(1)).view(len(u), 3, 3, 3)
    turned = torch.einsum('usab,ub->usa', symmetric[:, :2], u)
    p = turned[:, 0] + torch.einsum('uac,uc->ua', v_i - v_j, c) + ab[:, 1, None] / 2 * u
    q = turned[:, 1] + torch.einsum('uac,uc->ua', v_i + v_j, d)
    unit = torch.eye(3, dtype=u.dtype, device=u.device)
    outer = u[:, :, None] * (p + q)[:, None] + (p - q)[:, :, None] * u[:, None]
    return ab[:, 0, None, None] * unit + outer + symmetric[:, 2]
