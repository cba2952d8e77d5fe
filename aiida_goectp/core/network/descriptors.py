"""Fixed numbers for what a crystal is made of and how it is bonded: a backbone for few labels, or beside messages.

With some hundred labels, numbers that are known to tell (statistics of the composition, as of Ward et al., npj Comput.
Mater. 2, 16028 (2016), and the nearest neighbours of each atom) leave less to be learnt than messages do.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from aiida_goectp.core.network.backbone import Backbone
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.elements import (
    ELECTRONEGATIVITY,
    FEATURES,
    HEAVIEST,
    RADIUS,
    element_features,
    element_scales,
)
from aiida_goectp.core.network.preparation import GraphArrays

__all__ = ('DESCRIPTORS', 'CrystalDescriptors', 'Descriptors', 'WithDescriptors', 'describe_once')

_SHELL = 0.15
"""of a neighbour's distance over the sum of radii, beyond that of the nearest: where its weight has fallen to 1/e"""
_LOCAL = 8
"""numbers of an atom's surroundings"""
_AT_ONCE = 64
"""crystals, so that the memory stays flat"""
_SCALES = 10
"""numbers of an element: its nine scales and its atomic number"""

_SHARES = FEATURES + HEAVIEST + 1
"""shares of the elements, and of their properties"""
_SHARE_WEIGHT = 0.5
"""of a share beside the other numbers: many of them are zero nearly always, and large in the rest"""

DESCRIPTORS = 4 * (_SCALES + _LOCAL) + 2 + _SHARES
"""numbers of a crystal"""


class CrystalDescriptors(nn.Module):
    """Numbers of the whole crystal.

    Mean, least, largest and standard deviation over the atoms of the scales of their elements and of their
    surroundings; density; shares of the elements and of their properties. Without shares a campaign finds more with its
    first labels and less with its last, since it cannot tell a family of good crystals from one that only looks like
    it. A number that never changed in training stays without influence, so that the network says nothing of what it
    never saw.
    """

    elements: torch.Tensor
    scales: torch.Tensor
    weights: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('elements', torch.from_numpy(element_features()), persistent=False)
        self.register_buffer('scales', torch.from_numpy(element_scales()), persistent=False)
        weights = torch.ones(DESCRIPTORS)
        weights[-_SHARES:] = _SHARE_WEIGHT
        self.register_buffer('weights', weights, persistent=False)
        self.normal = nn.BatchNorm1d(DESCRIPTORS, affine=False, momentum=None)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return the numbers of each graph in standard deviations of the training set, weighted, (g, DESCRIPTORS)."""
        if batch.described is None:  # the members of a committee ask for the same ones
            batch.described = self.describe(batch)
        return self.normal(batch.described).clamp(-5, 5) * self.weights

    @torch.no_grad()
    def describe(self, batch: GraphBatch) -> torch.Tensor:
        """Return the numbers of each graph, (g, DESCRIPTORS)."""
        scales = torch.cat([self.scales[batch.numbers], batch.numbers.unsqueeze(1)], dim=1).to(batch.lengths.dtype)
        atoms = torch.cat([scales, self._surroundings(batch)], dim=1)
        graphs = len(batch.atom_density)
        mean = _mean(atoms, batch.atom_graph, graphs)
        spread = _mean((atoms - mean[batch.atom_graph]).square(), batch.atom_graph, graphs).sqrt()
        index = batch.atom_graph.unsqueeze(1).expand_as(atoms)
        least, most = (
            torch.zeros_like(mean).scatter_reduce_(0, index, atoms, name, include_self=False)
            for name in ('amin', 'amax')
        )
        shares = nn.functional.one_hot(batch.numbers.clamp(max=HEAVIEST), HEAVIEST + 1).to(atoms.dtype)
        made_of = _mean(torch.cat([self.elements[batch.numbers], shares], dim=1), batch.atom_graph, graphs)
        density = batch.atom_density.unsqueeze(1)
        return torch.cat([mean, least, most, spread, density.log(), 1 / density, made_of], dim=1)

    def _surroundings(self, batch: GraphBatch) -> torch.Tensor:
        """Return for each atom, (N, 8): how near its nearest neighbour is, in Å and over the sum of radii; of its
        nearest shell the mean of both, the number of atoms, the difference of electronegativities, signed and not, and
        the spread of distances."""
        own, other = torch.cat([batch.source, batch.target]), torch.cat([batch.target, batch.source])
        lengths, count = batch.lengths.repeat(2), len(batch.numbers)
        radius, pull = self.scales[batch.numbers][:, [RADIUS, ELECTRONEGATIVITY]].to(lengths.dtype).unbind(1)
        ratio = lengths / (radius[own] + radius[other])

        def least(values: torch.Tensor) -> torch.Tensor:
            return values.new_zeros(count).scatter_reduce_(0, own, values, 'amin', include_self=False)

        nearest = least(ratio)
        weight = torch.exp(-(((ratio - nearest[own]) / _SHELL) ** 2))
        difference = pull[other] - pull[own]
        sums = lengths.new_zeros(count, 5).index_add_(
            0,
            own,
            torch.stack([torch.ones_like(ratio), ratio, lengths, difference.abs(), difference], 1) * weight[:, None],
        )
        shell = sums[:, :1].clamp(min=1e-6)
        means = sums[:, 1:] / shell
        spread = lengths.new_zeros(count).index_add_(0, own, weight * (lengths - means[own, 1]).square())
        return torch.stack(
            [
                nearest,
                least(lengths),
                means[:, 0],
                means[:, 1],
                shell[:, 0],
                means[:, 2],
                means[:, 3],
                (spread / shell[:, 0]).sqrt(),
            ],
            dim=1,
        )


class WithDescriptors(nn.Module):
    """What the numbers of a crystal add to the features that messages gave its atoms; nothing when training begins.

    :param width: C
    :param dropout: share of channels that a training step leaves out
    """

    def __init__(self, width: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.numbers = CrystalDescriptors()
        last = nn.Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(DESCRIPTORS, width), nn.SiLU(), nn.Dropout(dropout), last)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return (N, width), the same for all atoms of a crystal."""
        return self.layers(self.numbers(batch))[batch.atom_graph]


