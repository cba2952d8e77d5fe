"""The executable, called in this process, or as a separate process where it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.executable.main import main
from tests import tiny


@pytest.fixture(scope='session')
def model(tmp_path_factory):
    """A model file with random weights, and a few elements in its training set."""
    tiny.one_thread()
    path = tmp_path_factory.mktemp('models') / 'tiny.safetensors'
    return tiny.write_model(path, elements=[3, 8, 11, 12, 13, 14, 19, 20, 22, 31, 33, 38])


@pytest.fixture
def goectp(tmp_path, monkeypatch):
    """Return a function that runs the command line within this process, in the temporary folder."""
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}

    def run(*arguments, status=0, fault=''):
        monkeypatch.setenv('GOECTP_TEST_FAULT', fault)
        result = CliRunner().invoke(main, [str(item) for item in arguments])
        assert status in (None, result.exit_code), (result.output, result.exception)
        return result

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def start(tmp_path, executable):
    """Return a function that starts the executable as a process, by default forked, which saves its imports."""
    installed = Path(sys.executable).parent / 'goectp'
    processes = []

    def launch(*arguments, fault='', forked=True):
        command = [str(executable if forked else installed), *map(str, arguments)]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'GOECTP_TEST_FAULT': fault}
        pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes))
        return processes[-1]

    yield launch
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def status(tmp_path):
    """Return a function that reads a status file."""

    def read(output='out.npz'):
        return json.loads((tmp_path / f'{output}.status.json').read_text())

    return read


@pytest.fixture
def crystals(tmp_path):
    """Crystals, saved as crystals.npz in the temporary folder."""
    crystals = tiny.some_crystals()
    crystals.save(tmp_path / 'crystals.npz')
    return crystals


@pytest.fixture
def predict(goectp, model, tmp_path):
    """Return a function that predicts crystals.npz to out.npz and returns the table."""

    def run(*arguments, source='crystals.npz', output='out.npz', **expected):
        goectp('predict', source, '--model', model, '--output', output, '--device', 'cpu', *arguments, **expected)
        path = tmp_path / output
        return Predictions.load(path) if path.exists() else None

    return run
