"""Tables for the fast evaluation of iComFormer: quantities that depend on its weights but not on the crystals.

Functions of a single distance or cosine are evaluated on a grid and interpolated with four points (cubic Lagrange); in
float64 the error is below 1e-8 for d ≥ 0.5 Å. Products of consecutive linear maps are multiplied out. In evaluation
mode all of it is cached.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import embedding_bag

from aiida_goectp.core.network.icomformer import AttentionLayer, EdgeLayer, IComFormer

__all__ = ('COSINES', 'DISTANCES', 'FoldedMaps', 'Grid', 'Tables', 'interpolate', 'tables_of')


class Grid(NamedTuple):
    """Evenly spaced grid for tables of a function of one variable, one step wider than the range at each end."""

    low: float
    """lower end of the range"""
    high: float
    """upper end of the range"""
    steps: int
    """number of intervals within the range"""

    @property
    def density(self) -> float:
        """Intervals per unit."""
        return self.steps / (self.high - self.low)

    def points(self, like: torch.Tensor) -> torch.Tensor:
        """Return the grid points, (steps + 3,).

        :param like: tensor whose dtype and device are used
        """
        rows = torch.arange(-1, self.steps + 2, dtype=like.dtype, device=like.device)
        return self.low + rows / self.density

    def interpolation(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rows (…, 4) of a table and weights (…, 4) whose weighted sum is the value at x (…)."""
        position = (x - self.low) * self.density
        first = position.floor().clamp_(0, self.steps - 1)
        t = position - first
        weights = torch.stack(
            [-t * (t - 1) * (t - 2) / 6, (t * t - 1) * (t - 2) / 2, -t * (t + 1) * (t - 2) / 2, t * (t * t - 1) / 6],
            dim=-1,
        )
        return first.long().unsqueeze(-1) + torch.arange(4, device=x.device), weights


DISTANCES = Grid(-1.5, 0.0, 1024)
"""grid of −0.75/d for d ≥ 0.5 Å"""
COSINES = Grid(-1.0, 1.0, 1024)


def interpolate(table: torch.Tensor, interpolation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return the values (n, W) of a table (points, W) at n places, given by :meth:`Grid.interpolation`."""
    rows, weights = interpolation
    return embedding_bag(rows, table, per_sample_weights=weights.to(table.dtype), mode='sum')


class FoldedMaps(NamedTuple):
    """Products of the linear maps of an attention layer; first half for the key, second half for the message."""

    target: torch.Tensor
    """(2C, C) for atom i"""
    source: torch.Tensor
    """(2C, C) for atom j"""
    edge: torch.Tensor
    """(2C, C)"""
    bias: torch.Tensor
    """(2C,) sum of all biases"""


def _fold_attention(layer: AttentionLayer) -> FoldedMaps:
    halves = []
    for update, node in ((layer.key_update, layer.lin_key), (layer.lin_msg_update, layer.lin_value)):
        first: nn.Linear = update[0]  # type: ignore[assignment]
        to_target, to_source, to_edge = first.weight.chunk(3, dim=1)
        bias = first.bias + (to_target + to_source) @ node.bias + to_edge @ layer.lin_edge.bias
        halves.append((to_target @ node.weight, to_source @ node.weight, to_edge @ layer.lin_edge.weight, bias))
    return FoldedMaps(*(torch.cat(pair) for pair in zip(*halves, strict=True)))


class Tables(NamedTuple):
    """Quantities that depend on the weights but not on the crystals."""

    nodes: torch.Tensor
    """(elements, C) features of each element"""
    folded: tuple[FoldedMaps, ...]
    """one for each attention layer"""
    first: torch.Tensor
    """(points, 2C) on the grid of distances: edge part of the first attention layer"""
    edge: torch.Tensor
    """(points, 4C) on the grid of distances: key part, message part, query, and h"""
    angle: torch.Tensor
    """(points, 2C) on the grid of cosines: key part and message part"""
    reference: tuple[torch.Tensor, ...]
    """weight (2C, C) and bias (2C,) for each of the three reference lengths, alternating"""


def _tabulate(network: IComFormer) -> Tables:
    layer: EdgeLayer = network.edge_update_layer[0]  # type: ignore[assignment]
    like = network.atom_embedding.weight
    h = network.rbf(DISTANCES.points(like))
    c = network.rbf_angle(COSINES.points(like))
    own, angle, reference = [], [], []
    for update, kind, node in (
        (layer.key_update, 'key', layer.lin_key),
        (layer.lin_msg_update, 'value', layer.lin_value),
    ):
        first: nn.Linear = update[0]  # type: ignore[assignment]
        to_edge, to_lattice, to_angle = first.weight.chunk(3, dim=1)
        own.append(node(h) @ to_edge.T + first.bias)
        angle.append(c @ (to_angle @ layer.lin_edge.weight).T)
        reference.append([(to_lattice @ m.weight, to_lattice @ m.bias) for m in layer.reference_maps(kind)])
    joined = tuple(torch.cat([reference[0][t][part], reference[1][t][part]]) for t in range(3) for part in range(2))
    query = layer.lin_query(h) / math.sqrt(network.width)
    nodes = network.atom_embedding(network.elements)
    folded = tuple(_fold_attention(layer) for layer in network.att_layers)  # type: ignore[arg-type]
    edge = torch.cat([*own, query, h], dim=1)
    return Tables(nodes, folded, h @ folded[0].edge.T, edge, torch.cat(angle, dim=1), joined)


def tables_of(network: IComFormer) -> Tables:
    """Return the tables, from the cache if the weights are unchanged since the last call."""
    if torch.is_grad_enabled() or network.training:
        network.__dict__.pop('_fast_tables', None)
        return _tabulate(network)
    cached = network.__dict__.get('_fast_tables')
    # the parameters are cached as well: collecting them from all modules takes longer than reading their versions
    parameters = cached[0] if cached else tuple(network.parameters())
    weight = network.atom_embedding.weight
    key = (weight.device, weight.dtype, sum(p._version for p in parameters), weight.data_ptr())
    if cached is None or cached[1] != key:
        cached = (tuple(network.parameters()), key, _tabulate(network))
        network.__dict__['_fast_tables'] = cached
    return cached[2]