class Descriptors(Backbone):
    """A multilayer perceptron on the numbers of a crystal alone, without messages.

    :param width: C
    :param layers: of C channels
    :param dropout: share of channels that a training step leaves out
    """

    def __init__(self, width: int = 64, layers: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        if layers < 1 or not 0 <= dropout < 1:
            raise ValueError(f'{layers} layers with dropout {dropout}: give one layer or more, and 0 ≤ dropout < 1')
        self.width = width
        self.numbers = CrystalDescriptors()
        first = nn.Linear(DESCRIPTORS, width)
        nn.init.zeros_(first.weight)
        nn.init.uniform_(first.bias, -1.0, 1.0)
        layer: list[nn.Module] = [first, nn.SiLU(), nn.Dropout(dropout)]
        for _ in range(layers - 1):
            layer += [nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layer)

    def forward(self, batch: GraphBatch, plain: bool = False) -> torch.Tensor:
        """Return (N, width) features, the same for all atoms of a crystal; there is one path only."""
        return self.layers(self.numbers(batch))[batch.atom_graph]


def describe_once(network: nn.Module, graphs: GraphArrays) -> np.ndarray | None:
    """Return what ``describe`` finds for all graphs, (g, DESCRIPTORS), or None if the network does not ask for it."""
    if not any(isinstance(module, CrystalDescriptors) for module in network.modules()):
        return None
    numbers = CrystalDescriptors()
    parts = np.array_split(np.arange(len(graphs)), max(1, math.ceil(len(graphs) / _AT_ONCE)))
    return torch.cat([numbers.describe(GraphBatch.from_arrays(graphs.take(part))) for part in parts]).numpy()


def _mean(values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    total = values.new_zeros(size, values.shape[1]).index_add_(0, index, values)
    return total / torch.bincount(index, minlength=size).clamp(min=1).unsqueeze(1)
