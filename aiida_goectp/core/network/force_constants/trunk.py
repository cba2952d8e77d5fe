"""Covariant message passing: features of atoms that rotate and reflect with the crystal.

Atoms carry scalars, polar vectors and symmetric traceless tensors (as five components). Products of these give the
same three kinds again; cross products, which would change sign under reflection otherwise, do not occur.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from aiida_goectp.core.network.elements import FEATURES, element_features
from aiida_goectp.core.network.force_constants.batch import CellBatch, copied
from aiida_goectp.core.network.force_constants.cells import CUTOFF
from aiida_goectp.core.network.force_constants.couplings import CouplingInput, couple
from aiida_goectp.core.network.force_constants.linear import parallel_linear
from aiida_goectp.core.network.force_constants.messages import Channels, MessageInput, pass_messages
from aiida_goectp.core.network.force_constants.tensor_basis import quadrupole

__all__ = ('AtomFeatures', 'Geometry', 'Trunk', 'envelope_of', 'perceptron')

_MESSAGE_SCALE = 0.2
"""multiplies sums over about thirty neighbours, so that features keep their magnitude from layer to layer"""
_SHORTEST = 0.9
"""Å, centre of the first radial function"""
_PRODUCTS = 8
"""largest number of channels of products of vectors and tensors"""


class AtomFeatures(NamedTuple):
    """Features of N atoms."""

    scalars: torch.Tensor
    """(N, F)"""
    vectors: torch.Tensor
    """(N, 3, V)"""
    tensors: torch.Tensor
    """(N, 5, T) in the basis of :data:`TENSOR_BASIS`"""


class Geometry(NamedTuple):
    """Geometry of U pairs of neighbours."""

    lengths: torch.Tensor
    """(U,) Å"""
    directions: torch.Tensor
    """(U, 3) unit vectors"""
    quadrupoles: torch.Tensor
    """(U, 5)"""
    envelope: torch.Tensor
    """(U,) from one to zero at the cutoff, with two derivatives"""
    radial: torch.Tensor
    """(U, R) radial functions times the envelope"""


def perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Return a perceptron with one hidden layer."""
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, outputs))


def envelope_of(lengths: torch.Tensor, power: int) -> torch.Tensor:
    """Return a function that falls from one to zero at the cutoff, with two derivatives there.

    :param lengths: over the cutoff
    :param power: p of the polynomial of Gasteiger et al. (arXiv 2003.03123, eq. 8), which stays near one for small
        lengths; 0 for (1 − x²)³, which is 0.42 at half of the cutoff
    """
    if not power:
        return (1 - lengths**2).clamp(min=0) ** 3
    x, p = lengths.clamp(max=1), power
    return 1 - x**p * ((p + 1) * (p + 2) / 2 - p * (p + 2) * x + p * (p + 1) / 2 * x**2)


