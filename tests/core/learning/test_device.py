"""Choice of the device."""

from __future__ import annotations

import pytest
import torch

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.learning.device import choose_device
from aiida_goectp.core.learning.errors import NoDeviceError


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
