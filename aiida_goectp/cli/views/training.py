"""Status line of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_goectp.calculations.monitors import read_remote
from aiida_goectp.calculations.train import TrainCalculation
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.report.words import counted, duration

__all__ = ('training_line',)


def training_line(node: orm.ProcessNode) -> str:
    """Return epoch, loss, best validation error and time left of a job or work chain, of each member of a committee.

    The status file of a running job is read from its working folder.
    """
    if node.process_label == 'TrainCommitteeWorkChain':
        return _committee_line(node)
    jobs = [node] if isinstance(node, orm.CalcJobNode) else sorted(node.called, key=lambda job: job.ctime)
    for job in reversed(jobs):  # the last job may not have written its status file yet
        status = _status(job)
        if status.get('epoch'):
            return _status_text(status, node.is_terminated)
    return '' if node.is_terminated else 'no epoch finished'


def _committee_line(node: orm.ProcessNode) -> str:
    members = sorted(
        (child for child in node.called if child.process_label == 'TrainWorkChain'), key=lambda child: child.ctime
    )
    parts = [f'{counted(sum(member.is_terminated for member in members), "member")} trained']
    parts += [f'member {place}: {training_line(item)}' for place, item in enumerate(members) if not item.is_terminated]
    return '; '.join(parts)


def _status_text(status: Mapping[str, Any], terminated: bool) -> str:
    epoch = f'epoch {status["epoch"]} of {status["epochs"]}'
    if status.get('members', 1) > 1:
        epoch = f'member {status["member"] + 1} of {status["members"]}, {epoch}'
    parts = [epoch]
    if status.get('loss') is not None:
        parts.append(f'loss {status["loss"]:.4g}')
    if status.get('best_validation'):
        errors = ' '.join(f'{name} {mae:.3g}' for name, mae in status['best_validation'].items() if mae is not None)
        parts.append(f'best validation MAE {errors} (epoch {status["best_epoch"]})')
    if not terminated and status.get('seconds_left') is not None:
        parts.append(f'{duration(status["seconds_left"])} left')
    return ', '.join(parts)


def _status(job: Any) -> dict[str, Any]:
    """Return the status of a job from its outputs or, while it runs, from its working folder; empty without one."""
    if 'output_parameters' in job.outputs:
        return dict(job.outputs.output_parameters.get_dict())
    if job.is_terminated or job.get_remote_workdir() is None:
        return {}
    try:
        with job.get_authinfo().get_transport() as transport:
            content = read_remote(job, transport, TrainCalculation.STATUS)
        status = parse_json(content or b'{}')
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}
