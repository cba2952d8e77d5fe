"""A training in two processes, on the CPU."""

import json
import os
import signal
import subprocess
import sys
import time

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


LAUNCH = """import sys
from pathlib import Path
from aiida_goectp.core.executable import launch
launch._GRACE = 0.5
if __name__ == '__main__':
    sys.argv[0] = 'rank.py'
    sys.exit(launch.launch(2, [], Path('status.json')))
"""
RANK = """import os, sys, time
from pathlib import Path
from aiida_goectp.core.executable.signals import StopSignal
from aiida_goectp.core.executable.status import ExecutableError, Status, record_errors
from aiida_goectp.core.learning.errors import DeviceOutOfMemoryError
first, stop = os.environ['RANK'] == '0', StopSignal()
status = Status(Path('status.json') if first else None)
with record_errors(status):
    status.update(epochs_done=1)
    Path('started' + os.environ['RANK']).touch()
"""


@pytest.fixture
def launched(tmp_path):
    """Return a function that starts two processes of a script by a launching one."""
    processes = []

    def start(script):
        (tmp_path / 'rank.py').write_text(RANK + script)
        (tmp_path / 'main.py').write_text(LAUNCH)
        processes.append(subprocess.Popen([sys.executable, 'main.py'], cwd=tmp_path, start_new_session=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def read_status(tmp_path):
    return json.loads((tmp_path / 'status.json').read_text())


def test_the_error_of_a_further_process_is_that_of_all_and_ends_those_that_wait_for_it(launched, tmp_path):
    script = """
    if first:
        time.sleep(100)
    raise DeviceOutOfMemoryError('cuda:1 is full')
"""
    assert launched(script).wait(60) == 4
    found = read_status(tmp_path)
    assert (found['state'], found['error']) == ('failed', {'code': 'out_of_memory', 'message': 'cuda:1 is full'})
    assert found['epochs_done'] == 1


def test_a_killed_process_leaves_the_status_of_a_killed_run(launched, tmp_path):
    assert launched('    os.kill(os.getpid(), 9) if not first else time.sleep(100)\n').wait(60) == 1
    assert read_status(tmp_path)['state'] == 'running'


@pytest.mark.parametrize('to_all', [False, True])
def test_a_signal_stops_all_processes_once(launched, tmp_path, to_all):
    """A terminal and some schedulers send it to the launched processes as well, for which it would be the second."""
    script = """
    while not stop():
        time.sleep(0.1)
    time.sleep(1.0)  # the end of the epoch
    Path('ended' + os.environ['RANK']).touch()
    raise ExecutableError('interrupted', 'stopped')
"""
    process = launched(script)
    while not all((tmp_path / f'started{rank}').exists() for rank in range(2)):
        assert process.poll() is None
        time.sleep(0.1)
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGTERM)
    assert process.wait(60) == 75
    assert read_status(tmp_path)['state'] == 'interrupted'
    assert {item.name for item in tmp_path.glob('ended*')} == {'ended0', 'ended1'}


def test_processes_stop_without_the_one_that_launched_them(launched, tmp_path):
    process = launched("""
    while not stop():
        time.sleep(0.1)
    Path('ended' + os.environ['RANK']).touch()
""")
    while not all((tmp_path / f'started{rank}').exists() for rank in range(2)):
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    end = time.monotonic() + 30
    while len(list(tmp_path.glob('ended*'))) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
