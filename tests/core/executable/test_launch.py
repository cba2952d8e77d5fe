"""A training in two processes, on the CPU."""

import json

import numpy as np
import pytest

from aiida_goectp.core.formats.model_card import read_card
from aiida_goectp.core.formats.training_log import TrainingLog
from tests import tiny

SMALL = ['--width', 8, '--layers', 1, '--batch-size', 8, '--device', 'cpu', '--threads', 1, '--learning-rate', 0.01]


@pytest.fixture
def data(tmp_path):
    tiny.some_dataset(24).save(tmp_path / 'data.npz')


@pytest.mark.slow
def test_two_processes_write_one_model(start, data, tmp_path):
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 3]
    process = start(*arguments, '--processes', 2, forked=False)
    output = process.communicate(timeout=500)
    assert process.returncode == 0, output
    assert output[0].count('epoch 3/3: ') == 1
    assert read_card(tmp_path / 'model.safetensors').training['rows']['train'] == 19
    log = TrainingLog.read(tmp_path / 'model.safetensors.log.jsonl')
    assert [line['epoch'] for line in log.lines] == [1, 2, 3]
    assert np.isfinite(log.columns()['loss']).all()
    assert json.loads((tmp_path / 'model.safetensors.status.json').read_text())['state'] == 'finished'


@pytest.mark.slow
def test_an_error_in_one_process_is_the_exit_status_of_all(start, data, tmp_path):
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *SMALL, '--epochs', 3]
    process = start(*arguments, '--processes', 2, fault='nan_at_epoch=2', forked=False)
    output = process.communicate(timeout=500)
    assert process.returncode == 5, output
    assert not (tmp_path / 'model.safetensors').exists()
