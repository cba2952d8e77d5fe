"""Training log: incomplete and duplicate lines, best epoch, plateau and divergence."""

import json

import numpy as np
import pytest

from aiida_goectp.core.formats.training_log import TrainingLog, append_line


def line(epoch, mae=1.0, best=True, loss=0.5, member=0, **more):
    validation = {'electronic': {'rows': 3, 'mae': mae}}
    place = {'member': member, 'members': 2, 'epoch': epoch, 'epochs': 9}
    figures = {'loss': loss, 'learning_rate': 1e-3, 'seconds': 2.0}
    return {**place, **figures, 'validation': validation, 'best': best, **more}


def log(*lines):
    return TrainingLog.parse('\n'.join(map(json.dumps, lines)))


def test_log_of_a_killed_and_a_resumed_run(tmp_path):
    path = tmp_path / 'log.jsonl'
    for entry in (line(1), line(2, loss=0.7)):
        append_line(path, entry)
    with path.open('a') as stream:
        stream.write('{"member": 0, "epo')
    assert [entry['epoch'] for entry in TrainingLog.read(path).lines] == [1, 2]
    append_line(path, line(2, loss=0.4))
    found = TrainingLog.read(path)
    assert [(entry['epoch'], entry['loss']) for entry in found.lines] == [(1, 0.5), (2, 0.4)]
    assert found.last['epoch'] == 2


def test_empty_log(tmp_path):
    empty = TrainingLog.read(tmp_path / 'none')
    assert (len(empty), empty.last, empty.best, empty.failure(1)) == (0, None, None, None)


def test_best_epoch_and_plateau_of_the_last_member():
    found = log(line(1), line(2, 0.5), line(3, 0.8, best=False), line(4, 0.9, best=False))
    assert (found.best['epoch'], found.since_best) == (2, 2)
    assert found.failure(3) is None
    assert found.failure() is None
    assert found.failure(2).kind == 'plateau'
    both = log(*found.lines, line(1, 2.0, member=1))
    assert (both.best['member'], both.since_best, both.failure(1)) == (1, 0, None)


def test_without_validation_there_is_no_plateau():
    found = log(*[line(epoch, best=False, validation={}) for epoch in range(1, 9)])
    assert found.best is None
    assert found.failure(2) is None


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), None])
def test_divergence(bad, tmp_path):
    path = tmp_path / 'log.jsonl'
    for entry in (line(1), line(2, mae=bad, best=False), line(3, loss=bad)):
        append_line(path, entry)
    assert 'NaN' not in path.read_text()
    assert 'Infinity' not in path.read_text()
    found = TrainingLog.read(path)
    failure = found.failure()
    assert failure.kind == 'diverged'
    assert 'epoch 3' in failure.message
    failure = TrainingLog(found.lines[:2]).failure()
    assert failure.kind == 'diverged'
    assert 'electronic' in failure.message
    assert 'epoch 2' in failure.message


def test_a_target_without_rows_is_no_failure():
    unknown = {'electronic': {'rows': 3, 'mae': 1.0}, 'ionic': {'rows': 0, 'mae': None}}
    assert log(line(1, validation=unknown), line(2, validation=unknown)).failure() is None


def test_columns():
    columns = log(line(1), line(2, mae=None, best=False), line(1, member=1)).columns()
    assert columns['member'].tolist() == [0, 0, 1]
    assert columns['epoch'].tolist() == [1, 2, 1]
    assert columns['best'].tolist() == [True, False, True]
    np.testing.assert_array_equal(columns['validation_electronic_mae'], [1, np.nan, 1])
    assert columns['validation_electronic_rows'].tolist() == [3, 3, 3]
    assert all(len(column) == 3 for column in columns.values())
