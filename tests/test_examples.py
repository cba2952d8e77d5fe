"""The scripts and the campaign file in ``examples/`` work unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from aiida_goectp.cli.campaign.config import read_config
from aiida_goectp.cli.campaign.sources import find_dataset, find_pool
from aiida_goectp.core.crystals.readers import read_structures
from aiida_goectp.core.formats.model_card import shipped_models

EXAMPLES = Path(__file__).parents[1] / 'examples'

pytestmark = pytest.mark.skipif('goectp-small' not in shipped_models(), reason='needs the model goectp-small')


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    """Environment variables with a profile made as that of the quickstart."""
    folder = tmp_path_factory.mktemp('profile')
    variables = {**os.environ, 'AIIDA_PATH': str(folder), 'PYTHONPATH': str(EXAMPLES.parent)}
    variables.pop('AIIDA_PROFILE', None)
    profile = ('--profile-name', 'examples', '--email', 'me@localhost', '--use-zeromq', '--non-interactive')
    command(variables, folder, 'verdi', 'presto', *profile)
    command(variables, folder, 'aiida-goectp', 'setup')
    return variables


def command(environment, folder, name, *arguments):
    """Run a program in a folder and return the lines of its output."""
    words = [Path(sys.executable).parent / name, *map(str, arguments)]
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_scripts(environment, tmp_path):
    """Each script works by ``verdi run``, from any folder, and by ``python`` in the default profile."""

    def run(name):
        return command(environment, tmp_path, 'verdi', 'run', EXAMPLES / name)

    plain = command(environment, tmp_path, 'python', EXAMPLES / 'predict_structure.py')
    assert [line.split(':')[0] for line in plain[-3:]] == ['electronic', 'ionic', 'total']

    assert [line.split(':')[0] for line in run('predict_structure.py')[-3:]] == ['electronic', 'ionic', 'total']
    names = sorted(path.stem for path in (EXAMPLES / 'structures').glob('*.cif'))
    assert [line.split()[0] for line in run('predict_many.py')[-len(names) :]] == names
    assert [line.split()[0] for line in run('screen.py')[-5:]] == ['1', '2', '3', '4', '5']


def printed(notebook):
    """Return the first word of each line that the cells of a notebook print."""
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', ())]
    texts = [output.get('text') or output['data']['text/plain'] for output in outputs]
    return [line.split()[0] for text in texts for line in text.splitlines() if line.strip() and '[' not in line]


@pytest.mark.slow
def test_notebook(environment):
    """The notebook runs, and prints the rows that are stored in it."""
    path = EXAMPLES / 'screening.ipynb'
    stored, notebook = (nbformat.read(path, 4) for _ in range(2))
    assert path.stat().st_size < 200_000
    assert all(cell.execution_count for cell in stored.cells if cell.cell_type == 'code')
    client = NotebookClient(notebook, timeout=300, resources={'metadata': {'path': str(EXAMPLES)}})
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.outputs = [one for one in cell.get('outputs', ()) if one.get('name') != 'stderr']
    assert printed(notebook) == printed(stored)
    assert {'KTaO3-perovskite', 'RankingData'} <= {*printed(notebook)}


def test_quickstart_ends_with_what_to_type():
    words = ['make', '--dry-run', '--directory', str(EXAMPLES.parent), 'quickstart']
    done = subprocess.run(words, capture_output=True, text=True, check=True)
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
