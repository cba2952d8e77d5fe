"""The complete network: backbone, pooling, head, rotation out of the frame, projection onto the point group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from aiida_goectp.core.network.backbone import build_backbone
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.fast import fast_icomformer
from aiida_goectp.core.network.heads import HEADS
from aiida_goectp.core.network.icomformer import IComFormer

__all__ = ('ARCHITECTURES', 'GoeCTP', 'architecture_of', 'average_with_vacuum', 'mean_by')

ARCHITECTURES: dict[str, dict[str, Any]] = {
    'goectp': {'backbone': 'icomformer', 'options': {'width': 64, 'layers': 4, 'bins': 128}, 'head': 'diluted'},
    'published': {
        'backbone': 'icomformer',
        'options': {'width': 128, 'layers': 4, 'bins': 512, 'even': False},
        'head': 'published',
    },
    'descriptors': {
        'backbone': 'descriptors',
        'options': {'width': 128, 'layers': 2, 'dropout': 0.2},
        'head': 'diluted',
    },
}
"""Architecture of each preset."""


def architecture_of(preset: str, options: dict[str, Any], functionals: Sequence[str] = ()) -> dict[str, Any]:
    """Return the architecture of a preset.

    :param preset: a key of :data:`ARCHITECTURES`
    :param options: options of the backbone, which override those of the preset
    :param functionals: functionals of the labels, the one predicted by default first; a single one is no input
    """
    base = ARCHITECTURES[preset]
    conditioned = {'functionals': list(functionals)} if len(functionals) > 1 else {}
    return {**base, 'options': {**base['options'], **options}, **conditioned}


class GoeCTP(nn.Module):
    """Network for dielectric tensors, equivariant under O(3) by the frame of the lattice (Hua et al., 2026).

    :param architecture: ``backbone`` (a key of :data:`.BACKBONES`), ``options`` (of the backbone), ``head`` (a key of
        :data:`.HEADS`), and ``functionals`` if the network is conditioned on the functional of the labels
    :param targets: outputs in order: electronic, ionic, total or some of them
    :raises ValueError: unknown backbone, option, head or target
    """

    def __init__(self, architecture: dict[str, Any], targets: list[str]) -> None:
        super().__init__()
        if architecture.get('head') not in HEADS:
            raise ValueError(f'head: unknown value {architecture.get("head")!r}; allowed: {", ".join(sorted(HEADS))}')
        self.architecture, self.targets = dict(architecture), list(targets)
        self.backbone = build_backbone(architecture['backbone'], **architecture.get('options', {}))
        self.head = HEADS[architecture['head']](self.backbone.width, self.targets)
        self.functionals = list(architecture.get('functionals', []))
        if self.functionals:
            self.functional_shift = nn.Embedding(len(self.functionals), self.backbone.width)
            nn.init.zeros_(self.functional_shift.weight)
        self.register_buffer('whitening', None, persistent=False)
        # index of the projector of each target: 0 for any tensor, 1 for an ionic one
        self.register_buffer('kinds', torch.tensor([int(t == 'ionic') for t in self.targets]), persistent=False)

    kinds: torch.Tensor
    whitening: torch.Tensor | None
    """(C, C) matrix W that gives the leverage |W f|² of features f; None if not calibrated"""

    def forward(self, batch: GraphBatch, plain: bool = False, functional: torch.Tensor | None = None) -> torch.Tensor:
        """Return symmetric relative permittivities in the Cartesian frame of each crystal, (c, targets, 3, 3).

        :param plain: evaluate the backbone by its reference implementation
        :param functional: (c,) indices into ``functionals``; None for the first one
        """
        return self.tensors(self.features(batch, plain, functional), batch)

    def features(self, batch: GraphBatch, plain: bool = False, functional: torch.Tensor | None = None) -> torch.Tensor:
        """Return the input of the last linear map of the head for each graph, (g, C)."""
        if isinstance(self.backbone, IComFormer) and not plain:
            atoms = fast_icomformer(self.backbone, batch)
        else:
            atoms = self.backbone(batch)
        pooled = mean_by(atoms, batch.atom_graph, len(batch.owners))
        if self.functionals:
            shift = self.functional_shift.weight
            pooled = pooled + (shift[0] if functional is None else shift[functional[batch.owners]])
        return self.head.features(pooled, batch.atom_density)

    def leverage(self, features: torch.Tensor, batch: GraphBatch) -> torch.Tensor:
        """Return the leverage of each crystal, (c,): the distance of its features from those of the training set.

        :param features: (g, C)
        :return: NaN if the network is not calibrated
        """
        if self.whitening is None:
            return features.new_full((len(batch.projectors),), float('nan'))
        squares = (features @ self.whitening.T).square().sum(dim=1, keepdim=True)
        return mean_by(squares, batch.owners, len(batch.projectors)).squeeze(1)

    def tensors(self, features: torch.Tensor, batch: GraphBatch) -> torch.Tensor:
        """Return the tensors of each crystal, (c, targets, 3, 3), from the features (g, C) of its graphs."""
        canonical = self.head(features, batch.atom_density)
        rotation = batch.rotations.unsqueeze(1)
        tensors = rotation @ canonical @ rotation.transpose(-1, -2)
        tensors = (tensors + tensors.transpose(-1, -2)) / 2
        crystals = mean_by(tensors.flatten(1), batch.owners, len(batch.projectors))
        flat = crystals.view(len(crystals), -1, 9)
        projected = (batch.projectors[:, self.kinds] @ flat.unsqueeze(-1)).squeeze(-1).unflatten(-1, (3, 3))
        return self._average_with_vacuum(projected, batch.vacuum)

    def _average_with_vacuum(self, tensors: torch.Tensor, vacuum: torch.Tensor) -> torch.Tensor:
        """Return the tensors (c, targets, 3, 3) of layered crystals at their own distance between layers."""
        if not torch.compiler.is_compiling() and not (vacuum[:, 3] < 1).any():
            return tensors  # no layers were brought closer: the result below would be the same
        parts = dict(zip(self.targets, tensors.unbind(1), strict=True))
        changed = {name: average_with_vacuum(tensor, vacuum) for name, tensor in parts.items() if name != 'ionic'}
        if {'electronic', 'ionic'} <= set(parts):  # the laws hold for the static tensor, not for its ionic part
            static = parts['electronic'] + parts['ionic']
            difference = average_with_vacuum(static, vacuum) - static - (changed['electronic'] - parts['electronic'])
            changed['ionic'] = parts['ionic'] + difference
        return torch.stack([changed.get(name, parts[name]) for name in self.targets], dim=1)


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
    inside = within @ (tensor - unit) @ within * ratio + within
    return torch.where(ratio < 1, inside + across / (1 - (1 - 1 / perpendicular) * ratio), tensor)


def mean_by(values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    """Return the mean of the rows of each index, (size, k); zero for an index without rows.

    :param values: (n, k)
    :param index: (n,) from 0 to size − 1
    :param size: number of means
    """
    total = values.new_zeros(size, values.shape[1]).index_add_(0, index, values)
    return total / torch.bincount(index, minlength=size).clamp(min=1).unsqueeze(1)
