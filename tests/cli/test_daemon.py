"""The command line in a new profile with a daemon."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiida_goectp.core.formats.model_card import shipped_models

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture(scope='module')
def shell(tmp_path_factory):
    """Return a function that runs a command in a new profile with a running daemon."""
    folder = tmp_path_factory.mktemp('profile')
    environment = {**os.environ, 'AIIDA_PATH': str(folder)}
    environment.pop('AIIDA_PROFILE', None)

    def run(*command):
        path = Path(sys.executable).parent / command[0]
        result = subprocess.run(
            [path, *command[1:]], capture_output=True, text=True, env=environment, cwd=folder, timeout=300
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run('verdi', 'presto')
    run('verdi', 'config', 'set', 'daemon.timeout', '20')
    run('verdi', 'daemon', 'start')
    yield run
    run('verdi', 'daemon', 'stop')


@pytest.mark.skipif(not shipped_models(), reason='no model is shipped with this checkout')
def test_submitted_screen_finishes(shell, crystal_set, tmp_path):
    crystal_set.save(tmp_path / 'textbook.npz')
    shell('aiida-goectp', 'setup')
    shell('aiida-goectp', 'import', str(tmp_path / 'textbook.npz'))
    output = shell('aiida-goectp', 'screen', '--submit', '--shard-size', '3', '--select', '2', '--device', 'cpu')
    pk = re.search(r'ScreenWorkChain<(\d+)>', output).group(1)
    deadline = time.monotonic() + 240
    while ' running' in (output := shell('aiida-goectp', 'show', pk)):
        assert re.search(r'\d of 2 shards, \d of 6 crystals predicted', output), output
        assert time.monotonic() < deadline, output
        time.sleep(10)
    assert 'finished, 2 of 2 shards, 6 of 6 crystals predicted' in output
    assert 'Selection, 2' in output
