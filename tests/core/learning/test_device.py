"""The choice of the device."""

from __future__ import annotations

import pytest
import torch

from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.learning.device import NoDeviceError, choose_device, fault


def test_auto_takes_what_is_there(monkeypatch):
    assert choose_device() == ('cuda:0' if torch.cuda.is_available() else 'cpu')
    monkeypatch.setenv('GOECTP_TEST_FAULT', 'no_device')
    assert choose_device('auto') == choose_device('cpu') == 'cpu'


@pytest.mark.parametrize('wanted', ['cuda', 'cuda:0', 'cuda:99'])
def test_a_gpu_that_is_not_there(monkeypatch, wanted):
    monkeypatch.setenv('GOECTP_TEST_FAULT', 'no_device')
    with pytest.raises(NoDeviceError, match=f'device {wanted} is not there .* use --device cpu'):
        choose_device(wanted)


@pytest.mark.parametrize('wanted', ['', 'gpu', 'cuda:', 'cuda:x', 'cuda:-1', 'CPU', 'mps'])
def test_no_name_of_a_device(wanted):
    if wanted == 'cuda:' and torch.cuda.is_available():
        pytest.skip('read as the first GPU')
    with pytest.raises(FormatError):
        choose_device(wanted)


def test_several_faults_at_once(monkeypatch):
    monkeypatch.setenv('GOECTP_TEST_FAULT', 'slow=0.5,no_device')
    assert (fault('slow'), fault('no_device'), fault('gpu_lost')) == ('0.5', '', None)
