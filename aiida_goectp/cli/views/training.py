"""How a training is getting on, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_goectp.calculations.monitors import read_remote
from aiida_goectp.calculations.train import TrainCalculation

__all__ = ('training_line',)


def training_line(node: orm.ProcessNode) -> str:
    """Return epoch, loss, best validation and time left of a job, of a work chain, or of each member of a committee.

    A running job is looked at where it runs.
    """
    if node.process_label == 'TrainCommitteeWorkChain':
        return _committee(node)
    jobs = [node] if isinstance(node, orm.CalcJobNode) else sorted(node.called, key=lambda job: job.ctime)
    for job in reversed(jobs):  # a job that has just begun says nothing yet
        status = _status(job)
        if status.get('epoch'):
            return _words(status, node.is_terminated)
    return 'no epoch done yet' if not node.is_terminated else ''


def _committee(node: orm.ProcessNode) -> str:
    members = sorted(
        (child for child in node.called if child.process_label == 'TrainWorkChain'), key=lambda child: child.ctime
    )
    done = sum(1 for member in members if member.is_terminated)
    parts = [f'{done} members trained']
    parts += [f'member {place}: {training_line(item)}' for place, item in enumerate(members) if not item.is_terminated]
    return '; '.join(parts)


def _words(status: Mapping[str, Any], ended: bool) -> str:
    place = f'epoch {status["epoch"]} of {status["epochs"]}'
    if status.get('members', 1) > 1:
        place = f'member {status["member"] + 1} of {status["members"]}, {place}'
    parts = [place]
    if status.get('loss') is not None:
        parts.append(f'loss {status["loss"]:.4g}')
    if status.get('best_validation'):
        figures = ' '.join(f'{name} {mae:.3g}' for name, mae in status['best_validation'].items() if mae is not None)
        parts.append(f'best validation MAE {figures} (epoch {status["best_epoch"]})')
    if not ended and status.get('seconds_left') is not None:
        seconds = int(status['seconds_left'])
        parts.append(f'{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left')
    return ', '.join(parts)


def _status(job: Any) -> dict[str, Any]:
    """Return what a job says of itself, from its outputs or, while it runs, from its working folder."""
    if 'output_parameters' in job.outputs:
        return dict(job.outputs.output_parameters.get_dict())
    if job.is_terminated or job.get_remote_workdir() is None:
        return {}
    try:
        with job.get_authinfo().get_transport() as transport:
            content = read_remote(job, transport, TrainCalculation.STATUS)
        status = json.loads(content or b'{}')
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}
