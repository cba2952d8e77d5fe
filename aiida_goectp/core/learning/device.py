"""Choice of the device, and errors of torch that are due to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.learning import testing_hooks
from aiida_goectp.core.learning.errors import DeviceOutOfMemoryError, NoDeviceError

__all__ = ('choose_device', 'device_errors', 'is_out_of_memory')

_GPU_FAILED = 'CUDA error', 'cuBLAS', 'cusolver error'
"""in the messages of torch"""


def choose_device(wanted: str = 'auto') -> str:
    """Return the name of an available device.

    :param wanted: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``
    :raises NoDeviceError: the requested GPU does not exist
    :raises FormatError: not the name of a device
    """
    gpu = torch.cuda.is_available() and not testing_hooks.gpu_is_hidden()
    if wanted == 'auto':
        return 'cuda:0' if gpu else 'cpu'
    if wanted == 'cpu':
        return 'cpu'
    name, _, index = wanted.partition(':')
    if name != 'cuda' or not (index.isdigit() or not index):
        raise FormatError(f'device: unknown value {wanted!r}; allowed: auto, cpu, cuda, cuda:N')
    count = torch.cuda.device_count() if gpu else 0
    if int(index or 0) >= count:
        raise NoDeviceError(
            f'device {wanted} not found ({count} GPUs available); request a GPU from the scheduler, or use --device cpu'
        )
    return f'cuda:{int(index or 0)}'


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch means that memory ran out."""
    signs = ('out of memory', "can't allocate memory", 'ALLOC_FAILED')  # of CUDA, of the CPU, of cuBLAS and its kin
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in signs)


@contextmanager
def device_errors(device: str) -> Iterator[None]:
    """Convert errors of torch that are due to the device, within the context.

    :raises DeviceOutOfMemoryError: memory ran out
    :raises NoDeviceError: the GPU failed
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        first = str(error).partition('\n')[0]
        if is_out_of_memory(error):
            raise DeviceOutOfMemoryError(f'{device} is out of memory ({first}); reduce the batch size') from error
        if any(sign in str(error) for sign in _GPU_FAILED):
            raise NoDeviceError(f'the GPU {device} failed: {first}') from error
        raise
