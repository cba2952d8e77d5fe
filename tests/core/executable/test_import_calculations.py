"""``goectp import-calculations``."""

from __future__ import annotations

import json
import shutil

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


def test_a_calculation_is_not_overwritten(tmp_path):
    shutil.copytree(FINISHED, tmp_path / 'runs')
    files = [file for file in (tmp_path / 'runs').rglob('*') if file.is_file()]
    before = [file.read_bytes() for file in files]
    (tmp_path / 'link.npz').symlink_to(files[0])
    for output in (files[-1], tmp_path / 'link.npz'):
        assert _invoke(tmp_path / 'runs', '--output', output).exit_code == 2
    assert [file.read_bytes() for file in files] == before
    for _ in range(2):  # a dataset of an earlier run is replaced
        assert _invoke(tmp_path / 'runs', '--output', tmp_path / 'runs/dataset.npz').exit_code == 0


def test_functional_that_was_given_is_told(tmp_path):
    shutil.copy(FINISHED / 'sno2/vasprun.xml.gz', tmp_path)
    (tmp_path / 'INCAR').write_text('LUSE_VDW = T\n')
    output = tmp_path / 'dataset.npz'
    result = _invoke(tmp_path, '--output', output, '--functional', 'PBE')
    assert result.exit_code == 2
    assert 'unnamed_functional' in result.output
    result = _invoke(tmp_path, '--output', output, '--unnamed-functional', 'optB88-vdW')
    assert 'optB88-vdW (given; in the files: unnamed (luse_vdw))' in result.output
    assert Dataset.load(output).functional.tolist() == ['optB88-vdW']


def test_nothing_is_written_without_a_row(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/OUTCAR').write_text('nothing')
    result = _invoke(tmp_path, '--output', tmp_path / 'x.npz')
    assert result.exit_code == 2
    assert 'unfinished' in result.output
    assert not (tmp_path / 'x.npz').exists()
    assert _invoke(FINISHED, '--output', tmp_path / 'x.npz', '--functional', 'PBEsoul').exit_code == 2
