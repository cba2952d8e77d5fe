"""Monitors: functions that look at a job while it runs, and stop it where going on is a waste."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from aiida import orm
from aiida.engine.processes.calcjobs.monitors import CalcJobMonitorResult
from aiida.transports import Transport

from aiida_goectp.core.formats.training_log import TrainingFailure, TrainingLog

__all__ = ('TRAINING', 'monitor_training', 'read_remote', 'seen_by_monitors')

TRAINING = 'goectp.training'
"""entry point of :func:`monitor_training`"""

_LOG = 'model.safetensors.log.jsonl'


def monitor_training(
    node: orm.CalcJobNode, transport: Transport, patience: int | None = None
) -> CalcJobMonitorResult | None:
    """Stop a training whose loss or errors are no finite numbers any more, or that learns nothing more.

    The parser says which of the two it was; the state of the training stays in the working folder.

    :param patience: epochs without a better validation; none stop it if None
    """
    content = read_remote(node, transport, _LOG)
    trouble = TrainingLog.parse(content).trouble(patience) if content is not None else None
    if trouble is None:
        return None
    return CalcJobMonitorResult(message=trouble.message, override_exit_code=False)


def seen_by_monitors(node: orm.CalcJobNode, log: TrainingLog) -> TrainingFailure | None:
    """Return for what the monitors of a job would stop it."""
    monitors = node.inputs.monitors if 'monitors' in node.inputs else {}
    for monitor in monitors.values():
        settings = monitor.get_dict()
        if settings.get('entry_point') != TRAINING:
            continue
        if (trouble := log.trouble(**settings.get('kwargs', {}))) is not None:
            return trouble
    return None


def read_remote(node: orm.CalcJobNode, transport: Transport, name: str) -> bytes | None:
    """Return a file of the working folder of a job, None if it is not there (yet).

    :param transport: open
    """
    folder = node.get_remote_workdir()
    if folder is None or not transport.isfile(f'{folder}/{name}'):
        return None
    with TemporaryDirectory() as local:
        transport.getfile(f'{folder}/{name}', str(Path(local) / 'copy'))
        return (Path(local) / 'copy').read_bytes()
