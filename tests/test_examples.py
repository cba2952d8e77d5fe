"""The scripts in ``examples/`` run as they stand."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.core.formats.model_card import shipped_models

EXAMPLES = Path(__file__).parents[1] / 'examples'

pytestmark = pytest.mark.skipif('goectp-small' not in shipped_models(), reason='the small model is not shipped')


@pytest.fixture
def run(aiida_profile_clean, monkeypatch, capsys):
    """Return a function that runs a script as ``verdi run`` does, and returns the lines that it prints."""
    assert CliRunner().invoke(main, ['setup']).exit_code == 0

    def run(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name='__main__')
        return [line for line in capsys.readouterr().out.splitlines() if not line.startswith('Report')]

    return run


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


def test_the_campaign_is_in_order(aiida_profile):
    from aiida_goectp.cli.campaign.config import read_config
    from aiida_goectp.cli.campaign.sources import find_dataset, find_pool
    from aiida_goectp.core.crystals.readers import read_structures

    config = read_config(EXAMPLES / 'campaign.yaml')
    pool = find_pool(config.pool, EXAMPLES).node.crystals
    known = {crystal.id: crystal for crystal in read_structures([EXAMPLES / 'structures'])}
    for crystal in pool:  # the same crystals, in a smaller cell
        whole = known[crystal.id]
        share = len(crystal.atomic_numbers) / len(whole.atomic_numbers)
        assert abs(np.linalg.det(crystal.lattice)) == pytest.approx(share * abs(np.linalg.det(whole.lattice)), rel=1e-5)
        assert {*crystal.atomic_numbers.tolist()} == {*whole.atomic_numbers.tolist()}
    candidates = pool.ids[config.picking.filters.passes(pool)].tolist()
    assert {'BN-zincblende', 'C-diamond', 'LiF-rocksalt', 'MgO-rocksalt'} <= set(candidates)
    dataset = find_dataset(config.dataset, EXAMPLES).node.dataset
    assert dataset.trainable.all()
    assert set(dataset.functional.tolist()) == {'PBEsol'}
    assert not set(dataset.crystals.ids.tolist()) & set(candidates)
