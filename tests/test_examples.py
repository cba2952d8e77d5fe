"""The scripts in ``examples/`` run as they stand."""

import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.modelcard import shipped_models

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
