"""``goectp prepare``, and predictions that read or keep a preparation."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.network import prepared as formats
from aiida_goectp.core.network.prepared import PreparedCrystals
from tests import tiny


@pytest.fixture
def mixed(tmp_path):
    """Valid and invalid rows, saved as crystals.npz."""
    crystals, *_ = tiny.with_bad_rows()
    crystals.save(tmp_path / 'crystals.npz')
    return crystals


def test_predictions_are_equal_with_and_without_preparation(goectp, predict, mixed, status, tmp_path):
    plain = predict()
    goectp('prepare', 'crystals.npz', '--output', 'prepared.npz')
    fields = status('prepared.npz')
    assert (fields['state'], fields['rows_done'], fields['rows_failed']) == ('finished', len(mixed), 4)
    assert not (tmp_path / 'prepared.npz.partial').exists()
    table = predict('--prepared', 'prepared.npz', output='other.npz')
    assert table.content_hash == plain.content_hash
    assert (table.errors == plain.errors).all()
    for name in ('keep', 'read'):  # the first command writes the file, the second one reads it
        kept = predict('--keep-prepared', 'kept.npz', output=f'{name}.npz')
        assert kept.content_hash == plain.content_hash
        assert (tmp_path / 'kept.npz').read_bytes() == (tmp_path / 'prepared.npz').read_bytes()


def test_a_prediction_that_is_resumed_reads_the_remaining_rows(goectp, predict, mixed, tmp_path):
    goectp('prepare', 'crystals.npz', '--output', 'prepared.npz')
    whole = predict('--batch-atoms', 8)
    arguments = ['--batch-atoms', 8, '--prepared', 'prepared.npz']
    while predict(*arguments, '--time-limit', 0, output='resumed.npz', status=None) is None:
        continue
    assert Predictions.load(tmp_path / 'resumed.npz').content_hash == whole.content_hash


def test_a_killed_preparation_is_resumed(goectp, start, tmp_path, monkeypatch):
    tiny.some_crystals(120).save(tmp_path / 'crystals.npz')
    goectp('prepare', 'crystals.npz', '--output', 'whole.npz')
    monkeypatch.setattr('aiida_goectp.core.executable.kept_preparation._PIECE_ROWS', 10)
    monkeypatch.setattr('aiida_goectp.core.learning.batches._PIECE_ATOMS', 100)
    goectp('prepare', 'crystals.npz', '--output', 'prepared.npz', '--time-limit', 0, status=75)
    kept = (tmp_path / 'prepared.npz.partial').stat().st_size
    assert kept > 1000
    process = start('prepare', 'crystals.npz', '--output', 'killed.npz', fault='kill_after=1')
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    for name in ('prepared.npz', 'killed.npz'):
        goectp('prepare', 'crystals.npz', '--output', name)
        one, other = (PreparedCrystals.load(tmp_path / file) for file in (name, 'whole.npz'))
        assert one.content_hash == other.content_hash


def test_a_prediction_that_keeps_is_resumed_without_its_partial_file(predict, mixed, tmp_path):
    arguments = ['--batch-atoms', 8, '--keep-prepared', 'prepared.npz']
    assert predict(*arguments, '--time-limit', 0, status=75) is None
    (tmp_path / 'prepared.npz.partial').unlink()
    resumed = predict(*arguments)
    assert (PreparedCrystals.load(tmp_path / 'prepared.npz').errors == resumed.errors).all()


def test_preparation_in_processes(goectp, tmp_path, monkeypatch):
    tiny.some_crystals(40).save(tmp_path / 'crystals.npz')
    goectp('prepare', 'crystals.npz', '--output', 'one.npz')
    monkeypatch.setattr('aiida_goectp.core.learning.workers._CRYSTALS_A_PROCESS', 10)
    monkeypatch.setattr('aiida_goectp.core.learning.batches._PIECE_ATOMS', 30)
    goectp('prepare', 'crystals.npz', '--output', 'two.npz', '--processes', 2)
    assert PreparedCrystals.load(tmp_path / 'two.npz').content_hash == PreparedCrystals.load('one.npz').content_hash


def other_crystals(folder, monkeypatch):
    tiny.some_crystals(24, seed=1).save(folder / 'crystals.npz')


def fewer_crystals(folder, monkeypatch):
    tiny.some_crystals(23).save(folder / 'crystals.npz')


def last_digit(folder, monkeypatch):
    rows = list(tiny.some_crystals())
    rows[5] = rows[5]._replace(lattice=np.nextafter(rows[5].lattice, 100))
    tiny.CrystalSet.from_crystals(rows).save(folder / 'crystals.npz')


def other_preparation(folder, monkeypatch):
    monkeypatch.setattr(formats, 'PREPARATION', 0)


def other_package(folder, monkeypatch):
    monkeypatch.setattr(formats, 'version', lambda name: '0.0')


def another_file(folder, monkeypatch):
    (folder / 'prepared.npz').write_bytes((folder / 'crystals.npz').read_bytes())


def missing(folder, monkeypatch):
    (folder / 'prepared.npz').unlink()


@pytest.mark.parametrize(
    'change',
    [other_crystals, fewer_crystals, last_digit, other_preparation, other_package, another_file, missing],
)
def test_a_preparation_that_does_not_fit(goectp, predict, crystals, status, tmp_path, monkeypatch, change):
    goectp('prepare', 'crystals.npz', '--output', 'prepared.npz')
    change(tmp_path, monkeypatch)
    predict('--prepared', 'prepared.npz', status=2)
    assert status()['error']['code'] == 'bad_input'
    assert 'prepared.npz' in status()['error']['message']
    plain = predict(output='plain.npz')  # an option that keeps makes a new one instead
    assert predict('--keep-prepared', 'prepared.npz').content_hash == plain.content_hash
    assert predict('--prepared', 'prepared.npz').content_hash == plain.content_hash


def test_a_model_without_symmetry(goectp, crystals, status, tmp_path):
    model = tiny.write_model(tmp_path / 'published.safetensors', preset='published', targets=['total'])
    goectp('prepare', 'crystals.npz', '--output', 'prepared.npz')
    arguments = ['predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--device', 'cpu']
    goectp(*arguments, '--prepared', 'prepared.npz', status=2)
    assert status()['error']['code'] == 'bad_input'
    assert 'none.npz' in goectp(*arguments, '--keep-prepared', 'none.npz').output
    assert not (tmp_path / 'none.npz').exists()


def test_options_that_contradict_each_other(goectp, crystals):
    goectp('predict', 'crystals.npz', '--prepared', 'a.npz', '--keep-prepared', 'b.npz', status=2)
    goectp('prepare', 'crystals.npz', '--output', 'crystals.npz', status=2)
