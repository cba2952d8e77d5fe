"""Response of the lattice at Γ, and the ionic part of the permittivity that follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from aiida_goectp.core.network.force_constants.batch import CellBatch, SizeGroup
from aiida_goectp.core.network.force_constants.dipoles import COULOMB
from aiida_goectp.core.network.force_constants.functions import bounded_inverse, eigenpairs

__all__ = (
    'LatticeResponse',
    'group_permittivity',
    'ionic_permittivity',
    'is_beyond_crystals',
    'mean_response',
    'static_response',
)

_TRANSLATION_STIFFNESS = 10.0
"""eV/Å², given to rigid translations before inversion; the neutral charges do not couple to them"""
_BEYOND_OPTICAL = 1000.0
"""eV/Å², given to them where the lowest eigenvalue must be an optical one"""
_LARGEST = 450.0, 500.0, 250.0
"""eV/Å², norm of the force constants of a pair of atoms; e, norm of a Born charge; and average of ε_∞, which no crystal
reaches: the largest ones of phonondb are 220, 253 and 40"""


class LatticeResponse(NamedTuple):
    """Predicted response of c crystals with N atoms in their primitive cells."""

    force_constants: list[torch.Tensor]
    """for each group of cells of equal size, (g, 3n, 3n) eV/Å²; an index is 3 × atom + direction"""
    born_charges: torch.Tensor
    """(N, 3, 3) e; indices atom, field, displacement"""
    electronic: torch.Tensor
    """(c, 3, 3) ε_∞"""
    features: torch.Tensor
    """(c, C) pooled scalars"""


def mean_response(responses: Sequence[LatticeResponse]) -> LatticeResponse:
    """Return the mean of force constants, Born charges and ε_∞ over the members of a committee.

    The features of the members have nothing in common; those of the first are kept.
    """
    first = responses[0]
    return LatticeResponse(
        [
            torch.stack(list(matrices)).mean(dim=0)
            for matrices in zip(*(item.force_constants for item in responses), strict=True)
        ],
        torch.stack([item.born_charges for item in responses]).mean(dim=0),
        torch.stack([item.electronic for item in responses]).mean(dim=0),
        first.features,
    )


def is_beyond_crystals(response: LatticeResponse, cells: CellBatch) -> torch.Tensor:
    """Return whether the response of each cell is larger than that of any crystal, (c,), or not finite.

    Nothing bounds the features of a network for crystals unlike those of its training set.
    """
    largest = response.electronic.diagonal(dim1=1, dim2=2).mean(1) / _LARGEST[2]
    charges = response.born_charges.flatten(1).norm(dim=1) / _LARGEST[1]
    largest = largest.scatter_reduce(0, cells.atom_cell, charges, 'amax')
    for group, matrices in zip(cells.groups, response.force_constants, strict=True):
        n = matrices.shape[1] // 3
        pairs = matrices.view(-1, n, 3, n, 3).square().sum((2, 4)).amax((1, 2)).sqrt() / _LARGEST[0]
        largest = largest.scatter_reduce(0, group.cells, pairs, 'amax')
    return ~(largest <= 1)


def ionic_permittivity(response: LatticeResponse, cells: CellBatch, floor: float) -> torch.Tensor:
    """Return the ionic part of the static permittivity of each cell, (c, 3, 3).

    :param floor: eV/Å²; an eigenvalue w of the force constants counts as √(w² + floor²)
    """
    found = response.electronic.new_zeros(len(cells), 3, 3)
    for group, matrices in zip(cells.groups, response.force_constants, strict=True):
        found = found.index_copy(
            0, group.cells, group_permittivity(group, cells, matrices, response.born_charges, floor)
        )
    return found


def group_permittivity(
    group: SizeGroup, cells: CellBatch, matrices: torch.Tensor, charges: torch.Tensor, floor: float
) -> torch.Tensor:
    """Return the ionic part of the static permittivity of the cells of a group, (g, 3, 3).

    :param matrices: (g, 3n, 3n) eV/Å², force constants
    :param charges: (N, 3, 3) e, Born charges of all atoms of the batch
    :param floor: as for :func:`ionic_permittivity`
    """
    inverse = bounded_inverse(_with_stiff_translations(matrices, _TRANSLATION_STIFFNESS), floor)
    strengths = _strengths(group, charges)
    scale = 4 * math.pi * COULOMB / cells.volumes[group.cells]
    return scale[:, None, None] * (strengths @ inverse @ strengths.transpose(1, 2))


def static_response(response: LatticeResponse, cells: CellBatch, floor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ionic part of the static permittivity, (c, 3, 3), and the soft modes of each cell, (c, 2).

    The permittivity is that of :func:`ionic_permittivity`, without derivatives. Of the soft modes: the lowest optical
    eigenvalue of the force constants in eV/Å², negative for an unstable crystal; and the share of the trace of the
    permittivity which comes from eigenvalues of absolute value below twice the floor: there the floor decides. A cell
    with one atom has no optical mode: infinity and zero.

    :param floor: as for :func:`ionic_permittivity`
    """
    ionic, soft_modes = (response.electronic.new_zeros(len(cells), *shape) for shape in ((3, 3), (2,)))
    for group, matrices in zip(cells.groups, response.force_constants, strict=True):
        values, vectors = eigenpairs(_with_stiff_translations(matrices.double(), _BEYOND_OPTICAL))
        charges = _strengths(group, response.born_charges).double() @ vectors / (values**2 + floor**2)[:, None] ** 0.25
        scale = 4 * math.pi * COULOMB / cells.volumes[group.cells]
        tensors = scale[:, None, None] * (charges @ charges.transpose(1, 2))
        weights = charges.square().sum(1)
        soft = torch.where(values.abs() < 2 * floor, weights, 0.0).sum(1) / weights.sum(1).clamp(min=1e-12)
        optical = matrices.shape[1] > 3
        lowest = values[:, 0] if optical else torch.full_like(values[:, 0], float('inf'))
        ionic = ionic.index_copy(0, group.cells, tensors.to(ionic.dtype))
        soft_modes = soft_modes.index_copy(0, group.cells, torch.stack([lowest, soft], dim=1).to(ionic.dtype))
    return ionic, soft_modes


def _with_stiff_translations(matrices: torch.Tensor, stiffness: float) -> torch.Tensor:
    n = matrices.shape[1] // 3
    unit = torch.eye(3, dtype=matrices.dtype, device=matrices.device) * (stiffness / n)
    return (matrices.reshape(-1, n, 3, n, 3) + unit[:, None]).reshape(matrices.shape)


def _strengths(group: SizeGroup, charges: torch.Tensor) -> torch.Tensor:
    """Return the charges of the cells of a group as matrices (g, 3, 3n), field by displacement."""
    return charges[group.atoms].permute(0, 2, 1, 3).flatten(2)
