"""Evaluation of the members of a committee, and their combination."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from aiida_goectp.core.dielectric.gamma_phonons import PhononCell
from aiida_goectp.core.dielectric.predictions import TENSORS
from aiida_goectp.core.learning.uncertainty import CommitteeOutput
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel
from aiida_goectp.core.network.force_constants.network import ForceConstantNetwork, permittivities
from aiida_goectp.core.network.force_constants.response import is_beyond_crystals, mean_response
from aiida_goectp.core.network.preparation import GraphArrays
from aiida_goectp.core.network.symmetrise import NetworkOutput, mean_by

__all__ = ('combined', 'committee_output', 'is_diverged', 'member_outputs', 'phonon_cells')


_STACKED_ATOMS = 512
"""atoms of a batch up to which the members are evaluated as one network, which is faster (``benchmarks/single.py``)"""


@torch.inference_mode()
def member_outputs(
    model: LoadedModel, batch: GraphBatch, functional: torch.Tensor | None = None, stacked: bool = False
) -> list[NetworkOutput]:
    """Evaluate all members of a model.

    :param functional: (c,) index of the functional of each crystal; None for the first one
    :param stacked: evaluate the members as one network if they allow it and the batch is small; no weight of the model
        may change any more
    """
    if stacked and functional is None and batch.cells is not None and len(batch.cells.numbers) <= _STACKED_ATOMS:
        network = model.stacked
        if network is not None:
            return network.evaluate(batch)
    return [network.evaluate(batch, functional) for network in model.members]


def committee_output(model: LoadedModel, batch: GraphBatch, functional: torch.Tensor | None = None) -> CommitteeOutput:
    """Evaluate all members of a model and combine them; parameters as for :func:`member_outputs`."""
    return combined(model, batch, member_outputs(model, batch, functional))


def combined(model: LoadedModel, batch: GraphBatch, found: Sequence[NetworkOutput]) -> CommitteeOutput:
    """Return the output of a committee.

    :param found: output of each member
    """
    members = _by_part(model, torch.stack([output.tensors for output in found]))
    density = mean_by(batch.atom_density.unsqueeze(1), batch.owners, len(batch.projectors)).squeeze(1)
    leverage = torch.stack([output.leverage for output in found]).mean(dim=0).double().cpu().numpy()
    return CommitteeOutput(members, leverage, density.double().cpu().numpy(), *_of_responses(model, batch, found))


@torch.inference_mode()
def is_diverged(batch: GraphBatch, found: Sequence[NetworkOutput]) -> np.ndarray:
    """Return whether the lattice response of a member is larger than that of any crystal, (c,).

    :param found: output of each member
    """
    responses = [output.response for output in found if output.response is not None]
    if not responses:
        return np.zeros(len(batch.projectors), dtype=bool)
    assert batch.cells is not None
    beyond = torch.stack([is_beyond_crystals(response, batch.cells) for response in responses])
    return beyond.any(dim=0).cpu().numpy()


def _by_part(model: LoadedModel, tensors: torch.Tensor) -> np.ndarray:
    """Return tensors (..., targets, 3, 3) as (..., 3, 3, 3): electronic, ionic and total; NaN if not predicted."""
    given = tensors.double().cpu().numpy()
    parts = np.full((*given.shape[:-3], 3, 3, 3), np.nan)
    for place, name in enumerate(model.card.targets):
        parts[..., TENSORS.index(name), :, :] = given[..., place, :, :]
    if {'electronic', 'ionic'} <= set(model.card.targets):
        parts[..., 2, :, :] = parts[..., 0, :, :] + parts[..., 1, :, :]
    return parts


@torch.inference_mode()
def _of_responses(
    model: LoadedModel, batch: GraphBatch, found: Sequence[NetworkOutput]
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return the last three fields of :class:`.CommitteeOutput`."""
    networks = [network for network in model.members if isinstance(network, ForceConstantNetwork)]
    responses = [output.response for output in found if output.response is not None]
    each = [output.soft_modes for output in found if output.soft_modes is not None]
    if not each:
        return None, None, None
    lowest = torch.stack(each)[:, :, 0].double().cpu().numpy()
    if len(responses) == 1:
        return lowest, each[0].double().cpu().numpy(), None
    # an eigenvalue of the mean is not the mean of the eigenvalues
    floor = max(network.floor for network in networks)  # whatever the order of the members
    tensors, soft_modes = permittivities(mean_response(responses), batch, floor)
    complete = len(responses) == len(found)
    return lowest, soft_modes.double().cpu().numpy(), _by_part(model, tensors) if complete else None


def phonon_cells(graphs: GraphArrays, batch: GraphBatch, found: Sequence[NetworkOutput]) -> np.ndarray:
    """Return the mean lattice response of the members, (c,) of :class:`.PhononCell` or None.

    None for crystals whose layers were brought closer: it would be that of another crystal.

    :param graphs: the crystals
    :param batch: the same as tensors
    :param found: output of each member, at least one with a lattice response
    """
    cells = graphs.cells
    assert cells is not None
    assert batch.cells is not None
    response = mean_response([output.response for output in found if output.response is not None])
    electronic, charges = (array.double().cpu().numpy() for array in (response.electronic, response.born_charges))
    result = np.full(len(cells), None, dtype=object)
    for group, matrices in zip(batch.cells.groups, response.force_constants, strict=True):
        for row, matrix in zip(group.cells.tolist(), matrices.double().cpu().numpy(), strict=True):
            if not cells.complete[row]:
                continue
            atoms = slice(*cells.atom_offsets[row : row + 2])
            lattice = cells.lattices[row]
            fractional = cells.positions[atoms] @ np.linalg.inv(lattice)
            result[row] = PhononCell(lattice, cells.numbers[atoms], fractional, electronic[row], charges[atoms], matrix)
    return result
