"""The scripts and the campaign file in ``examples/`` work unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.cli.campaign.config import read_config
from aiida_goectp.cli.campaign.sources import find_dataset, find_pool
from aiida_goectp.core.crystals.readers import read_structures
from aiida_goectp.core.formats.model_card import shipped_models

EXAMPLES = Path(__file__).parents[1] / 'examples'

pytestmark = pytest.mark.skipif('goectp-small' not in shipped_models(), reason='needs the model goectp-small')


@pytest.mark.slow
def test_scripts(tmp_path):
    """Each script works by ``verdi run``, from any folder, in a profile made as that of the quickstart."""
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path / 'profile'), 'PYTHONPATH': str(EXAMPLES.parent)}
    environment.pop('AIIDA_PROFILE', None)
    programs = Path(sys.executable).parent

    def run(name, *arguments):
        done = subprocess.run(
            [programs / name, *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    (tmp_path / 'profile').mkdir()
    run('verdi', 'presto', '--profile-name', 'examples', '--email', 'me@localhost', '--use-zeromq', '--non-interactive')
    run('aiida-goectp', 'setup')
    lines = run('verdi', 'run', EXAMPLES / 'predict_structure.py')
    assert [line.split(':')[0] for line in lines[-3:]] == ['electronic', 'ionic', 'total']
    lines = run('verdi', 'run', EXAMPLES / 'predict_many.py')
    names = sorted(path.stem for path in (EXAMPLES / 'structures').glob('*.cif'))
    assert [line.split()[0] for line in lines[-len(names) :]] == names
    lines = run('verdi', 'run', EXAMPLES / 'screen.py')
    assert [line.split()[0] for line in lines[-5:]] == ['1', '2', '3', '4', '5']


def test_quickstart_ends_with_what_to_type():
    command = ['make', '--dry-run', '--directory', str(EXAMPLES.parent), 'quickstart']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('echo')]
    assert lines[-2:] == ["echo '  source .venv/bin/activate'", "echo '  export AIIDA_PATH=$PWD/.aiida'"]


def test_campaign_file(aiida_profile):
    config = read_config(EXAMPLES / 'campaign.yaml')
    pool = find_pool(config.pool, EXAMPLES).node.crystals
    conventional = {crystal.id: crystal for crystal in read_structures([EXAMPLES / 'structures'])}
    for crystal in pool:
        cells = crystal, conventional[crystal.id]
        small, large = (abs(np.linalg.det(cell.lattice)) / len(cell.atomic_numbers) for cell in cells)
        assert small == pytest.approx(large, rel=1e-5)
        elements, expected = ({*cell.atomic_numbers.tolist()} for cell in cells)
        assert elements == expected
    candidates = pool.ids[config.picking.filters.passes(pool)].tolist()
    assert {'BN-zincblende', 'C-diamond', 'LiF-rocksalt', 'MgO-rocksalt'} <= set(candidates)
    dataset = find_dataset(config.dataset, EXAMPLES).node.dataset
    assert dataset.trainable.all()
    assert set(dataset.functional.tolist()) == {'PBEsol'}
    assert not set(dataset.crystals.ids.tolist()) & set(candidates)
