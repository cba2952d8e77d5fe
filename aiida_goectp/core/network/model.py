"""The complete network: backbone, pooling, head, rotation out of the frame, projection onto the point group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from aiida_goectp.core.network.backbone import build_backbone
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.fast import fast_icomformer
from aiida_goectp.core.network.force_constants.network import ForceConstantNetwork
from aiida_goectp.core.network.heads import HEADS
from aiida_goectp.core.network.icomformer import IComFormer
from aiida_goectp.core.network.symmetrise import NetworkOutput, leverage_of, mean_by, symmetrised

__all__ = ('ARCHITECTURES', 'GoeCTP', 'Network', 'architecture_of', 'build_network')

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
    'force_constants': {'backbone': 'covariant', 'options': {'dropout': 0.1}, 'head': 'force_constants'},
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

    whitening: torch.Tensor | None
    """(C, C) matrix W that gives the leverage |W f|² of features f; None if not calibrated"""

    def forward(self, batch: GraphBatch, plain: bool = False, functional: torch.Tensor | None = None) -> torch.Tensor:
        """Return symmetric relative permittivities in the Cartesian frame of each crystal, (c, targets, 3, 3).

        :param plain: evaluate the backbone by its reference implementation
        :param functional: (c,) indices into ``functionals``; None for the first one
        """
        return self.tensors(self.features(batch, plain, functional), batch)

    @property
    def feature_width(self) -> int:
        """C, number of features of a crystal."""
        return self.backbone.width

    def evaluate(self, batch: GraphBatch, functional: torch.Tensor | None = None) -> NetworkOutput:
        """Return permittivities and leverages."""
        features = self.features(batch, functional=functional)
        return NetworkOutput(self.tensors(features, batch), self.leverage(features, batch))

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
        squares = leverage_of(features, self.whitening).unsqueeze(1)
        return mean_by(squares, batch.owners, len(batch.projectors)).squeeze(1)

    def tensors(self, features: torch.Tensor, batch: GraphBatch) -> torch.Tensor:
        """Return the tensors of each crystal, (c, targets, 3, 3), from the features (g, C) of its graphs."""
        canonical = self.head(features, batch.atom_density)
        rotation = batch.rotations.unsqueeze(1)
        tensors = rotation @ canonical @ rotation.transpose(-1, -2)
        tensors = (tensors + tensors.transpose(-1, -2)) / 2
        crystals = mean_by(tensors.flatten(1), batch.owners, len(batch.projectors))
        return symmetrised(crystals.view(len(crystals), -1, 3, 3), batch, self.targets)


Network: TypeAlias = GoeCTP | ForceConstantNetwork
"""a member of a committee"""


def build_network(architecture: dict[str, Any], targets: list[str]) -> Network:
    """Return a new network.

    :param architecture: as in a model card
    :param targets: its outputs in order
    :raises ValueError: invalid architecture or target
    """
    kind = ForceConstantNetwork if architecture.get('backbone') == 'covariant' else GoeCTP
    return kind(architecture, targets)
