"""The whole network: backbone, pooling, head, frame and projection."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from aiida_goectp.network.backbone import build_backbone
from aiida_goectp.network.batch import GraphBatch
from aiida_goectp.network.heads import HEADS

__all__ = ('ARCHITECTURES', 'GoeCTP', 'architecture_of')

ARCHITECTURES: dict[str, dict[str, Any]] = {
    'goectp': {'backbone': 'icomformer', 'options': {'width': 128, 'layers': 4, 'bins': 128}, 'head': 'physical'},
    'published': {
        'backbone': 'icomformer',
        'options': {'width': 128, 'layers': 4, 'bins': 512, 'even': False},
        'head': 'published',
    },
}
"""Architecture of each preset."""


def architecture_of(preset: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the architecture of a preset, with options of its backbone replaced."""
    base = ARCHITECTURES[preset]
    return {**base, 'options': {**base['options'], **options}}


class GoeCTP(nn.Module):
    """Dielectric tensors of crystals, equivariant under O(3) by the frame of the lattice (Hua et al., 2026).

    :param architecture: ``backbone`` (name), ``options`` (of the backbone), ``head`` (name)
    :param targets: outputs in order, of electronic, ionic, total
    :raises ValueError: an unknown backbone, option or head
    """

    def __init__(self, architecture: dict[str, Any], targets: list[str]) -> None:
        super().__init__()
        if architecture.get('head') not in HEADS:
            raise ValueError(f'unknown head {architecture.get("head")!r}; there are: {", ".join(sorted(HEADS))}')
        self.targets = list(targets)
        self.backbone = build_backbone(architecture['backbone'], **architecture.get('options', {}))
        self.head = HEADS[architecture['head']](self.backbone.width, self.targets)

    def forward(self, batch: GraphBatch, plain: bool = False) -> torch.Tensor:
        """Return symmetric tensors of each crystal, in the frame of the crystal as given.

        :param plain: the formulas as written instead of the fast evaluation
        :return: (c, targets, 3, 3), relative permittivity
        """
        atoms = self.backbone(batch, plain=plain)
        pooled = mean_by(atoms, batch.atom_graph, len(batch.owners))
        canonical = self.head(pooled, batch.atom_density)
        rotation = batch.rotations.unsqueeze(1)
        tensors = rotation @ canonical @ rotation.transpose(-1, -2)
        tensors = (tensors + tensors.transpose(-1, -2)) / 2
        crystals = mean_by(tensors.flatten(1), batch.owners, len(batch.projectors))
        flat = crystals.view(len(crystals), -1, 9)
        return (flat @ batch.projectors.transpose(1, 2)).unflatten(-1, (3, 3))


def mean_by(values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    """Return the mean of the rows (n, k) that share an index, (size, k)."""
    total = values.new_zeros(size, values.shape[1]).index_add_(0, index, values)
    return total / torch.bincount(index, minlength=size).clamp(min=1).unsqueeze(1)
