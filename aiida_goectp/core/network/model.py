"""The whole network: backbone, pooling, head, frame and projection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from aiida_goectp.core.network.backbone import build_backbone
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.heads import HEADS

__all__ = ('ARCHITECTURES', 'GoeCTP', 'architecture_of')

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

    :param options: of the backbone, over those of the preset
    :param functionals: of the labels, the one that is predicted by default first; fewer than two need no input
    """
    base = ARCHITECTURES[preset]
    told = {'functionals': list(functionals)} if len(functionals) > 1 else {}
    return {**base, 'options': {**base['options'], **options}, **told}


class GoeCTP(nn.Module):
    """Dielectric tensors of crystals, equivariant under O(3) by the frame of the lattice (Hua et al., 2026).

    :param architecture: ``backbone`` (name), ``options`` (of the backbone), ``head`` (name), and ``functionals`` where
        the labels it learns from were computed with several
    :param targets: outputs in order, of electronic, ionic, total
    :raises ValueError: an unknown backbone, option or head
    """

    def __init__(self, architecture: dict[str, Any], targets: list[str]) -> None:
        super().__init__()
        if architecture.get('head') not in HEADS:
            raise ValueError(f'unknown head {architecture.get("head")!r}; there are: {", ".join(sorted(HEADS))}')
        self.architecture, self.targets = dict(architecture), list(targets)
        self.backbone = build_backbone(architecture['backbone'], **architecture.get('options', {}))
        self.head = HEADS[architecture['head']](self.backbone.width, self.targets)
        self.functionals = list(architecture.get('functionals', []))
        if self.functionals:
            self.functional_shift = nn.Embedding(len(self.functionals), self.backbone.width)
            nn.init.zeros_(self.functional_shift.weight)
        # of the features of the training set, where its uncertainty is known; see learning.uncertainty
        self.register_buffer('whitening', None, persistent=False)
        # which of a batch's projectors belongs to each target
        self.register_buffer('kinds', torch.tensor([int(t == 'ionic') for t in self.targets]), persistent=False)

    kinds: torch.Tensor
    whitening: torch.Tensor | None
    """(C, C) W with |W f|² the leverage of features f; stored beside the weights"""

    def forward(self, batch: GraphBatch, plain: bool = False, functional: torch.Tensor | None = None) -> torch.Tensor:
        """Return symmetric tensors of each crystal, in the frame of the crystal as given.

        :param plain: the formulas as written instead of the fast evaluation
        :param functional: (c,) places in ``functionals``; the first for all if left out
        :return: (c, targets, 3, 3), relative permittivity
        """
        return self.tensors(self.features(batch, plain, functional), batch)

    def features(self, batch: GraphBatch, plain: bool = False, functional: torch.Tensor | None = None) -> torch.Tensor:
        """Return what the last linear map of the head reads, (g, C), of each graph."""
        atoms = self.backbone(batch, plain=plain)
        pooled = mean_by(atoms, batch.atom_graph, len(batch.owners))
        if self.functionals:
            shift = self.functional_shift.weight
            pooled = pooled + (shift[0] if functional is None else shift[functional[batch.owners]])
        return self.head.features(pooled, batch.atom_density)

    def leverage(self, features: torch.Tensor, batch: GraphBatch) -> torch.Tensor:
        """Return how far each crystal's features (g, C) lie from those learnt from, (c,); NaN where that is unknown."""
        if self.whitening is None:
            return features.new_full((len(batch.projectors),), float('nan'))
        squares = (features @ self.whitening.T).square().sum(dim=1, keepdim=True)
        return mean_by(squares, batch.owners, len(batch.projectors)).squeeze(1)

    def tensors(self, features: torch.Tensor, batch: GraphBatch) -> torch.Tensor:
        """Return what :meth:`forward` returns, from the features of each graph."""
        canonical = self.head(features, batch.atom_density)
        rotation = batch.rotations.unsqueeze(1)
        tensors = rotation @ canonical @ rotation.transpose(-1, -2)
        tensors = (tensors + tensors.transpose(-1, -2)) / 2
        crystals = mean_by(tensors.flatten(1), batch.owners, len(batch.projectors))
        flat = crystals.view(len(crystals), -1, 9)
        projected = (batch.projectors[:, self.kinds] @ flat.unsqueeze(-1)).squeeze(-1).unflatten(-1, (3, 3))
        return self._thinned(projected, batch.dilution)

    def _thinned(self, tensors: torch.Tensor, dilution: torch.Tensor) -> torch.Tensor:
        """Return the tensors (c, targets, 3, 3) of layers that were brought closer at their own distance."""
        if not torch.compiler.is_compiling() and not (dilution[:, 3] < 1).any():
            return tensors  # as what follows would, for a batch without such layers
        parts = dict(zip(self.targets, tensors.unbind(1), strict=True))
        changed = {name: remove_vacuum_average(tensor, dilution) for name, tensor in parts.items() if name != 'ionic'}
        if {'electronic', 'ionic'} <= set(parts):  # the static response thins out as a whole
            static = parts['electronic'] + parts['ionic']
            difference = (
                remove_vacuum_average(static, dilution) - static - (changed['electronic'] - parts['electronic'])
            )
            changed['ionic'] = parts['ionic'] + difference
        return torch.stack([changed.get(name, parts[name]) for name in self.targets], dim=1)


def remove_vacuum_average(tensor: torch.Tensor, dilution: torch.Tensor) -> torch.Tensor:
    """Return tensors (c, 3, 3) of layered crystals with a longer repeat; :func:`.vacuum_average_ratio`.

    :param dilution: (c, 4) normal, and the ratio of the repeats, before over after; exactly 1 leaves the tensor alone
    """
    normal, ratio = dilution[:, :3], dilution[:, 3:, None]
    across = normal.unsqueeze(2) * normal.unsqueeze(1)
    unit = torch.eye(3, dtype=tensor.dtype, device=tensor.device)
    within = unit - across
    perpendicular = torch.einsum('ci,cij,cj->c', normal, tensor, normal)[:, None, None].clamp(min=1.0)
    inside = within @ (tensor - unit) @ within * ratio + within
    return torch.where(ratio < 1, inside + across / (1 - (1 - 1 / perpendicular) * ratio), tensor)


def mean_by(values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    """Return the mean of the rows (n, k) that share an index, (size, k)."""
    total = values.new_zeros(size, values.shape[1]).index_add_(0, index, values)
    return total / torch.bincount(index, minlength=size).clamp(min=1).unsqueeze(1)
