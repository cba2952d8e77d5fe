"""Training loss."""

from __future__ import annotations

import math

import pytest
import torch

from aiida_goectp.core.learning.loss import tensor_loss
from aiida_goectp.core.learning.settings import TrainSettings

LOGARITHM = TrainSettings(loss='logarithm', huber_delta=3.0)


def isotropic(*values):
    """Return (b, 1, 3, 3)."""
    return torch.tensor(values, dtype=torch.float64)[:, None, None, None] * torch.eye(3, dtype=torch.float64)


def loss(predicted, label, settings):
    return float(tensor_loss(isotropic(predicted), isotropic(label), settings))


@pytest.mark.parametrize('value', [5.0, 60.0])
def test_loss_of_logarithms_is_symmetric_and_scale_invariant(value):
    half, double = loss(value / 2, value, LOGARITHM), loss(2 * value, value, LOGARITHM)
    assert half == pytest.approx(double)
    assert half == pytest.approx(loss(5.0, 10.0, LOGARITHM))
    # 3 of 9 components differ; Huber loss is half the square; norms are in units of 3 √3
    assert half == pytest.approx(3 / 9 / 2 * 3 * (2 * math.sinh(math.log(2) / 2)) ** 2 * 3)


def test_a_relative_error_costs_less_below_the_label():
    relative = TrainSettings(loss_label_exponent=1.0, huber_delta=1e6)
    assert loss(30.0, 60.0, relative) < loss(120.0, 60.0, relative) / 2


def test_loss_label_exponent():
    absolute, weighted = TrainSettings(loss_label_exponent=0.0), TrainSettings(loss_label_exponent=0.5)
    assert loss(61.0, 60.0, absolute) == pytest.approx(loss(6.0, 5.0, absolute))
    assert loss(61.0, 60.0, weighted) == pytest.approx(loss(6.0, 5.0, weighted) * math.sqrt(5 / 60))


@pytest.mark.parametrize('settings', [LOGARITHM, TrainSettings()])
def test_missing_and_zero_labels(settings):
    labels = isotropic(4.0, float('nan'), 0.0)
    predicted = isotropic(4.0, 9.0, 0.0).requires_grad_()
    found = tensor_loss(predicted, labels, settings)
    found.backward()
    assert float(found.detach()) == 0
    assert torch.isfinite(predicted.grad).all()
