"""Which device to compute on."""

from __future__ import annotations

import os

import torch

from aiida_goectp.npzfile import FormatError

__all__ = ('MemoryShortage', 'NoDeviceError', 'choose_device', 'fault')


class NoDeviceError(FormatError):
    """The GPU that was asked for is not there, or was lost."""


class MemoryShortage(RuntimeError):
    """Not even the smallest batch fits into the memory of the device."""


def choose_device(wanted: str = 'auto') -> str:
    """Return a device that is there.

    :param wanted: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``
    :raises NoDeviceError: a GPU was asked for that is not there
    :raises FormatError: no name of a device
    """
    gpu = torch.cuda.is_available() and fault('no_device') is None
    if wanted == 'auto':
        return 'cuda:0' if gpu else 'cpu'
    if wanted == 'cpu':
        return 'cpu'
    name, _, index = wanted.partition(':')
    if name != 'cuda' or not (index.isdigit() or not index):
        raise FormatError(f'device {wanted!r}: expected auto, cpu, cuda or cuda:N')
    count = torch.cuda.device_count() if gpu else 0
    if int(index or 0) >= count:
        raise NoDeviceError(
            f'device {wanted} is not there ({count} GPUs seen); ask the scheduler for a GPU, or use --device cpu'
        )
    return f'cuda:{int(index or 0)}'


def fault(name: str) -> str | None:
    """Return the value of a fault that a test asks for through the environment variable GOECTP_TEST_FAULT, or None."""
    for item in os.environ.get('GOECTP_TEST_FAULT', '').split(','):
        key, _, value = item.partition('=')
        if key == name:
            return value
    return None
