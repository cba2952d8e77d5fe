"""``goectp import-calculations``."""

from __future__ import annotations

import json

from click.testing import CliRunner

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.executable.main import main
from tests.rows import DATA

FINISHED = DATA / 'finished'


def _invoke(*arguments):
    return CliRunner().invoke(main, ['import-calculations', *map(str, arguments)])


def test_dataset_is_written(tmp_path):
    output = tmp_path / 'dataset.npz'
    result = _invoke(FINISHED, '--output', output)
    assert result.exit_code == 0, result.output
    assert 'ibrav2: the same crystal as ibrav0' in result.output
    assert Dataset.load(output).crystals.ids.tolist() == ['ibrav0', 'ibrav2', 'sno2']
    result = _invoke(FINISHED, '--output', output, '--join', '--json')
    assert json.loads(result.output)['rows'] == len(Dataset.load(output)) == 2


def test_nothing_is_written_without_a_row(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/OUTCAR').write_text('nothing')
    result = _invoke(tmp_path, '--output', tmp_path / 'x.npz')
    assert result.exit_code == 2
    assert 'unfinished' in result.output
    assert not (tmp_path / 'x.npz').exists()
    assert _invoke(FINISHED, '--output', tmp_path / 'x.npz', '--functional', 'PBEsoul').exit_code == 2
