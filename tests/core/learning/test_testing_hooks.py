"""Faults injected through the environment."""

from __future__ import annotations

import math

import pytest
import torch

from aiida_goectp.core.learning import testing_hooks
from aiida_goectp.core.learning.errors import NoDeviceError


def test_hooks_have_no_effect_without_the_variable(monkeypatch):
    monkeypatch.delenv('GOECTP_TEST_FAULT', raising=False)
    testing_hooks.before_batch(10**9)
    testing_hooks.after_rows(10**9)
    assert testing_hooks.after_epoch(10**9) == 0
    assert not testing_hooks.gpu_is_hidden()
    assert float(testing_hooks.training_loss(torch.tensor(2.0), 1)) == 2


def test_several_faults_at_once(monkeypatch):
    monkeypatch.setenv('GOECTP_TEST_FAULT', 'oom_above=5,no_device,slow_epoch=0.01,nan_at_epoch=2')
    assert testing_hooks.gpu_is_hidden()
    testing_hooks.before_batch(5)
    with pytest.raises(MemoryError):
        testing_hooks.before_batch(6)
    assert testing_hooks.after_epoch(1) == 0.01
    losses = [float(testing_hooks.training_loss(torch.tensor(2.0), epoch)) for epoch in (1, 2)]
    assert losses[0] == 2
    assert math.isnan(losses[1])


def test_a_lost_gpu(monkeypatch):
    monkeypatch.setenv('GOECTP_TEST_FAULT', 'gpu_lost')
    with pytest.raises(NoDeviceError):
        testing_hooks.before_batch(1)
