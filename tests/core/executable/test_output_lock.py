"""An output that is an input, or that another run writes, is refused; the lock of a killed run is not in the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pytest

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.executable.output_lock import locked_output
from tests import tiny


def same(path):
    return path


def relative(path):
    return os.path.relpath(path.parent / '..' / path.parent.name / path.name)


def symlink(path):
    (path.parent / 'symlink.npz').symlink_to(path)
    return path.parent / 'symlink.npz'


def hard_link(path):
    (path.parent / 'link.npz').hardlink_to(path)
    return path.parent / 'link.npz'


@pytest.mark.parametrize('make', [same, relative, symlink, hard_link])
def test_an_output_that_is_the_input(goectp, model, crystals, tmp_path, make):
    before = (tmp_path / 'crystals.npz').read_bytes()
    output = make(tmp_path / 'crystals.npz')
    result = goectp('predict', 'crystals.npz', '--model', model, '--output', output, '--device', 'cpu', status=2)
    assert 'goectp: bad_input: ' in result.output
    assert 'crystals.npz' in result.output
    assert (tmp_path / 'crystals.npz').read_bytes() == before
    assert not list(tmp_path.glob('*.json'))


def test_other_files_of_a_run_that_are_an_input(goectp, model, crystals, tmp_path):
    shutil.copy(tmp_path / 'crystals.npz', tmp_path / 'out.npz.partial')
    result = goectp('predict', 'out.npz.partial', '--model', model, '--output', 'out.npz', status=2)
    assert 'out.npz.partial is the input' in result.output
    shutil.copy(model, tmp_path / 'model.npz')
    result = goectp('predict', 'crystals.npz', '--model', 'model.npz', '--output', 'model.npz', status=2)
    assert 'model.npz is the input' in result.output
    (tmp_path / 'folder').mkdir()
    shutil.copy(tmp_path / 'crystals.npz', tmp_path / 'folder' / 'some.npz')
    result = goectp('predict', 'folder', '--model', model, '--output', 'folder/some.npz', status=2)
    assert 'folder/some.npz' in result.output
    for name in ('POSCAR', 'some.cif.gz', 'pw.in'):  # no suffix of a structure file
        (tmp_path / 'folder' / name).write_text('an input')
        goectp('predict', 'folder', '--model', model, '--output', f'folder/{name}', status=2)
        assert (tmp_path / 'folder' / name).read_text() == 'an input'


def test_an_output_within_the_input_folder(goectp, model, crystals, tmp_path):
    """Status, lock and partial file of the run are no structures, and do not prevent that it is resumed."""
    folder = tmp_path / 'folder'
    folder.mkdir()
    shutil.copy(tmp_path / 'crystals.npz', folder / 'some.npz')
    command = ('predict', 'folder', '--model', model, '--output', 'folder/POSCAR-out', '--device', 'cpu')
    goectp(*command, '--time-limit', '0', '--batch-atoms', '6', status=75)
    assert (folder / 'POSCAR-out.partial').is_file()
    goectp(*command, '--batch-atoms', '6')
    table = Predictions.load(folder / 'POSCAR-out')
    assert table.ids.tolist() == crystals.ids.tolist()
    assert not table.failed.any()


def test_inputs_of_training_and_joining(goectp, model, tmp_path):
    tiny.some_dataset(12).save(tmp_path / 'data.npz')
    (tmp_path / 'settings.json').write_text('{}')
    assert 'is the input' in goectp('train', 'data.npz', '--output', 'data.npz', status=2).output
    settings = ['--settings', 'settings.json', '--output', 'settings.json']
    assert 'is the input' in goectp('train', 'data.npz', *settings, status=2).output
    assert 'is the input' in goectp('train', 'data.npz', '--initial', model, '--output', model, status=2).output
    joined = ['--dataset', 'data.npz', '--split', 'any', '--output', model]
    assert 'is the input' in goectp('join', model, *joined, status=2).output


def test_a_second_run_on_one_output(goectp, start, model, crystals, status, tmp_path):
    arguments = ['predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--device', 'cpu']
    with locked_output(tmp_path / 'out.npz', []):
        process = start(*arguments)
        _, message = process.communicate(timeout=120)
        assert process.returncode == 2
        assert f'process {os.getpid()}' in message
        assert [path.name for path in tmp_path.iterdir() if 'out.npz' in path.name] == ['out.npz.lock']
    process = start(*arguments, '--batch-atoms', 2, fault='kill_after=4')
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / 'out.npz.lock').exists()
    goectp(*arguments)
    assert status()['state'] == 'finished'
    assert not (tmp_path / 'out.npz.lock').exists()


def holder_of(path):
    """Return the process that holds a lock, once it has written its command to the file."""
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return json.loads(path.read_text())['run']


def test_a_job_that_was_submitted_twice(start, model, crystals, status, tmp_path):
    """The second run waits and computes nothing: it has no fault, the first one a pause after each batch."""
    arguments = ['predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--wait', '--batch-atoms', '6']
    first = start(*arguments, fault='slow=0.3')
    holder_of(tmp_path / 'out.npz.lock')
    second = start(*arguments)
    output, message = second.communicate(timeout=120)
    assert second.returncode == 0, message
    assert 'already written' in output
    assert first.wait(60) == 0
    assert status()['state'] == 'finished'
    modified = (tmp_path / 'out.npz').stat().st_mtime_ns
    assert modified <= (tmp_path / 'out.npz.status.json').stat().st_mtime_ns
    assert Predictions.load(tmp_path / 'out.npz').ids.tolist() == crystals.ids.tolist()
    assert not (tmp_path / 'out.npz.lock').exists()


def test_a_job_that_is_submitted_again_after_its_end(start, model, crystals, tmp_path):
    """Nothing is computed, unless command, inputs or output have changed, or another run wrote the output."""
    shutil.copy(model, tmp_path / 'model.safetensors')
    arguments = ['predict', 'crystals.npz', '--model', 'model.safetensors', '--output', 'out.npz']

    def computes(*further):
        before = (tmp_path / 'out.npz').stat().st_ino if (tmp_path / 'out.npz').exists() else None
        process = start(*arguments, *further)
        _, message = process.communicate(timeout=120)
        assert process.returncode == 0, message
        assert Predictions.load(tmp_path / 'out.npz').ids.tolist() == crystals.ids.tolist()
        assert not (tmp_path / 'out.npz.lock').exists()
        return (tmp_path / 'out.npz').stat().st_ino != before

    assert computes('--wait')
    assert not computes('--wait')
    assert computes('--wait', '--device', 'cpu')
    assert computes('--wait')
    assert computes()
    assert computes('--wait')
    os.utime(tmp_path / 'model.safetensors', (0, 0))  # replaced by an older file
    assert computes('--wait')
    (tmp_path / 'out.npz').unlink()
    assert computes('--wait')
    assert not computes('--wait')


def test_a_training_that_is_submitted_again_after_its_end(start, status, tmp_path):
    tiny.some_dataset(12).save(tmp_path / 'data.npz')
    small = ['--preset', 'goectp', '--width', '8', '--layers', '1', '--epochs', '1', '--device', 'cpu']
    arguments = ['train', 'data.npz', '--output', 'model.safetensors', *small, '--wait']
    written = []
    for _ in range(2):
        process = start(*arguments)
        _, message = process.communicate(timeout=120)
        assert process.returncode == 0, message
        written.append((tmp_path / 'model.safetensors').stat().st_ino)
    assert written[0] == written[1]
    assert (status('model.safetensors')['state'], status('model.safetensors')['epochs_done']) == ('finished', 1)


def test_the_second_of_two_jobs_continues_a_killed_first_one(start, model, crystals, status, tmp_path):
    arguments = ['predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--wait', '--batch-atoms', '2']
    first = start(*arguments, fault='slow=0.3,kill_after=4')
    holder_of(tmp_path / 'out.npz.lock')
    second = start(*arguments)
    _, message = second.communicate(timeout=120)
    assert (first.wait(60), second.returncode) == (-signal.SIGKILL, 0), message
    assert status()['state'] == 'finished'
    assert not Predictions.load(tmp_path / 'out.npz').failed.any()


def test_waiting_for_another_command(goectp, start, model, crystals, tmp_path):
    """Its result is written after the end of the other run, unless the time limit comes first."""
    arguments = ['predict', 'crystals.npz', '--model', model, '--output', 'out.npz', '--batch-atoms', '6']
    first = start(*arguments, fault='slow=0.3')
    holder = holder_of(tmp_path / 'out.npz.lock')
    assert holder in goectp(*arguments, '--wait', '--time-limit', '0', status=75).output
    assert first.poll() is None
    output = goectp(*arguments, '--wait', '--device', 'cpu').output
    assert first.wait(60) == 0
    assert holder not in output
    assert Predictions.load(tmp_path / 'out.npz').ids.tolist() == crystals.ids.tolist()


def test_an_input_is_protected_in_any_process(goectp, model, crystals, monkeypatch, tmp_path):
    """``RANK`` is set by launchers of parallel programs as well."""
    monkeypatch.setenv('RANK', '1')
    before = (tmp_path / 'crystals.npz').read_bytes()
    goectp('predict', 'crystals.npz', '--model', model, '--output', 'crystals.npz', status=2)
    assert (tmp_path / 'crystals.npz').read_bytes() == before


def test_two_runs_read_one_preparation(goectp, model, crystals, tmp_path):
    """It is locked while it is written only; a run that has to write it names the option."""
    arguments = ['predict', 'crystals.npz', '--model', model, '--device', 'cpu', '--keep-prepared', 'kept.npz']
    with locked_output(tmp_path / 'kept.npz', []):
        assert '--keep-prepared' in goectp(*arguments, '--output', 'a.npz', status=2).output
        goectp(*arguments, '--output', 'a.npz', '--wait', '--time-limit', '0', status=75)
    goectp(*arguments, '--output', 'a.npz')
    with locked_output(tmp_path / 'kept.npz', []):
        goectp(*arguments, '--output', 'b.npz')
    tiny.same(Predictions.load(tmp_path / 'a.npz'), Predictions.load(tmp_path / 'b.npz'))


def test_no_lock_without_an_output(tmp_path):
    with locked_output(None, [tmp_path]):
        assert not list(tmp_path.iterdir())
