"""What a training makes small."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import huber_loss

from aiida_goectp.core.learning.settings import TrainSettings

__all__ = ('tensor_loss',)


def tensor_loss(predicted: torch.Tensor, wanted: torch.Tensor, settings: TrainSettings) -> torch.Tensor:
    """Return the mean Huber loss of the known components.

    :param predicted: (b, t, 3, 3) relative permittivities
    :param wanted: (b, t, 3, 3), NaN where unknown
    """
    known = torch.isfinite(wanted)
    wanted = torch.nan_to_num(wanted)
    difference = torch.where(known, predicted - wanted, 0.0)
    if settings.loss == 'logarithm':
        # (p − y)/√(p y) = 2 sinh(½ ln(p/y)): as much too small costs what as much too large does
        difference = difference / (_size(wanted) * _size(predicted)).sqrt()
    each = huber_loss(difference, torch.zeros_like(difference), reduction='none', delta=settings.huber_delta)
    if settings.loss == 'difference' and settings.taming:
        each = each * _size(wanted).pow(-settings.taming)
    return each.sum() / known.sum().clamp(min=1)


def _size(tensors: torch.Tensor) -> torch.Tensor:
    """Return the norm of each tensor in units of √3 × 3, that of an isotropic tensor of permittivity 3, (b, t, 1, 1).

    About half of the crystals are below. A tensor that vanishes counts as one of norm 1.
    """
    return tensors.flatten(2).norm(dim=2).clamp(min=1.0)[:, :, None, None] / (3 * math.sqrt(3))
