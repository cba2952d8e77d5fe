"""Message-passing networks of torch-geometric as backbones.

:class:`MessagePassingBackbone` supplies what a layer of torch-geometric takes: atom features, edges in both directions,
and edge features that are even under inversion. The functions below register three networks of the literature.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import torch
from torch import nn
from torch_geometric.nn import CGConv, GATv2Conv, SchNet

from aiida_goectp.core.network.backbone import Backbone
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.elements import FEATURES, element_features
from aiida_goectp.core.network.icomformer import GaussianBasis, radial

__all__ = ('MessagePassingBackbone', 'cgcnn', 'gatv2', 'schnet')

_OPTIONAL = {'edge_attr', 'batch'}
_AVAILABLE = {'x', 'edge_index', 'edge_weight'} | _OPTIONAL


class MessagePassingBackbone(Backbone):
    """Layers of torch-geometric on the crystal graph.

    Each layer is called with those of the following arguments that its ``forward`` takes; optional edge weights are
    left out. It returns new atom features (N, C).

    ``x``
        (N, C) atom features, at first a linear map of :func:`.element_features`
    ``edge_index``
        (2, E) source and target atom; both directions of each edge, edges to periodic images included
    ``edge_attr``
        (E, C) edge features: a multilayer perceptron of the distance, of the cosines with the reference lattice
        vectors, and of the lengths of these, averaged over both signs of the cosines
    ``edge_weight``
        (E,) distance in Å, at most ``cutoff``, where the envelope of SchNet is zero
    ``batch``
        (N,) index of the graph of each atom

    :param layers: one or more layers, or complete networks, C features in and out
    :param width: C
    :param bins: number of Gaussians in the expansion of distances
    :param residual: add the input of each layer to its output
    :param cutoff: Å, largest edge weight
    :raises ValueError: a layer requires other arguments, such as positions, which are not invariant
    """

    elements: torch.Tensor

    def __init__(
        self,
        layers: Iterable[nn.Module],
        width: int,
        bins: int = 64,
        residual: bool = False,
        cutoff: float = float('inf'),
    ) -> None:
        super().__init__()
        self.width, self.residual, self.cutoff = width, residual, cutoff
        self.register_buffer('elements', torch.from_numpy(element_features()), persistent=False)
        self.embedding = nn.Linear(FEATURES, width)
        self.basis = GaussianBasis(-1.5, 0.0, bins, (bins - 1) / 1.5)
        self.edge = nn.Sequential(nn.Linear(bins + 6, width), nn.SiLU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(layers)
        self._arguments = [_arguments(layer) for layer in self.layers]

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return features of the atoms, (N, C)."""
        source, target = torch.cat([batch.source, batch.target]), torch.cat([batch.target, batch.source])
        inputs = {
            'edge_index': torch.stack([source, target]),
            'edge_attr': self._edge_features(batch).repeat(2, 1),
            'edge_weight': batch.lengths.clamp(max=self.cutoff).repeat(2),
            'batch': batch.atom_graph,
        }
        x = self.embedding(self.elements[batch.numbers])
        for layer, names in zip(self.layers, self._arguments, strict=True):
            out = layer(x=x, **{name: inputs[name] for name in names})
            x = x + out if self.residual else out
        return x

    def _edge_features(self, batch: GraphBatch) -> torch.Tensor:
        """Return features of the undirected edges, (U, C)."""
        distance = self.basis(radial(batch.lengths))
        reference = radial(batch.reference_lengths)[batch.edge_graph]
        forward, backward = (
            self.edge(torch.cat([distance, sign * batch.cosines, reference], dim=1)) for sign in (1, -1)
        )
        return (forward + backward) / 2


def _arguments(layer: nn.Module) -> list[str]:
    """Return the names of the arguments of a layer besides ``x``."""
    parameters = inspect.signature(layer.forward).parameters.values()
    named = [item for item in parameters if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)]
    required = {item.name for item in named if item.default is item.empty}
    if unknown := required - _AVAILABLE:
        raise ValueError(
            f'{type(layer).__name__}.forward requires {", ".join(sorted(unknown))}; '
            f'available: {", ".join(sorted(_AVAILABLE))}'
        )
    return sorted((required | {item.name for item in named} & _OPTIONAL) - {'x'})


def cgcnn(width: int = 64, layers: int = 3, bins: int = 64) -> MessagePassingBackbone:
    """Return crystal graph convolutions (CGCNN; Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018))."""
    convolutions = [CGConv(width, dim=width, batch_norm=True) for _ in range(layers)]
    return MessagePassingBackbone(convolutions, width, bins)


def gatv2(width: int = 64, layers: int = 3, bins: int = 64, heads: int = 4) -> MessagePassingBackbone:
    """Return graph attention layers (GATv2; Brody, Alon and Yahav, ICLR 2022); ``heads`` must divide ``width``."""
    # add_self_loops would replace the edges of atoms to their own periodic images
    convolutions = [
        GATv2Conv(width, width // heads, heads, edge_dim=width, add_self_loops=False) for _ in range(layers)
    ]
    return MessagePassingBackbone(convolutions, width, bins, residual=True)


def schnet(width: int = 64, layers: int = 3, bins: int = 64, cutoff: float = 10.0) -> MessagePassingBackbone:
    """Return the interaction blocks of SchNet (Schütt et al., J. Chem. Phys. 148, 241722 (2018))."""
    zoo = SchNet(width, num_filters=width, num_interactions=layers, num_gaussians=width, cutoff=cutoff)
    return MessagePassingBackbone(zoo.interactions, width, bins, residual=True, cutoff=cutoff)
