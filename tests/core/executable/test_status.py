"""Status file, codes of errors, and progress."""

from __future__ import annotations

import json
import threading

import pytest

from aiida_goectp.core.executable import progress
from aiida_goectp.core.executable.progress import EpochProgress, Progress
from aiida_goectp.core.executable.status import EXIT_STATUS, ExecutableError, Status, classify, report_error
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.learning.errors import (
    DeviceOutOfMemoryError,
    NoDeviceError,
    TrainingDiverged,
    TrainingInputError,
    TrainingInterrupted,
)


@pytest.mark.parametrize(
    ('error', 'code', 'status'),
    [
        (ExecutableError('bad_model', 'x'), 'bad_model', 2),
        (ExecutableError('interrupted', 'x'), 'interrupted', 75),
        (FormatError('x'), 'bad_input', 2),
        (FileNotFoundError(2, 'x', 'file'), 'bad_input', 2),
        (OSError(22, 'x'), 'internal', 1),
        (NoDeviceError('x'), 'no_device', 3),
        (DeviceOutOfMemoryError('x'), 'out_of_memory', 4),
        (MemoryError(), 'out_of_memory', 4),
        (TrainingInterrupted('x'), 'interrupted', 75),
        (TrainingDiverged('x'), 'diverged', 5),
        (TrainingInputError('x'), 'bad_input', 2),
        (ValueError('x'), 'internal', 1),
    ],
)
def test_codes_and_exit_statuses(error, code, status, capsys):
    known = classify(error)
    assert known.code == code
    assert EXIT_STATUS[code] == status
    with pytest.raises(SystemExit) as exit:
        report_error(known)
    assert exit.value.code == status
    assert capsys.readouterr().err == f'goectp: {code}: {known}\n'


def test_readers_never_see_an_incomplete_file(tmp_path):
    status = Status(tmp_path / 'out.status.json')
    status.update(rows_done=0)
    errors, done = [], threading.Event()

    def read():
        while not done.is_set():
            try:
                json.loads((tmp_path / 'out.status.json').read_text())
            except ValueError as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for row in range(300):
        status.update(rows_done=row, note='x' * 20_000)
    done.set()
    reader.join()
    assert not errors


def test_an_error_is_recorded(tmp_path):
    status = Status(tmp_path / 's.json')
    status.fail('out_of_memory', 'full')
    assert json.loads((tmp_path / 's.json').read_text()) == {
        'version': 1,
        'state': 'failed',
        'error': {'code': 'out_of_memory', 'message': 'full'},
    }
    status.fail('interrupted', 'later')
    assert json.loads((tmp_path / 's.json').read_text())['state'] == 'interrupted'


def test_nothing_is_written_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Status(None).update(rows_done=3)
    assert not list(tmp_path.iterdir())


def test_progress_of_a_prediction_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, '_SECONDS_BETWEEN_LINES', 0.0)
    with Progress(10, start=4) as shown:
        assert shown.update(8, 1) > 0
    line = capsys.readouterr().err
    assert line.startswith('8 of 10 ')
    assert line.endswith('1 failed\n')
    with Progress(10, quiet=True) as shown:
        shown.update(8, 1)
    assert capsys.readouterr().err == ''


def test_progress_of_a_training_without_a_terminal(capsys):
    with EpochProgress(6) as shown:
        shown.update(2, 'epoch 2/6', 'loss 0.1')
    assert capsys.readouterr().out == 'epoch 2/6: loss 0.1\n'
    with EpochProgress(6, quiet=True) as shown:
        shown.update(2, 'epoch 2/6', 'loss 0.1')
    assert capsys.readouterr() == ('', '')


def test_progress_of_a_training_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv('FORCE_COLOR', '1')  # rich takes this for a terminal
    with EpochProgress(6) as shown:
        shown.update(6, 'epoch 6/6', 'loss 0.1')
    output = capsys.readouterr()
    assert output.out == ''
    assert '6/6' in output.err
    assert 'loss 0.1' in output.err
