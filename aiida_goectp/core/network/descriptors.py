"""Descriptors of composition and nearest neighbours: a backbone for small datasets, or an addition to another one.

With a few hundred labels, fixed descriptors (statistics of the composition as in Ward et al., npj Comput. Mater. 2,
16028 (2016), and of the nearest neighbours of each atom) are more accurate than message passing.
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

__all__ = ('DESCRIPTORS', 'CrystalDescriptors', 'Descriptors', 'WithDescriptors', 'precompute_descriptors')

_SHELL = 0.15
"""width of the Gaussian weight of neighbours, in distance over sum of radii beyond the nearest neighbour"""
_LOCAL = 8
"""number of descriptors of an atom's neighbourhood"""
_CHUNK = 64
"""crystals whose descriptors are computed at once, which bounds the memory"""
_SCALES = 10
"""number of descriptors of an element: nine scales and the atomic number"""

_FRACTIONS = FEATURES + HEAVIEST + 1
"""number of atomic fractions: of bins of element properties, and of elements"""
_FRACTION_WEIGHT = 0.5
"""weight of atomic fractions: most are nearly always zero, and many standard deviations from it otherwise"""

DESCRIPTORS = 4 * (_SCALES + _LOCAL) + 2 + _FRACTIONS
"""number of descriptors of a crystal"""


class CrystalDescriptors(nn.Module):
    """Descriptors of the whole crystal.

    Mean, minimum, maximum and standard deviation over the atoms of element properties and of the neighbourhood; density
    and volume per atom; atomic fractions of elements and of bins of their properties. Without the fractions a campaign
    finds more with its first labels and less with its last, since similar chemical families cannot be distinguished.
    A descriptor that is constant in the training set has no influence, so that the network does not extrapolate in it.
    """

    elements: torch.Tensor
    scales: torch.Tensor
    weights: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('elements', torch.from_numpy(element_features()), persistent=False)
        self.register_buffer('scales', torch.from_numpy(element_scales()), persistent=False)
        weights = torch.ones(DESCRIPTORS)
        weights[-_FRACTIONS:] = _FRACTION_WEIGHT
        self.register_buffer('weights', weights, persistent=False)
        self.normal = nn.BatchNorm1d(DESCRIPTORS, affine=False, momentum=None)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return normalised and weighted descriptors of each graph, (g, DESCRIPTORS), in standard deviations."""
        if batch.descriptors is None:  # shared by the members of a committee
            batch.descriptors = self.compute(batch)
        return self.normal(batch.descriptors).clamp(-5, 5) * self.weights

    @torch.no_grad()
    def compute(self, batch: GraphBatch) -> torch.Tensor:
        """Return the descriptors of each graph, (g, DESCRIPTORS)."""
        scales = torch.cat([self.scales[batch.numbers], batch.numbers.unsqueeze(1)], dim=1).to(batch.lengths.dtype)
        atoms = torch.cat([scales, self._neighbourhoods(batch)], dim=1)
        graphs = len(batch.atom_density)
        mean = _mean(atoms, batch.atom_graph, graphs)
        spread = _mean((atoms - mean[batch.atom_graph]).square(), batch.atom_graph, graphs).sqrt()
        index = batch.atom_graph.unsqueeze(1).expand_as(atoms)
        lowest, highest = (
            torch.zeros_like(mean).scatter_reduce_(0, index, atoms, name, include_self=False)
            for name in ('amin', 'amax')
        )
        elements = nn.functional.one_hot(batch.numbers.clamp(max=HEAVIEST), HEAVIEST + 1).to(atoms.dtype)
        fractions = _mean(torch.cat([self.elements[batch.numbers], elements], dim=1), batch.atom_graph, graphs)
        density = batch.atom_density.unsqueeze(1)
        return torch.cat([mean, lowest, highest, spread, density.log(), 1 / density, fractions], dim=1)

    def _neighbourhoods(self, batch: GraphBatch) -> torch.Tensor:
        """Return descriptors of the neighbourhood of each atom, (N, 8).

        Of the nearest neighbour: distance over sum of radii, distance in Å. Of the nearest shell: the means of both,
        the number of atoms, the absolute and the signed difference of electronegativities, the standard deviation of
        distances. Neighbours in the shell have Gaussian weights in the distance over the sum of radii.
        """
        own, other = torch.cat([batch.source, batch.target]), torch.cat([batch.target, batch.source])
        lengths, count = batch.lengths.repeat(2), len(batch.numbers)
        radius, negativity = self.scales[batch.numbers][:, [RADIUS, ELECTRONEGATIVITY]].to(lengths.dtype).unbind(1)
        ratio = lengths / (radius[own] + radius[other])

        def lowest(values: torch.Tensor) -> torch.Tensor:
            return values.new_zeros(count).scatter_reduce_(0, own, values, 'amin', include_self=False)

        nearest = lowest(ratio)
        weight = torch.exp(-(((ratio - nearest[own]) / _SHELL) ** 2))
        difference = negativity[other] - negativity[own]
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
                lowest(lengths),
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
    """Features of the crystal as a whole, added to those of its atoms; zero when training begins.

    :param width: C
    :param dropout: fraction of channels set to zero in a training step
    """

    def __init__(self, width: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.numbers = CrystalDescriptors()
        last = nn.Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(DESCRIPTORS, width), nn.SiLU(), nn.Dropout(dropout), last)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return features of the atoms, (N, C), equal for all atoms of a graph."""
        return self.layers(self.numbers(batch))[batch.atom_graph]


class Descriptors(Backbone):
    """Multilayer perceptron of the descriptors, without message passing.

    :param width: C
    :param layers: number of hidden layers
    :param dropout: fraction of channels set to zero in a training step
    :raises ValueError: an option out of range
    """

    def __init__(self, width: int = 64, layers: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        if layers < 1 or not 0 <= dropout < 1:
            raise ValueError(f'layers {layers}, dropout {dropout}: allowed are layers ≥ 1 and 0 ≤ dropout < 1')
        self.width = width
        self.numbers = CrystalDescriptors()
        first = nn.Linear(DESCRIPTORS, width)
        nn.init.zeros_(first.weight)
        nn.init.uniform_(first.bias, -1.0, 1.0)
        layer: list[nn.Module] = [first, nn.SiLU(), nn.Dropout(dropout)]
        for _ in range(layers - 1):
            layer += [nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layer)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return features of the atoms, (N, C), equal for all atoms of a graph."""
        return self.layers(self.numbers(batch))[batch.atom_graph]


def precompute_descriptors(network: nn.Module, graphs: GraphArrays) -> np.ndarray | None:
    """Return the descriptors of all graphs, (g, DESCRIPTORS), or None if the network uses none."""
    if not any(isinstance(module, CrystalDescriptors) for module in network.modules()):
        return None
    descriptors = CrystalDescriptors()
    parts = np.array_split(np.arange(len(graphs)), max(1, math.ceil(len(graphs) / _CHUNK)))
    return torch.cat([descriptors.compute(GraphBatch.from_arrays(graphs.take(part))) for part in parts]).numpy()


def _mean(values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    total = values.new_zeros(size, values.shape[1]).index_add_(0, index, values)
    return total / torch.bincount(index, minlength=size).clamp(min=1).unsqueeze(1)
