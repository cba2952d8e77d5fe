"""Evaluation of iComFormer on a CPU without derivatives: blocks of pairs that fit into the caches of the cores.

The formulas are those of :mod:`.fast`. Compiled loops, of one thread, do the work between the matrix products, in one
pass over the features of a block instead of one for each tensor operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn
from torch.nn.functional import silu, softplus

from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.directed_loops import (
    add_gated,
    gather_directed,
    gather_reference,
    scale_and_shift,
    tabulated,
)
from aiida_goectp.core.network.fast_tables import COSINES, DISTANCES, FoldedMaps, Tables
from aiida_goectp.core.network.force_constants.arrays import arrays
from aiida_goectp.core.network.icomformer import AttentionLayer, EdgeLayer, IComFormer, radial

__all__ = ('icomformer_in_blocks',)

_BLOCK = 1024
"""pairs of a block for each thread of torch"""


def icomformer_in_blocks(network: IComFormer, tables: Tables, batch: GraphBatch) -> torch.Tensor:
    """Return the features of the atoms, (N, C), without those of the crystal as a whole.

    :param network: in evaluation mode, on the CPU
    :param tables: those of the network
    """
    coordinates = radial(batch.lengths)
    first, *others = network.att_layers

    def of_distances(block: slice) -> torch.Tensor:
        """Return the part of the pairs before the edge layer, (1, u, 2C)."""
        return _tabulated(tables.first, coordinates[block]).unsqueeze(0)

    x = _attention(first, tables.folded[0], tables.nodes[batch.numbers], batch, of_distances)  # type: ignore[arg-type]
    edges = _edge_features(network, tables, batch, coordinates)

    def of_features(weight: torch.Tensor, block: slice) -> torch.Tensor:
        """Return the part of the pairs after the edge layer, (1, u, 2C) or (2, u, 2C)."""
        return edges[:, block] @ weight

    for layer, folded in zip(others, tables.folded[1:], strict=True):
        x = _attention(layer, folded, x, batch, partial(of_features, folded.edge.T))  # type: ignore[arg-type]
    return x


def _tabulated(table: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
    """Return the values of a table on the grid of distances, (u, W)."""
    found = table.new_empty(len(coordinates), table.shape[1])
    tabulated(DISTANCES.low, DISTANCES.density, *arrays(table, coordinates, found))
    return found


def _blocks(pairs: int) -> Iterator[slice]:
    size = _BLOCK * torch.get_num_threads()
    for first in range(0, pairs, size):
        yield slice(first, min(first + size, pairs))


def _scale_and_shift_of(norm: nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factor and the summand of each channel in evaluation mode, (C,) each."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _attention(
    layer: AttentionLayer,
    folded: FoldedMaps,
    x: torch.Tensor,
    batch: GraphBatch,
    edges: Callable[[slice], torch.Tensor],
) -> torch.Tensor:
    """Return updated atom features (N, C).

    :param edges: for a block of u pairs, their part of the hidden layer, (2, u, 2C), or (1, u, 2C) for both directions
    """
    own, other = x @ folded.target.T + folded.bias, x @ folded.source.T
    scale, shift = _scale_and_shift_of(layer.bn_att)
    query = layer.lin_query(x) * (scale / math.sqrt(x.shape[1]))
    sums = torch.zeros_like(x)
    for block in _blocks(len(batch.source)):
        ends = batch.source[block], batch.target[block]
        features = edges(block)
        for way, (source, target) in enumerate((ends, ends[::-1])):
            hidden = x.new_empty(len(source), own.shape[1])
            gather_directed(*arrays(features[way % len(features)], own, other, source, target, hidden))
            _add_messages(layer, hidden, query, shift, target, torch.sigmoid_, sums)
    return softplus(x + layer.lin_concate(sums))


def _add_messages(
    layer: AttentionLayer | EdgeLayer,
    hidden: torch.Tensor,
    query: torch.Tensor,
    shift: torch.Tensor,
    rows: torch.Tensor,
    activation: Callable[[torch.Tensor], torch.Tensor],
    sums: torch.Tensor,
) -> None:
    """Add gated messages of e directed pairs to the sums of their rows.

    :param hidden: (e, 2C) input of the activation of the hidden layer, which is overwritten
    :param query: (n, C), with the factors of the normalisation
    :param rows: (e,) row of query and sums of each pair
    :param activation: of the gates, in place
    :param sums: (n, C)
    """
    width = query.shape[1]
    silu(hidden, inplace=True)
    gates = layer.key_update[2](hidden[:, :width])
    messages = layer.lin_msg_update[2](hidden[:, width:])
    scale_and_shift(*arrays(query, shift, rows, gates))
    activation(gates)
    add_gated(*arrays(messages, gates, rows, sums))


def _silu_(gates: torch.Tensor) -> torch.Tensor:
    return silu(gates, inplace=True)


def _edge_features(network: IComFormer, tables: Tables, batch: GraphBatch, coordinates: torch.Tensor) -> torch.Tensor:
    """Return edge features after the edge layer: (1, U, C) if averaged over both directions, else (2, U, C)."""
    layer: EdgeLayer = network.edge_update_layer[0]  # type: ignore[assignment]
    width = network.width
    r = network.rbf(radial(batch.reference_lengths))
    lattice = [r[:, t] @ tables.reference[2 * t].T + tables.reference[2 * t + 1] for t in range(3)]
    (scale, shift), (factor, summand) = map(_scale_and_shift_of, (layer.bn_att, layer.bn))
    weight, bias = layer.lin_concate.weight.T * factor, 3 * layer.lin_concate.bias * factor + summand
    found = []
    for block in _blocks(len(coordinates)):
        part = _tabulated(tables.edge, coordinates[block])
        own, query, h = part.split([2 * width, width, width], dim=1)
        own, query, rows = own.contiguous(), query * scale, torch.arange(len(part))
        ways = []
        for sign in (1, -1):
            sums = torch.zeros_like(query)
            for t, cosines in enumerate(sign * batch.cosines[block].T):
                hidden = torch.empty_like(own)
                parts = own, lattice[t], batch.edge_graph[block], tables.angle, cosines, hidden
                gather_reference(COSINES.low, COSINES.density, *arrays(*parts))
                _add_messages(layer, hidden, query, shift, rows, _silu_, sums)
            ways.append(softplus(h + torch.addmm(bias, sums, weight)))
        found.append(torch.stack([(ways[0] + ways[1]) / 2] if network.even else ways))
    return torch.cat(found, dim=1) if found else coordinates.new_zeros(1, 0, width)
