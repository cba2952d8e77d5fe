"""The scripts and the campaign file in ``examples/`` work unchanged."""

from __future__ import annotations

import logging
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.cli.campaign.config import read_config
from aiida_goectp.cli.campaign.sources import find_dataset, find_pool
from aiida_goectp.core.crystals.readers import read_structures
from aiida_goectp.core.formats.model_card import shipped_models

EXAMPLES = Path(__file__).parents[1] / 'examples'

pytestmark = pytest.mark.skipif('goectp-small' not in shipped_models(), reason='needs the model goectp-small')


@pytest.fixture
def run(aiida_profile_clean, monkeypatch, capsys):
    """Yield a function that runs a script as ``verdi run`` does and returns the lines of its output."""
    assert CliRunner().invoke(main, ['setup']).exit_code == 0

    def run(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name='__main__')
        return capsys.readouterr().out.splitlines()

    # AiiDA logs to standard output, also what the login shell of the machine prints to standard error of a job
    logging.disable(logging.WARNING)
    yield run
    logging.disable(logging.NOTSET)


def test_predict_structure(run):
    assert [line.split(':')[0] for line in run('predict_structure.py')[1:]] == ['electronic', 'ionic', 'total']


@pytest.mark.slow
def test_predict_many(run):
    lines = run('predict_many.py')
    assert '0 failures' in lines[0]
    assert len(lines) == 1 + len(list((EXAMPLES / 'structures').glob('*.cif')))


@pytest.mark.slow
def test_screen(run, crystals):
    lines = run('screen.py', crystals.pk)
    assert [line.split()[0] for line in lines] == ['1', '2', '3', '4', '5']


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
