"""What errors cost."""

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


def cost(predicted, wanted, settings):
    return float(tensor_loss(isotropic(predicted), isotropic(wanted), settings))


@pytest.mark.parametrize('value', [5.0, 60.0])
def test_logarithms_cost_alike_both_ways_and_at_any_size(value):
    half, double = cost(value / 2, value, LOGARITHM), cost(2 * value, value, LOGARITHM)
    assert half == pytest.approx(double)
    assert half == pytest.approx(cost(5.0, 10.0, LOGARITHM))
    # 9 components of which 3 are off; Huber takes half the square; sizes are in units of 3 √3
    assert half == pytest.approx(3 / 9 / 2 * 3 * (2 * math.sinh(math.log(2) / 2)) ** 2 * 3)


def test_a_share_of_the_label_is_cheaper_below():
    share = TrainSettings(taming=1.0, huber_delta=1e6)
    assert cost(30.0, 60.0, share) < cost(120.0, 60.0, share) / 2


def test_taming():
    plain, tamed = TrainSettings(taming=0.0), TrainSettings(taming=0.5)
    assert cost(61.0, 60.0, plain) == pytest.approx(cost(6.0, 5.0, plain))
    assert cost(61.0, 60.0, tamed) == pytest.approx(cost(6.0, 5.0, tamed) * math.sqrt(5 / 60))


@pytest.mark.parametrize('settings', [LOGARITHM, TrainSettings()])
def test_what_is_unknown_or_nothing_costs_nothing_and_breaks_nothing(settings):
    wanted = isotropic(4.0, float('nan'), 0.0)
    predicted = isotropic(4.0, 9.0, 0.0).requires_grad_()
    found = tensor_loss(predicted, wanted, settings)
    found.backward()
    assert float(found.detach()) == 0
    assert torch.isfinite(predicted.grad).all()
