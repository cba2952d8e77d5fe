"""The iComFormer backbone as published (Yan et al., ICLR 2024; Hua et al., arXiv 2601.04755).

Module names are those of the authors' checkpoints, so that their weights load without translation. ``forward`` is the
reference implementation; :class:`.GoeCTP` evaluates the network by :mod:`aiida_goectp.core.network.fast`, with equal
results in fewer operations.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import silu, softplus

from aiida_goectp.core.network.backbone import Backbone
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.descriptors import WithDescriptors
from aiida_goectp.core.network.elements import FEATURES, element_features

__all__ = ('AttentionLayer', 'EdgeLayer', 'GaussianBasis', 'IComFormer', 'radial')


class GaussianBasis(nn.Module):
    """exp(−γ (x − μ_k)²), k = 1 … bins; the published γ is 1/spacing, not squared.

    :param low: first center μ
    :param high: last center
    :param bins: number of centers, evenly spaced
    :param gamma: γ
    """

    centers: torch.Tensor

    def __init__(self, low: float, high: float, bins: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer('centers', torch.linspace(low, high, bins))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the values of all Gaussians, (..., bins), at x (...)."""
        return torch.exp(-self.gamma * (x.unsqueeze(-1) - self.centers) ** 2)


def radial(lengths: torch.Tensor) -> torch.Tensor:
    """Return −0.75/d, the coordinate in which lengths d (Å) are expanded."""
    return -0.75 / lengths


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3 * width, width), nn.SiLU(), nn.Linear(width, width))


class AttentionLayer(nn.Module):
    """Attention over neighbours: each message is weighted channel by channel by its two atoms and their edge.

    :param width: C
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin_query, self.lin_key, self.lin_value = (nn.Linear(width, width) for _ in range(3))
        self.lin_edge, self.lin_concate = nn.Linear(width, width), nn.Linear(width, width)
        self.key_update, self.lin_msg_update = _mlp(width), _mlp(width)
        self.bn_att = nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor, h: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return updated atom features (N, C).

        :param x: (N, C)
        :param h: (E, C) features of directed edges
        :param source: (E,)
        :param target: (E,)
        """
        query, key, value, edge = self.lin_query(x), self.lin_key(x), self.lin_value(x), self.lin_edge(h)
        keys = self.key_update(torch.cat([key[target], key[source], edge], dim=-1))
        gate = torch.sigmoid(self.bn_att(query[target] * keys / math.sqrt(x.shape[-1])))
        messages = self.lin_msg_update(torch.cat([value[target], value[source], edge], dim=-1)) * gate
        gathered = torch.zeros_like(x).index_add_(0, target, messages.to(x.dtype))
        return softplus(x + self.lin_concate(gathered))


class EdgeLayer(nn.Module):
    """Update of edge features by the angles with the three reference lattice vectors.

    :param width: C
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin_query, self.lin_key, self.lin_value = (nn.Linear(width, width) for _ in range(3))
        for t in (1, 2, 3):
            self.add_module(f'lin_key_e{t}', nn.Linear(width, width))
            self.add_module(f'lin_value_e{t}', nn.Linear(width, width))
        self.lin_edge, self.lin_concate = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.key_update, self.lin_msg_update = _mlp(width), _mlp(width)
        self.bn_att, self.bn = nn.BatchNorm1d(width), nn.BatchNorm1d(width)

    def reference_maps(self, kind: str) -> list[nn.Linear]:
        """Return the three linear maps of the reference lengths.

        :param kind: ``key`` or ``value``
        """
        return [self.get_submodule(f'lin_{kind}_e{t}') for t in (1, 2, 3)]  # type: ignore[misc]

    def forward(self, h: torch.Tensor, r: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Return updated features of directed edges, (E, C).

        :param h: (E, C)
        :param r: (E, 3, C) features of the reference lengths
        :param c: (E, 3, C) features of the cosines
        """
        query, key, value, angle = self.lin_query(h), self.lin_key(h), self.lin_value(h), self.lin_edge(c)

        def join(own: torch.Tensor, kind: str) -> torch.Tensor:
            lattice = torch.stack([m(r[:, t]) for t, m in enumerate(self.reference_maps(kind))], dim=1)
            return torch.cat([own.unsqueeze(1).expand_as(angle), lattice, angle], dim=-1)

        keys = self.key_update(join(key, 'key'))
        attention = query.unsqueeze(1) * keys / math.sqrt(h.shape[-1])
        gate = silu(self.bn_att(attention.flatten(0, 1)).view_as(attention))
        messages = self.lin_concate(self.lin_msg_update(join(value, 'value')) * gate).sum(dim=1)
        return softplus(h + self.bn(messages))


class IComFormer(Backbone):
    """Attention layers, with one edge layer after the first.

    :param width: C
    :param layers: number of attention layers
    :param bins: number of Gaussians in each expansion
    :param even: average edge features over both directions after the edge layer, so that the features of the atoms are
        even under inversion; False in the published network
    :param described: add :class:`.WithDescriptors`, features of the crystal as a whole, to those of its atoms
    """

    elements: torch.Tensor

    def __init__(
        self, width: int = 128, layers: int = 4, bins: int = 512, even: bool = True, described: bool = False
    ) -> None:
        super().__init__()
        self.width, self.even = width, even
        self.register_buffer('elements', torch.from_numpy(element_features()), persistent=False)
        self.atom_embedding = nn.Linear(FEATURES, width)
        # γ is that of the published 512 bins for any number of bins
        self.rbf = nn.Sequential(GaussianBasis(-4.0, 0.0, bins, 511 / 4), nn.Linear(bins, width), nn.Softplus())
        self.rbf_angle = nn.Sequential(GaussianBasis(-1.0, 1.0, bins, 511 / 2), nn.Linear(bins, width), nn.Softplus())
        self.att_layers = nn.ModuleList(AttentionLayer(width) for _ in range(layers))
        self.edge_update_layer = nn.ModuleList([EdgeLayer(width)])
        self.described = WithDescriptors(width) if described else None

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return features of the atoms, (N, C)."""
        source = torch.cat([batch.source, batch.target])
        target = torch.cat([batch.target, batch.source])
        graph = torch.cat([batch.edge_graph, batch.edge_graph])
        x = self.atom_embedding(self.elements[batch.numbers])
        h = self.rbf(radial(torch.cat([batch.lengths, batch.lengths])))
        r = self.rbf(radial(batch.reference_lengths))[graph]
        c = self.rbf_angle(torch.cat([batch.cosines, -batch.cosines]))
        for place, layer in enumerate(self.att_layers):
            x = layer(x, h, source, target)
            if place == 0:
                h = self.edge_update_layer[0](h, r, c)
                if self.even:
                    forward, backward = h.chunk(2)
                    h = ((forward + backward) / 2).repeat(2, 1)
        return x if self.described is None else x + self.described(batch)
