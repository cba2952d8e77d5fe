"""Training loss of the force constant network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import huber_loss

from aiida_goectp.core.learning.lattice.labels import LatticeBatch
from aiida_goectp.core.network.force_constants.batch import CellBatch, SizeGroup
from aiida_goectp.core.network.force_constants.functions import shifted_logarithm
from aiida_goectp.core.network.force_constants.response import LatticeResponse, ionic_permittivity
from aiida_goectp.core.network.symmetrise import average_with_vacuum, ionic_with_vacuum

__all__ = ('FLOOR', 'lattice_loss', 'permittivity_weight')

_CHARGES, _ELECTRONIC, _WEIGHTED, _PLAIN = 1.0, 0.5, 2.0, 1.0
"""weights of the terms; that of the ionic permittivity is one after its ramp"""
_CHARGE_DELTA = 0.3
"""e, difference above which the loss of a Born charge is linear"""
_LOGARITHM_DELTA = 0.1
"""difference of logarithms of permittivities above which their loss is linear"""
_RAMP = 0.1
"""share of the epochs in which the weight of the loss of the ionic permittivity rises to one"""
FLOOR = 0.2
"""eV/Å², see :func:`.ionic_permittivity`; that of a prediction is larger, since its soft modes are uncertain"""
_LARGEST = 20.0
"""weighted or relative difference of force constants above which a crystal has no influence"""


def permittivity_weight(progress: float, start: float) -> float:
    """Return the weight of the loss of the ionic permittivity; zero at first, for an untrained network.

    :param progress: share of the epochs that are done
    :param start: share of the epochs without this loss
    """
    return 0.0 if progress < start else min(1.0, (progress - start) / _RAMP + 0.1)


def lattice_loss(
    response: LatticeResponse,
    cells: CellBatch,
    labels: LatticeBatch,
    tensors: torch.Tensor,
    permittivity: float,
    vacuum: torch.Tensor,
) -> torch.Tensor:
    """Return the loss of a batch of c crystals: the sum of means over those that have each label.

    Terms: Huber loss of the Born charges; of the logarithms of both permittivities (log-Euclidean); the norm of
    W (Φ − Φ') W with W = (|Φ'| + 0.3 eV/Å²)^−½, which counts soft and stiff directions alike; and the norm of Φ − Φ'.
    The ionic permittivity is evaluated twice, from the predicted Φ with the labels of the charges, and from the
    predicted charges with the labels of Φ, where there are such labels: from both predictions, the network learns
    errors of the one that compensate those of the other, which they do for the training rows only.

    :param tensors: (c, 2, 3, 3) electronic and ionic labels, NaN where missing
    :param permittivity: weight of the loss of the ionic permittivity
    :param vacuum: (c, 4) as in :class:`.GraphBatch`. Where layers were brought closer, labels are those of the crystal,
        and the permittivities of the response are compared with them at its own distance between the layers
    """
    loss = response.electronic[:0].sum()  # zero; without any label of a term in use, the gradient is zero as well
    loss = loss + _CHARGES * _charge_loss(response.born_charges, labels.born_charges)
    loss = loss + _ELECTRONIC * _logarithmic_loss(average_with_vacuum(response.electronic, vacuum), tensors[:, 0], 0.0)
    targets = [_matrices(group, labels.force_constants) for group in cells.groups]
    loss = loss + _force_constant_loss(response, cells, labels, targets)
    if permittivity:
        loss = loss + permittivity * _ionic_loss(response, cells, labels, targets, tensors[:, 1], vacuum)
    return loss


def _force_constant_loss(
    response: LatticeResponse, cells: CellBatch, labels: LatticeBatch, targets: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return the loss of the force constants, the mean over the cells that have labels.

    :param targets: for each group of cells, (g, 3n, 3n) eV/Å², NaN where missing
    """
    weighted, plain, count = [], [], 0
    for group, matrices, target in zip(cells.groups, response.force_constants, targets, strict=True):
        known = _known(target)
        if not known.any():
            continue
        count += int(known.sum())
        weight = _matrices(group, labels.weights)[known]
        difference, size = matrices[known] - target[known], matrices.shape[1]
        scaled = weight @ difference @ weight
        weighted.append(torch.sqrt(scaled.square().sum((1, 2)) / size + 1e-4).clamp(max=_LARGEST).sum())
        norm = torch.sqrt(target[known].square().sum((1, 2)) / size + 1)
        plain.append((torch.sqrt(difference.square().sum((1, 2)) / size + 1e-3) / norm).clamp(max=_LARGEST).sum())
    if not count:
        return response.born_charges.new_zeros(())
    return (_WEIGHTED * torch.stack(weighted).sum() + _PLAIN * torch.stack(plain).sum()) / count


def _ionic_loss(
    response: LatticeResponse,
    cells: CellBatch,
    labels: LatticeBatch,
    targets: Sequence[torch.Tensor],
    tensors: torch.Tensor,
    vacuum: torch.Tensor,
) -> torch.Tensor:
    """Return the loss of the ionic permittivity, from each prediction with the labels of the other.

    :param tensors: (c, 3, 3), NaN where missing
    """
    charges = torch.where(torch.isfinite(labels.born_charges), labels.born_charges, response.born_charges)
    constants = [
        torch.where(_known(target)[:, None, None], target, matrices)
        for target, matrices in zip(targets, response.force_constants, strict=True)
    ]
    mixed = (response._replace(born_charges=charges), response._replace(force_constants=constants))
    losses = []
    for item in mixed:
        ionic = ionic_permittivity(item, cells, FLOOR)
        losses.append(_logarithmic_loss(ionic_with_vacuum(response.electronic, ionic, vacuum), tensors, 1.0))
    return (losses[0] + losses[1]) / 2


def _known(tensors: torch.Tensor) -> torch.Tensor:
    """Return the mask of the tensors without missing elements, over the first axis."""
    return torch.isfinite(tensors).flatten(1).all(dim=1)


def _matrices(group: SizeGroup, blocks: torch.Tensor) -> torch.Tensor:
    """Return the matrices (g, 3n, 3n) of the cells of a group from blocks (B, 3, 3)."""
    return blocks[group.blocks].permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)


def _charge_loss(charges: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    known = _known(labels)
    if not known.any():
        return charges.new_zeros(())
    each = huber_loss(charges[known], labels[known], reduction='none', delta=_CHARGE_DELTA)
    return each.sum((1, 2)).mean() / _CHARGE_DELTA


def _logarithmic_loss(tensors: torch.Tensor, labels: torch.Tensor, shift: float) -> torch.Tensor:
    """Return the Huber loss of log(ε + shift), the mean over the tensors that have labels.

    :param tensors: (c, 3, 3), positive definite if the shift is zero
    """
    known = _known(labels)
    if not known.any():
        return tensors.new_zeros(())
    found, target = (shifted_logarithm(item[known], shift) for item in (tensors, labels))
    each = huber_loss(found, target, reduction='none', delta=_LOGARITHM_DELTA)
    return each.sum((1, 2)).mean() / _LOGARITHM_DELTA
