"""The status file, and which error gets which code."""

from __future__ import annotations

import json
import threading

import pytest

from aiida_goectp.core.executable.progress import EpochProgress, Progress
from aiida_goectp.core.executable.status import EXIT_STATUS, ExecutableError, Status, classify, report_error
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.learning.device import MemoryShortage, NoDeviceError
from aiida_goectp.core.learning.train import Diverged, Interrupted


@pytest.mark.parametrize(
    ('error', 'code', 'status'),
    [
        (ExecutableError('bad_model', 'x'), 'bad_model', 2),
        (ExecutableError('interrupted', 'x'), 'interrupted', 75),
        (FormatError('x'), 'bad_input', 2),
        (FileNotFoundError(2, 'x', 'file'), 'bad_input', 2),
        (NoDeviceError('x'), 'no_device', 3),
        (MemoryShortage('x'), 'out_of_memory', 4),
        (Interrupted('x'), 'interrupted', 75),
        (Diverged('x'), 'diverged', 5),
        (ValueError('x'), 'internal', 1),
    ],
)
def test_codes(error, code, status, capsys):
    known = classify(error)
    assert known.code == code
    assert EXIT_STATUS[code] == status
    with pytest.raises(SystemExit) as left:
        report_error(known)
    assert left.value.code == status
    assert capsys.readouterr().err == f'goectp: {code}: {known}\n'


def test_whoever_watches_reads_a_whole_file(tmp_path):
    status = Status(tmp_path / 'out.status.json')
    status.update(rows_done=0)
    torn, done = [], threading.Event()

    def watch():
        while not done.is_set():
            try:
                json.loads((tmp_path / 'out.status.json').read_text())
            except ValueError as error:
                torn.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for row in range(300):
        status.update(rows_done=row, note='x' * 20_000)
    done.set()
    watcher.join()
    assert not torn


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


def test_progress_is_a_plain_line_now_and_then(capsys, monkeypatch):
    from aiida_goectp.core.executable import progress

    monkeypatch.setattr(progress, '_SECONDS_BETWEEN_LINES', 0.0)
    with Progress(10, start=4) as shown:
        assert shown.update(8, 1) > 0
    assert '8 of 10 crystals, ' in (said := capsys.readouterr().err)
    assert said.endswith('1 failed\n')
    with Progress(10, quiet=True) as shown:
        shown.update(8, 1)
    assert capsys.readouterr().err == ''


def test_epochs_are_a_plain_line_each(capsys):
    with EpochProgress(6) as shown:
        shown.update(2, 'epoch 2/6', 'loss 0.1')
    assert capsys.readouterr().out == 'epoch 2/6: loss 0.1\n'
    with EpochProgress(6, quiet=True) as shown:
        shown.update(2, 'epoch 2/6', 'loss 0.1')
    assert capsys.readouterr() == ('', '')


def test_epochs_are_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv('FORCE_COLOR', '1')  # rich takes this for a terminal
    with EpochProgress(6) as shown:
        shown.update(6, 'epoch 6/6', 'loss 0.1')
    said = capsys.readouterr()
    assert said.out == ''
    assert '6/6' in said.err
    assert 'loss 0.1' in said.err
