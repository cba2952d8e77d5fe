"""Monitors of running jobs."""

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
    """Stop a training whose loss or validation error is not finite, or that has reached a plateau.

    The parser reports which; the state of the training is kept in the working folder.

    :param patience: number of epochs without a lower validation error after which the job is stopped; None for no limit
    """
    content = read_remote(node, transport, _LOG)
    failure = TrainingLog.parse(content).failure(patience) if content is not None else None
    if failure is None:
        return None
    return CalcJobMonitorResult(message=failure.message, override_exit_code=False)


def seen_by_monitors(node: orm.CalcJobNode, log: TrainingLog) -> TrainingFailure | None:
    """Return the reason for which the monitors of a job stop it, None without one."""
    monitors = node.inputs.monitors if 'monitors' in node.inputs else {}
    for monitor in monitors.values():
        settings = monitor.get_dict()
        if settings.get('entry_point') != TRAINING:
            continue
        if (failure := log.failure(**settings.get('kwargs', {}))) is not None:
            return failure
    return None


def read_remote(node: orm.CalcJobNode, transport: Transport, name: str) -> bytes | None:
    """Return a file of the working folder of a job, None if it does not exist yet.

    :param transport: open
    """
    folder = node.get_remote_workdir()
    if folder is None or not transport.isfile(f'{folder}/{name}'):
        return None
    with TemporaryDirectory() as local:
        transport.getfile(f'{folder}/{name}', str(Path(local) / 'copy'))
        return (Path(local) / 'copy').read_bytes()
