"""Evaluation of iComFormer on a CPU without derivatives: blocks of pairs that fit into the caches of the cores.

The formulas are those of :mod:`.fast`. Compiled loops, of one thread, do the work between the matrix products, in one
pass over the features of a block instead of one for each tensor operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import softplus

from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.directed_loops import (
    add_messages,
    hidden_of_neighbours,
    hidden_of_references,
    set_features,
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
        """Return the part of the pairs before the edge layer, (u, 2C)."""
        return _tabulated(tables.first, coordinates[block])

    x = _attention(first, tables.folded[0], tables.nodes[batch.numbers], batch, of_distances)  # type: ignore[arg-type]
    edges = _edge_features(network, tables, batch, coordinates)

    def of_features(weight: torch.Tensor, block: slice) -> torch.Tensor:
        """Return the part of the pairs after the edge layer, (u, 2C) or (2u, 2C)."""
        return edges[:, block].flatten(0, 1) @ weight

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

    :param edges: for a block of u pairs, their part of the hidden layer, (2u, 2C), or (u, 2C) for both directions
    """
    own, other = x @ folded.target.T + folded.bias, x @ folded.source.T
    scale, shift = _scale_and_shift_of(layer.bn_att)
    query = layer.lin_query(x) * (scale / math.sqrt(x.shape[1]))
    sums = torch.zeros_like(x)
    for block in _blocks(len(batch.source)):
        source, target = batch.source[block], batch.target[block]
        hidden = x.new_empty(2, 2 * len(source), x.shape[1])
        hidden_of_neighbours(*arrays(edges(block), own, other, source, target, hidden))
        _add_messages(layer, hidden, query, shift, (target, source), False, sums)
    return softplus(x + layer.lin_concate(sums))


def _add_messages(
    layer: AttentionLayer | EdgeLayer,
    hidden: torch.Tensor,
    query: torch.Tensor,
    shift: torch.Tensor,
    rows: tuple[torch.Tensor, torch.Tensor],
    self_gated: bool,
    sums: torch.Tensor,
) -> None:
    """Add gated messages of e pairs in both directions to the sums of their rows.

    :param hidden: (2, 2e, C) hidden layer of keys and of messages
    :param query: (n, C), or (n/2, C) for both directions, with the factors of the normalisation
    :param rows: (e,) rows of query and sums for each direction
    :param self_gated: gates are SiLU(x) instead of the sigmoid of x
    :param sums: (n, C)
    """
    maps: tuple[Any, Any] = layer.key_update[2], layer.lin_msg_update[2]
    keys, messages = (part @ linear.weight.T for part, linear in zip(hidden, maps, strict=True))
    biases = torch.stack([linear.bias for linear in maps])
    add_messages(self_gated, *arrays(keys, messages, biases, query, shift, *rows, sums))


def _edge_features(network: IComFormer, tables: Tables, batch: GraphBatch, coordinates: torch.Tensor) -> torch.Tensor:
    """Return edge features after the edge layer: (1, U, C) if averaged over both directions, else (2, U, C)."""
    layer: EdgeLayer = network.edge_update_layer[0]  # type: ignore[assignment]
    width = network.width
    r = network.rbf(radial(batch.reference_lengths))
    lattice = [r[:, t] @ tables.reference[2 * t].T + tables.reference[2 * t + 1] for t in range(3)]
    (scale, shift), (factor, summand) = map(_scale_and_shift_of, (layer.bn_att, layer.bn))
    weight, bias = layer.lin_concate.weight.T * factor, 3 * layer.lin_concate.bias * factor + summand
    own_table, query_table, table = (part.contiguous() for part in tables.edge.split([2 * width, width, width], dim=1))
    query_table = query_table * scale
    features = coordinates.new_empty(1 if network.even else 2, len(coordinates), width)
    for block in _blocks(len(coordinates)):
        own, query, h = (_tabulated(item, coordinates[block]) for item in (own_table, query_table, table))
        u = len(own)
        sums, hidden = own.new_zeros(2 * u, width), own.new_empty(2, 2 * u, width)
        rows, others = torch.arange(2 * u).chunk(2)
        for t, cosines in enumerate(batch.cosines[block].T):
            parts = own, lattice[t], batch.edge_graph[block], tables.angle, cosines, hidden
            hidden_of_references(COSINES.low, COSINES.density, *arrays(*parts))
            _add_messages(layer, hidden, query, shift, (rows, others), True, sums)
        found = own.new_empty(len(features), u, width)
        set_features(*arrays(h, torch.addmm(bias, sums, weight), found))
        features[:, block] = found
    return features
