"""Choice of the device."""

from __future__ import annotations

import pytest
import torch

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.learning.device import choose_device, device_errors
from aiida_goectp.core.learning.errors import DeviceOutOfMemoryError, NoDeviceError


def test_auto_takes_a_gpu_if_there_is_one(monkeypatch):
    assert choose_device() == ('cuda:0' if torch.cuda.is_available() else 'cpu')
    monkeypatch.setenv('GOECTP_TEST_FAULT', 'no_device')
    assert choose_device('auto') == choose_device('cpu') == 'cpu'


@pytest.mark.parametrize('wanted', ['cuda', 'cuda:0', 'cuda:99'])
def test_a_gpu_that_does_not_exist(monkeypatch, wanted):
    monkeypatch.setenv('GOECTP_TEST_FAULT', 'no_device')
    with pytest.raises(NoDeviceError, match=f'device {wanted} '):
        choose_device(wanted)


@pytest.mark.parametrize('wanted', ['', 'gpu', 'cuda:', 'cuda:x', 'cuda:-1', 'CPU', 'mps'])
def test_invalid_device_names(wanted):
    if wanted == 'cuda:' and torch.cuda.is_available():
        pytest.skip('read as the first GPU')
    with pytest.raises(FormatError):
        choose_device(wanted)


@pytest.mark.parametrize(
    ('raised', 'expected'),
    [
        (torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.'), DeviceOutOfMemoryError),
        (MemoryError(), DeviceOutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), DeviceOutOfMemoryError),
        (RuntimeError('cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling'), DeviceOutOfMemoryError),
        (RuntimeError('cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling'), NoDeviceError),
        (RuntimeError('CUDA error: an illegal memory access was encountered\nmore'), NoDeviceError),
        (RuntimeError('shapes do not match'), RuntimeError),
        (ValueError('CUDA error'), ValueError),
    ],
)
def test_errors_that_are_due_to_the_device(raised, expected):
    with pytest.raises(Exception) as found, device_errors('cuda:0'):  # noqa: PT011 - the type is the subject
        raise raised
    assert found.type is expected
