"""Network that predicts the lattice response at Γ: force constants, Born charges, and the permittivity from them.

.. math:: ε_{ion} = \\frac{e²}{ε_0 V} Z^{*} Φ^{-1} Z^{*T}

with the force constants Φ at Γ and the Born charges Z* (first index the field), the translations projected out (Gonze
and Lee, Phys. Rev. B 55, 10355 (1997), eqs. 51 to 58). Φ consists of springs, internal coordinates and the interaction
of dipoles; the network gives their parameters, so that covariance, symmetry of Φ, the acoustic sum rule and neutral
charges hold by construction.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.force_constants.batch import CellBatch
from aiida_goectp.core.network.force_constants.dipoles import dipole_interaction
from aiida_goectp.core.network.force_constants.messages import Channels
from aiida_goectp.core.network.force_constants.pair_blocks import PairBlocks
from aiida_goectp.core.network.force_constants.response import LatticeResponse, static_response
from aiida_goectp.core.network.force_constants.springs import SHORT_CUTOFF, InternalCoordinates, PairSprings
from aiida_goectp.core.network.force_constants.tensor_basis import as_matrices, quadrupole
from aiida_goectp.core.network.force_constants.trunk import AtomFeatures, Geometry, Trunk, perceptron
from aiida_goectp.core.network.symmetrise import NetworkOutput, leverage_of, mean_by, symmetrised

__all__ = ('ForceConstantNetwork', 'permittivities')

_TARGETS = ['electronic', 'ionic']
_COORDINATES = Channels(scalars=2, vectors=4, tensors=1)
"""numbers of internal coordinates of an atom by kind"""
_POLARISABILITY = 2.0
"""Å^1.5, initial diagonal of the square root of the electronic polarisability volume of an atom"""


class ForceConstantNetwork(nn.Module):
    """Covariant network with heads for ε_∞, Born charges and force constants at Γ.

    :param architecture: ``options``: numbers of channels (``scalars``, ``vectors``, ``tensors``), ``layers``,
        ``radial`` functions, ``width`` of the heads, ``floor`` of a prediction (eV/Å², see :func:`.bounded_inverse`)
        and ``dropout``; ``blocks``, the number of vectors and of tensors of :class:`.PairBlocks`, and ``envelope``, the
        power of :func:`.envelope_of`, both 0 for networks from before these options; ``functionals`` if the network is
        conditioned on the functional of the labels
    :param targets: electronic and ionic
    :raises ValueError: unknown option or target
    """

    def __init__(self, architecture: dict[str, Any], targets: list[str]) -> None:
        super().__init__()
        if list(targets) != _TARGETS:
            raise ValueError(f'targets {", ".join(targets)}: this network predicts electronic, ionic')
        self.architecture, self.targets = dict(architecture), list(targets)
        try:
            self._build(**architecture.get('options', {}))
        except TypeError as error:
            raise ValueError(f'backbone {architecture.get("backbone")!r}: {error}') from error
        self.functionals = list(architecture.get('functionals', []))
        if self.functionals:
            self.functional_shift = nn.Embedding(len(self.functionals), self.feature_width)
            nn.init.zeros_(self.functional_shift.weight)
        self.register_buffer('whitening', None, persistent=False)

    whitening: torch.Tensor | None

    def _build(
        self,
        scalars: int = 64,
        vectors: int = 32,
        tensors: int = 16,
        layers: int = 3,
        radial: int = 16,
        width: int = 64,
        floor: float = 0.3,
        dropout: float = 0.0,
        blocks: int = 0,
        envelope: int = 0,
    ) -> None:
        if min(blocks, envelope) < 0:
            raise ValueError(f'options: blocks {blocks} and envelope {envelope} must not be negative')
        channels = Channels(scalars, vectors, tensors)
        self.feature_width, self.floor = scalars, float(floor)
        self.trunk = Trunk(channels, layers, radial, dropout, envelope)
        self.charge = perceptron(scalars, width, 1)
        self.charge_vectors = nn.Linear(vectors, 8, bias=False)
        self.charge_tensors = nn.Linear(tensors, 9, bias=False)
        self.polarisability = perceptron(scalars, width, 1)
        last: Any = self.polarisability[2]
        nn.init.constant_(last.bias, _POLARISABILITY)
        self.polarisability_tensor = nn.Linear(tensors, 1, bias=False)
        self.springs = PairBlocks(channels, radial, width, blocks) if blocks else PairSprings(channels, radial, width)
        self.coordinates = InternalCoordinates(channels, radial, width, _COORDINATES, envelope)

    def forward(
        self, batch: GraphBatch, plain: bool = False, functional: torch.Tensor | None = None
    ) -> torch.Tensor | LatticeResponse:
        """Return symmetric relative permittivities in the Cartesian frame of each crystal, (c, 2, 3, 3).

        In training mode the response is returned instead, whose parts have labels of their own.

        :param plain: as for :class:`.GoeCTP`; there is one implementation
        :param functional: (c,) indices into ``functionals``; None for the first one
        """
        return (
            self.response(_cells_of(batch), functional) if self.training else self.evaluate(batch, functional).tensors
        )

    def features(self, batch: GraphBatch, plain: bool = False, functional: torch.Tensor | None = None) -> torch.Tensor:
        """Return the pooled scalars of each crystal, (c, C)."""
        cells = _cells_of(batch)
        atoms = self._atoms(cells, self.trunk.geometry(cells), functional)
        return mean_by(atoms.scalars, cells.atom_cell, len(cells))

    def evaluate(self, batch: GraphBatch, functional: torch.Tensor | None = None) -> NetworkOutput:
        """Return permittivities, leverages, soft modes and the response itself."""
        cells = _cells_of(batch)
        response = self.response(cells, functional)
        tensors, soft_modes = permittivities(response, batch, self.floor)
        return NetworkOutput(tensors, leverage_of(response.features, self.whitening), soft_modes, response)

    def response(self, cells: CellBatch, functional: torch.Tensor | None = None) -> LatticeResponse:
        """Return force constants, Born charges and ε_∞ in the primitive cell of each crystal."""
        geometry = self.trunk.geometry(cells)
        atoms = self._atoms(cells, geometry, functional)
        charges, electronic = self._charges(atoms, cells), self._electronic(atoms, cells)
        return LatticeResponse(
            self._force_constants(atoms, cells, geometry, charges, electronic),
            charges,
            electronic,
            mean_by(atoms.scalars, cells.atom_cell, len(cells)),
        )

    def _atoms(self, cells: CellBatch, geometry: Geometry, functional: torch.Tensor | None) -> AtomFeatures:
        atoms = self.trunk(cells, geometry)
        if not self.functionals:
            return atoms
        shift = self.functional_shift.weight
        return atoms._replace(
            scalars=atoms.scalars + (shift[0] if functional is None else shift[functional[cells.atom_cell]])
        )

    def _charges(self, atoms: AtomFeatures, cells: CellBatch) -> torch.Tensor:
        """Return neutral Born charges, (N, 3, 3) e."""
        left, right = self.charge_vectors(atoms.vectors).chunk(2, 2)
        tensors = as_matrices(self.charge_tensors(atoms.tensors))
        unit = torch.eye(3, dtype=left.dtype, device=left.device)
        charges = self.charge(atoms.scalars)[..., None] * unit + tensors[:, 0] + left @ right.transpose(1, 2)
        charges = charges + (tensors[:, 1:5] @ tensors[:, 5:]).sum(1)
        mean = mean_by(charges.flatten(1), cells.atom_cell, len(cells)).view(-1, 3, 3)
        return charges - mean[cells.atom_cell]

    def _electronic(self, atoms: AtomFeatures, cells: CellBatch) -> torch.Tensor:
        """Return ε_∞ = 1 + 4π n S² with S the mean over the atoms, (c, 3, 3)."""
        unit = torch.eye(3, dtype=atoms.scalars.dtype, device=atoms.scalars.device)
        roots = self.polarisability(atoms.scalars)[..., None] * unit
        roots = roots + as_matrices(self.polarisability_tensor(atoms.tensors))[:, 0]
        root = mean_by(roots.flatten(1), cells.atom_cell, len(cells)).view(-1, 3, 3)
        density = cells.atom_counts / cells.volumes
        return unit + 4 * math.pi * density[:, None, None] * (root @ root)

    def _force_constants(
        self,
        atoms: AtomFeatures,
        cells: CellBatch,
        geometry: Geometry,
        charges: torch.Tensor,
        electronic: torch.Tensor,
    ) -> list[torch.Tensor]:
        springs = self.springs(atoms, cells, geometry)
        coordinates = self._coordinates(atoms, cells, geometry)
        found = []
        for group in cells.groups:
            matrices = self.springs.assemble(group, springs) + self.coordinates.assemble(group, coordinates)
            matrices = matrices + dipole_interaction(group, cells, charges, electronic)
            found.append(_without_translations(matrices))
        return found

    def _coordinates(self, atoms: AtomFeatures, cells: CellBatch, geometry: Geometry) -> torch.Tensor:
        """Return the coefficients of the internal coordinates of each ordered pair of atoms, (B, rows, 3)."""
        near = (geometry.lengths < SHORT_CUTOFF).nonzero().squeeze(1)
        source, target, u = cells.source[near], cells.target[near], geometry.directions[near]

        def alternating(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
            return torch.stack([forward, backward], dim=1).flatten(0, 1)

        # both directions of a pair follow each other, so that the pairs of each copy of the crystals stay together
        directions = alternating(u, -u)
        return self.coordinates(
            atoms,
            alternating(source, target),
            alternating(target, source),
            directions,
            quadrupole(directions),
            geometry.lengths[near].repeat_interleave(2),
            geometry.radial[near].repeat_interleave(2, dim=0),
            alternating(cells.block[near], cells.transposed_block[near]),
            cells.blocks,
        )


def permittivities(response: LatticeResponse, batch: GraphBatch, floor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the electronic and ionic part that follow from a response, (c, 2, 3, 3), and soft modes (c, 2).

    Arguments and soft modes as for :func:`.static_response`, without derivatives.
    """
    ionic, soft_modes = static_response(response, _cells_of(batch), floor)
    tensors = torch.stack([response.electronic, ionic], dim=1)
    tensors = (tensors + tensors.transpose(-1, -2)) / 2
    return symmetrised(tensors, batch, _TARGETS), soft_modes


def _cells_of(batch: GraphBatch) -> CellBatch:
    if batch.cells is None:
        raise ValueError('the batch has no primitive cells; prepare the crystals with preset force_constants')
    return batch.cells


def _without_translations(matrices: torch.Tensor) -> torch.Tensor:
    """Return symmetric matrices (g, 3n, 3n) whose rows obey the acoustic sum rule."""
    g, n = len(matrices), matrices.shape[1] // 3
    blocks = ((matrices + matrices.transpose(1, 2)) / 2).view(g, n, 3, n, 3)
    blocks = blocks - blocks.mean(1, keepdim=True)
    return (blocks - blocks.mean(3, keepdim=True)).view(g, 3 * n, 3 * n)
