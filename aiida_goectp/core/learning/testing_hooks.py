"""Faults that tests inject into the executable, through the environment variable ``GOECTP_TEST_FAULT``.

Tests run ``goectp`` as a separate process, often as a job of AiiDA, where nothing can be patched; and no test machine
has a GPU that fails on demand. The variable is a comma-separated list of faults, ``name`` or ``name=value``. If it is
not set, the functions of this module have no effect.

=======================  ==============================================================================
``no_device``            no GPU is found
``gpu_lost``             the device fails in the first batch
``oom_above=N``          out of memory in batches of more than N atoms (prediction) or crystals (training)
``slow=S``               a pause of S seconds after each batch of a prediction
``kill_after=N``         SIGKILL after N rows of a prediction
``slow_epoch=S``         a pause of S seconds after each epoch
``kill_after_epochs=N``  SIGKILL after N epochs, those of all members counted
``nan_at_epoch=N``       the loss is NaN in epoch N
=======================  ==============================================================================
"""

from __future__ import annotations

import math
import os
import signal
import time
from typing import TYPE_CHECKING

from aiida_goectp.core.learning.errors import NoDeviceError

if TYPE_CHECKING:
    import torch

__all__ = ('after_epoch', 'after_rows', 'before_batch', 'gpu_is_hidden', 'training_loss')


def _fault(name: str) -> str | None:
    """Return the value of a fault, empty for one without a value, None if it is not requested."""
    faults = os.environ.get('GOECTP_TEST_FAULT', '').split(',')
    return next((value for key, _, value in (item.partition('=') for item in faults) if key == name), None)


def gpu_is_hidden() -> bool:
    """Return whether GPUs count as absent."""
    return _fault('no_device') is not None


def before_batch(size: int) -> None:
    """Fail as a device does before a batch is evaluated.

    :param size: atoms of a batch of a prediction, crystals of a batch of a training
    :raises MemoryError: the batch is larger than the injected limit
    :raises NoDeviceError: the loss of the GPU is injected
    """
    if (limit := _fault('oom_above')) and size > int(limit):
        raise MemoryError('injected by a test')
    if _fault('gpu_lost') is not None:
        raise NoDeviceError('the GPU failed: injected by a test')


def after_rows(done: int) -> None:
    """Pause, or end this process, after a batch of a prediction.

    :param done: rows predicted so far
    """
    if pause := float(_fault('slow') or 0):
        time.sleep(pause)
    _kill('kill_after', done)


def after_epoch(done: int) -> float:
    """Pause, or end this process, after an epoch of a training.

    :param done: epochs done so far, of all members
    :return: duration of the pause, s
    """
    if pause := float(_fault('slow_epoch') or 0):
        time.sleep(pause)
    _kill('kill_after_epochs', done)
    return pause


def _kill(name: str, done: int) -> None:
    if (limit := _fault(name)) and done >= int(limit):
        signal.raise_signal(signal.SIGKILL)


def training_loss(loss: torch.Tensor, epoch: int) -> torch.Tensor:
    """Return the loss of a training step, NaN in the epoch (counted from 1) for which that is injected."""
    return loss * math.nan if _fault('nan_at_epoch') == str(epoch) else loss
