"""Monitor of a training, on files of a job."""

import json
from pathlib import Path

import pytest
from aiida import orm

from aiida_goectp.calculations.monitors import monitor_training, read_remote, seen_by_monitors
from aiida_goectp.core.formats.training_log import TrainingLog

LOG = 'model.safetensors.log.jsonl'


def lines(maes, loss=0.5):
    place = {'member': 0, 'members': 1, 'epochs': 9, 'loss': loss, 'seconds': 1.0}
    best = [mae == min(maes[: epoch + 1]) for epoch, mae in enumerate(maes)]
    figures = [{'validation': {'ionic': {'mae': mae}}, 'best': good} for mae, good in zip(maes, best, strict=True)]
    return '\n'.join(json.dumps({**place, 'epoch': n, **item}) for n, item in enumerate(figures, start=1))


@pytest.fixture
def job(aiida_localhost, tmp_path):
    node = orm.CalcJobNode(computer=aiida_localhost)
    node.set_remote_workdir(str(tmp_path))
    return node


@pytest.fixture
def transport(aiida_localhost):
    with aiida_localhost.get_transport() as transport:
        yield transport


def test_job_without_a_log(job, transport):
    assert monitor_training(job, transport, patience=1) is None
    assert read_remote(job, transport, LOG) is None


@pytest.mark.parametrize(
    ('maes', 'loss', 'patience', 'words'),
    [
        ([3.0, 2.0, 1.0], 0.5, 1, None),
        ([3.0, 2.0, 2.5, 2.5], 0.5, 3, None),
        ([3.0, 2.0, 2.5, 2.5], 0.5, None, None),
        ([3.0, 2.0, 2.5, 2.5], 0.5, 2, 'since epoch 2'),
        ([3.0], None, None, 'epoch 1'),
    ],
)
def test_reasons_to_stop_a_training(job, transport, tmp_path, maes, loss, patience, words):
    Path(tmp_path / LOG).write_text(lines(maes, loss))
    result = monitor_training(job, transport, patience=patience)
    assert (result is None) == (words is None)
    # the parser reports the reason
    assert result is None or (words in result.message and result.parse and not result.override_exit_code)


def test_parser_evaluates_the_monitors_of_a_job(aiida_profile, job):
    from aiida.common.links import LinkType

    log = TrainingLog.parse(lines([3.0, 2.0, 2.5, 2.5]))
    assert seen_by_monitors(job, log) is None
    monitor = orm.Dict({'entry_point': 'goectp.training', 'kwargs': {'patience': 2}}).store()
    job.base.links.add_incoming(monitor, link_type=LinkType.INPUT_CALC, link_label='monitors__training')
    assert seen_by_monitors(job.store(), log).kind == 'plateau'
