"""From the output of a network to the tensors of crystals: symmetry, vacuum between layers, and leverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.force_constants.response import LatticeResponse

__all__ = ('NetworkOutput', 'average_with_vacuum', 'ionic_with_vacuum', 'leverage_of', 'mean_by', 'symmetrised')


class NetworkOutput(NamedTuple):
    """Output of a network for c crystals."""

    tensors: torch.Tensor
    """(c, targets, 3, 3) relative permittivities in the Cartesian frame of each crystal"""
    leverage: torch.Tensor
    """(c,) NaN if the network is not calibrated"""
    soft_modes: torch.Tensor | None = None
    """(c, 2) see :func:`.static_response`; None for a network without force constants"""
    response: LatticeResponse | None = None
    """likewise"""


def mean_by(values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    """Return the mean of the rows of each index, (size, k); zero for an index without rows.

    :param values: (n, k)
    :param index: (n,) from 0 to size − 1
    :param size: number of means
    """
    total = values.new_zeros(size, values.shape[1]).index_add_(0, index, values)
    return total / torch.bincount(index, minlength=size).clamp(min=1).unsqueeze(1)


def leverage_of(features: torch.Tensor, whitening: torch.Tensor | None) -> torch.Tensor:
    """Return the leverage |W f|² of features f, (n,): their distance from those of the training set.

    :param features: (n, C)
    :param whitening: (C, C) W, or None if the network is not calibrated; NaN is returned then
    """
    if whitening is None:
        return features.new_full((len(features),), float('nan'))
    return (features @ whitening.T).square().sum(dim=1)


def symmetrised(tensors: torch.Tensor, batch: GraphBatch, targets: Sequence[str]) -> torch.Tensor:
    """Return the part of tensors that the point group allows, at the crystal's own distance between layers.

    :param tensors: (c, targets, 3, 3) in the Cartesian frame of each crystal, symmetric
    :param targets: names of the tensors
    """
    flat = tensors.flatten(2)
    kinds = [int(target == 'ionic') for target in targets]  # which of the two projectors
    projected = (batch.projectors[:, kinds] @ flat.unsqueeze(-1)).squeeze(-1).unflatten(-1, (3, 3))
    return _average_layers(projected, batch.vacuum, targets)


def _average_layers(tensors: torch.Tensor, vacuum: torch.Tensor, targets: Sequence[str]) -> torch.Tensor:
    """Return the tensors (c, targets, 3, 3) of layered crystals at their own distance between layers."""
    if not torch.compiler.is_compiling() and not (vacuum[:, 3] < 1).any():
        return tensors  # no layers were brought closer: the result below would be the same
    parts = dict(zip(targets, tensors.unbind(1), strict=True))
    changed = {name: average_with_vacuum(tensor, vacuum) for name, tensor in parts.items() if name != 'ionic'}
    if {'electronic', 'ionic'} <= set(parts):
        changed['ionic'] = ionic_with_vacuum(parts['electronic'], parts['ionic'], vacuum)
    return torch.stack([changed.get(name, parts[name]) for name in targets], dim=1)


def ionic_with_vacuum(electronic: torch.Tensor, ionic: torch.Tensor, vacuum: torch.Tensor) -> torch.Tensor:
    """Return the ionic part with more vacuum between the layers, (c, 3, 3).

    The laws hold for the electronic and for the static tensor, not for the ionic part itself.

    :param electronic: (c, 3, 3)
    :param ionic: (c, 3, 3)
    :param vacuum: as for :func:`average_with_vacuum`
    """
    static = electronic + ionic
    change = average_with_vacuum(static, vacuum) - static - (average_with_vacuum(electronic, vacuum) - electronic)
    return ionic + change


def average_with_vacuum(tensor: torch.Tensor, vacuum: torch.Tensor) -> torch.Tensor:
    """Return the tensors of layered crystals with more vacuum between their layers; see :func:`.vacuum_averaged`.

    :param tensor: (c, 3, 3)
    :param vacuum: (c, 4) normal of the layers, and the ratio of the old to the new repeat; 1 returns the tensor
    """
    normal, ratio = vacuum[:, :3], vacuum[:, 3:, None]
    across = normal.unsqueeze(2) * normal.unsqueeze(1)
    unit = torch.eye(3, dtype=tensor.dtype, device=tensor.device)
    within = unit - across
    perpendicular = torch.einsum('ci,cij,cj->c', normal, tensor, normal)[:, None, None].clamp(min=1.0)
    left, right = within @ tensor @ normal.unsqueeze(2), normal.unsqueeze(1) @ tensor @ within
    inside = (within @ (tensor - unit) @ within - left @ right / perpendicular) * ratio + within
    weight = ratio / perpendicular
    left, right = normal.unsqueeze(2) + left * weight, normal.unsqueeze(1) + right * weight
    return torch.where(ratio < 1, inside + left @ right / (1 - (1 - 1 / perpendicular) * ratio), tensor)
