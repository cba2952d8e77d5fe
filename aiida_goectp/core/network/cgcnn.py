"""A second backbone: crystal graph convolutions of torch-geometric, with the angles that a tensor needs."""

from __future__ import annotations

import torch
from torch import nn

from aiida_goectp.core.network.backbone import Backbone
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.elements import FEATURES, element_features
from aiida_goectp.core.network.icomformer import GaussianBasis, radial

__all__ = ('CrystalGraphConvolution',)


class CrystalGraphConvolution(Backbone):
    """CGCNN (Xie and Grossman, 2018) as torch-geometric has it, on distances and reference cosines.

    :param width: C
    :param layers: convolutions
    :param bins: Gaussians of the distance
    """

    elements: torch.Tensor

    def __init__(self, width: int = 64, layers: int = 3, bins: int = 64) -> None:
        super().__init__()
        from torch_geometric.nn import CGConv  # slow to import, so only where it is used

        self.width = width
        self.register_buffer('elements', torch.from_numpy(element_features()), persistent=False)
        self.embedding = nn.Linear(FEATURES, width)
        self.basis = GaussianBasis(-1.5, 0.0, bins, (bins - 1) / 1.5)
        self.edge = nn.Sequential(nn.Linear(bins + 6, width), nn.SiLU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(CGConv(width, dim=width, batch_norm=True) for _ in range(layers))

    def forward(self, batch: GraphBatch, plain: bool = False) -> torch.Tensor:
        """Return (N, width) features of the atoms; there is one path only."""
        reference = radial(batch.reference_lengths)[batch.edge_graph]
        distance = self.basis(radial(batch.lengths))
        forward, backward = (
            self.edge(torch.cat([distance, sign * batch.cosines, reference], dim=1)) for sign in (1, -1)
        )
        even = ((forward + backward) / 2).repeat(2, 1)
        directed = torch.stack([torch.cat([batch.source, batch.target]), torch.cat([batch.target, batch.source])])
        x = self.embedding(self.elements[batch.numbers])
        for layer in self.layers:
            x = layer(x, directed, even)
        return x
