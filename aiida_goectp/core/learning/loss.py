"""Training loss."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import huber_loss

from aiida_goectp.core.learning.settings import TrainSettings

__all__ = ('tensor_loss',)


def tensor_loss(predicted: torch.Tensor, labels: torch.Tensor, settings: TrainSettings) -> torch.Tensor:
    """Return the mean Huber loss of the components that have labels.

    :param predicted: (b, t, 3, 3) relative permittivities
    :param labels: (b, t, 3, 3), NaN where missing
    """
    known = torch.isfinite(labels)
    labels = torch.nan_to_num(labels)
    difference = torch.where(known, predicted - labels, 0.0)
    if settings.loss == 'logarithm':
        # (p − y)/√(p y) = 2 sinh(½ ln(p/y)): symmetric in the logarithm of p/y
        difference = difference / (_size(labels) * _size(predicted)).sqrt()
    each = huber_loss(difference, torch.zeros_like(difference), reduction='none', delta=settings.huber_delta)
    if settings.loss == 'difference' and settings.loss_label_exponent:
        each = each * _size(labels).pow(-settings.loss_label_exponent)
    return each.sum() / known.sum().clamp(min=1)


def _size(tensors: torch.Tensor) -> torch.Tensor:
    """Return the norm of each tensor divided by that of an isotropic tensor of permittivity 3, √3 × 3, (b, t, 1, 1).

    About half of the crystals are below 1. The norm is at least 1 before the division.
    """
    return tensors.flatten(2).norm(dim=2).clamp(min=1.0)[:, :, None, None] / (3 * math.sqrt(3))