class Trunk(nn.Module):
    """Covariant message passing network.

    :param channels: numbers of scalars, vectors and tensors of an atom
    :param layers: number of rounds of messages
    :param radial: number of radial functions
    :param dropout: fraction of scalar channels of an update that are set to zero in a training step
    :param envelope: power of :func:`envelope_of`
    """

    def __init__(self, channels: Channels, layers: int, radial: int, dropout: float, envelope: int) -> None:
        super().__init__()
        self.channels, self.envelope = channels, envelope
        self.register_buffer('elements', torch.from_numpy(element_features()), persistent=False)
        self.register_buffer('centres', torch.linspace(_SHORTEST, CUTOFF, radial), persistent=False)
        self.sharpness = 0.7 * (radial / (CUTOFF - _SHORTEST)) ** 2
        self.properties = nn.Linear(FEATURES, channels.scalars)
        self.identity = nn.Embedding(len(self.elements), channels.scalars)
        nn.init.normal_(self.identity.weight, std=0.3)
        self.layers = nn.ModuleList([_Layer(channels, radial, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(channels.scalars)

    elements: torch.Tensor
    centres: torch.Tensor

    def geometry(self, batch: CellBatch) -> Geometry:
        """Return the geometry of the pairs."""
        vectors = batch.vectors[: len(batch.vectors) // batch.copies]
        lengths = vectors.norm(dim=1)
        directions = vectors / lengths[:, None]
        envelope = envelope_of(lengths / CUTOFF, self.envelope)
        radial = torch.exp(-self.sharpness * (lengths[:, None] - self.centres) ** 2) * envelope[:, None]
        geometry = Geometry(lengths, directions, quadrupole(directions), envelope, radial)
        if batch.copies == 1:
            return geometry
        # equal to the last digit in each copy, so that each has the same pairs within a shorter distance
        return Geometry(*(copied(values, batch.copies) for values in geometry))

    def forward(self, batch: CellBatch, geometry: Geometry) -> AtomFeatures:
        """Return the features of all atoms; the scalars are normalised."""
        _, v, t = self.channels
        scalars = self.identity(batch.numbers) + self.properties(self.elements[batch.numbers])
        atoms = AtomFeatures(scalars, scalars.new_zeros(len(scalars), 3, v), scalars.new_zeros(len(scalars), 5, t))
        for layer in self.layers:
            atoms = layer(atoms, batch, geometry)
        return atoms._replace(scalars=self.norm(atoms.scalars))


class _Layer(nn.Module):
    """One round of messages and an update of all features."""

    def __init__(self, channels: Channels, radial: int, dropout: float) -> None:
        super().__init__()
        f, v, t = self.channels = channels
        k = min(v, t, _PRODUCTS)
        self.norm = nn.LayerNorm(f)
        self.values = perceptron(f, f, channels.weights)
        self.weights = nn.Linear(radial, channels.weights, bias=False)
        self.mix_vectors, self.mix_tensors = nn.Linear(v, v, bias=False), nn.Linear(t, t, bias=False)
        self.vector_pairs, self.tensor_pairs = nn.Linear(v, 2 * v, bias=False), nn.Linear(t, 2 * t, bias=False)
        self.vector_factors, self.tensor_factor = nn.Linear(v, 2 * k, bias=False), nn.Linear(t, k, bias=False)
        self.to_vectors, self.to_tensors = nn.Linear(k, v, bias=False), nn.Linear(k, t, bias=False)
        self.update = perceptron(2 * f + 2 * v + 2 * t, f, f + 2 * v + 2 * t)
        self.dropout = nn.Dropout(dropout)

    def forward(self, atoms: AtomFeatures, batch: CellBatch, geometry: Geometry) -> AtomFeatures:
        """Return the updated features."""
        f, v, t = self.channels
        scalars = self.norm(atoms.scalars)
        received, new_vectors, new_tensors = pass_messages(
            MessageInput(
                _MESSAGE_SCALE * self.values(scalars),
                geometry.radial,
                self.weights.weight,
                atoms.vectors,
                atoms.tensors,
                geometry.directions,
                geometry.quadrupoles,
                batch.source,
                batch.target,
            )
        )
        vectors = self.mix_vectors(atoms.vectors + new_vectors) + new_vectors
        tensors = self.mix_tensors(atoms.tensors + new_tensors) + new_tensors
        coupled = couple(
            CouplingInput(
                scalars,
                received,
                vectors,
                tensors,
                parallel_linear([self.vector_pairs, self.vector_factors], vectors),
                parallel_linear([self.tensor_pairs, self.tensor_factor], tensors),
            )
        )
        change, keep_v, add_v, keep_t, add_t = self.update(self.dropout(coupled.invariants)).split([f, v, v, t, t], 1)
        new_vectors, new_tensors = self.to_vectors(coupled.vectors), self.to_tensors(coupled.tensors)
        return AtomFeatures(
            atoms.scalars + change,
            _combined(atoms.vectors, keep_v, vectors, add_v, new_vectors),
            _combined(atoms.tensors, keep_t, tensors, add_t, new_tensors),
        )


def _combined(
    old: torch.Tensor, keep: torch.Tensor, mixed: torch.Tensor, add: torch.Tensor, new: torch.Tensor
) -> torch.Tensor:
    """Return old + keep mixed + add new, with factors (N, C) of features (N, components, C)."""
    return torch.addcmul(torch.addcmul(old, keep[:, None], mixed), add[:, None], new)
