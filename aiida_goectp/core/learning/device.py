"""Which device to compute on."""

from __future__ import annotations

import os

import torch

from aiida_goectp.core.formats.npz import FormatError

__all__ = ('MemoryShortage', 'NoDeviceError', 'choose_device', 'fault', 'is_shortage', 'known_failure')


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


def is_shortage(error: BaseException) -> bool:
    """Return whether an error of torch means that memory ran out."""
    signs = ('out of memory', "can't allocate memory", 'ALLOC_FAILED')  # of CUDA, of the CPU, of cuBLAS and its kin
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in signs)


def known_failure(error: BaseException, device: str) -> NoDeviceError | MemoryShortage | None:
    """Return what an error of torch means for whoever asked for the work; None if it is a mistake in the program."""
    first = str(error).partition('\n')[0]
    if is_shortage(error):
        return MemoryShortage(f'the memory of {device} does not suffice ({first}); take smaller batches')
    if 'CUDA error' in str(error) or 'cuBLAS' in str(error):
        return NoDeviceError(f'the GPU {device} failed: {first}')
    return None


def fault(name: str) -> str | None:
    """Return the value of a fault that a test asks for through the environment variable GOECTP_TEST_FAULT, or None."""
    for item in os.environ.get('GOECTP_TEST_FAULT', '').split(','):
        key, _, value = item.partition('=')
        if key == name:
            return value
    return None
