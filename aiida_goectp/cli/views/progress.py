"""Status line of a process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiida import engine, orm
from aiida.cmdline.utils.log import CliHandler
from aiida.common import timezone
from aiida.common.exceptions import ConfigurationError
from aiida.engine.daemon.client import get_daemon_client
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from plumpy.exceptions import KilledError

from aiida_goectp.calculations.predict import PredictCalculation, shard_rows
from aiida_goectp.cli import echo
from aiida_goectp.cli.queries import active_processes, is_campaign
from aiida_goectp.cli.views.campaign_status import campaign_status
from aiida_goectp.cli.views.training import training_line
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.report.words import counted, duration
from aiida_goectp.workflows.screen import ScreenWorkChain

__all__ = ('run_and_report', 'status_line')

_TRAININGS = ('TrainCalculation', 'TrainWorkChain', 'TrainCommitteeWorkChain')

_INTERVAL = 10.0
"""seconds between two status lines"""
_LONG = 3600.0
"""seconds without a change that are mentioned; longer than any usual interval between two queries of a scheduler"""
_NAMED = 5
"""paused processes that are named; of more, all of the profile are continued"""


def run_and_report(builder: Any) -> orm.ProcessNode:
    """Run a process in this interpreter and print its status line whenever it changes.

    A signal ends the program with a message about the processes that are left.

    :raises ValueError: invalid inputs
    """
    # as `engine.run` does: without a communicator, since a profile may have no broker
    runner = get_manager().create_runner(communicator=None)
    process = instantiate_process(runner, builder)
    printed = ''
    timer: Any = None

    def report() -> None:
        nonlocal printed, timer
        line = status_line(process.node, here=True)
        status = line.rpartition(', for ')[0]  # without the time
        if status != printed:
            echo.echo_report(line)
        printed = status
        timer = runner.loop.call_later(_INTERVAL, report)

    timer = runner.loop.call_later(_INTERVAL, report)
    try:
        with _reports_to_stderr():
            _, node = engine.run_get_node(process)
    except KilledError:
        echo.echo_critical(_interrupted(process.node))
    finally:
        timer.cancel()  # the loop is that of all runners of this interpreter
    return node


def _interrupted(node: orm.ProcessNode) -> str:
    """Return what a signal left of a process that ran in this interpreter: AiiDA kills the outermost process only."""
    left = [child.pk for child in node.called_descendants if not child.is_terminated]
    text = f'interrupted; process {node.pk} was killed'
    if not left:
        return text
    return (
        f'{text}, and of those that it called have not ended: {" ".join(map(str, left))}. Their jobs may still run. '
        'After `verdi process repair` and `verdi daemon start` the daemon finishes them, and '
        '`verdi process kill PK` can end them'
    )


@contextmanager
def _reports_to_stderr() -> Iterator[None]:
    """Let the handlers of AiiDA print the log of processes to standard error, which keeps standard output for data."""

    def mark(record: logging.LogRecord) -> bool:
        record.err = getattr(record, 'err', True)
        return True

    handlers = [handler for handler in logging.getLogger('aiida').handlers if isinstance(handler, CliHandler)]
    for handler in handlers:
        handler.addFilter(mark)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(mark)


def status_line(node: orm.ProcessNode, *, here: bool = False) -> str:
    """Return process label, PK, state, progress and duration of a process.

    :param here: whether the process runs in this interpreter, which `verdi process` does not reach
    """
    end = node.mtime if node.is_terminated else timezone.now()
    parts = [f'{node.process_label}<{node.pk}> {_state(node)}']
    if node.process_class is ScreenWorkChain:
        parts.append(_screen_progress(node))
    elif node.process_label == 'VerifyWorkChain':
        parts.append(_verification_progress(node))
    elif is_campaign(node):
        parts += campaign_status(node)
    elif node.process_label in _TRAININGS:
        parts.append(training_line(node))
    elif (rows := _rows(node)) is not None:
        parts.append(f'{rows[0]:,} of {rows[1]:,} crystals')
    if not node.is_terminated:
        parts.append(_standstill(node, here))
    parts.append(f'{"took" if node.is_terminated else "for"} {duration((end - node.ctime).total_seconds())}')
    return ', '.join(part for part in parts if part)


def _state(node: orm.ProcessNode) -> str:
    if node.is_finished_ok:
        return 'finished'
    if node.is_finished:
        return f'failed [{node.exit_status}]: {node.exit_message}'
    if node.is_terminated:
        state = node.process_state.value if node.process_state else 'terminated'
        return f'{state}: {node.exception or node.process_status or "no reason stored"}'
    return 'paused' if node.paused else 'running'


def _standstill(node: orm.ProcessNode, here: bool) -> str:
    """Return what keeps a process from continuing and what to do, empty if nothing is known.

    AiiDA pauses a job after several failed attempts to reach its computer, and the work chains above it wait.
    """
    active = active_processes(node)
    paused = [one for one in active if one.paused]
    if paused:
        first, pks = paused[0], ' '.join(str(one.pk) for one in paused) if len(paused) <= _NAMED else '--all'
        reason = f' ({first.process_status})' if first.process_status else ''
        remedy = (
            'end this command and start it again, finished calculations are reused'
            if here
            else f'continue with `verdi process play {pks}`'
        )
        found = f'{len(paused)} paused, first {first.process_label}<{first.pk}>{reason}'
        return f'{found}; when the cause is removed, {remedy}'
    idle = (timezone.now() - max(one.mtime for one in [node, *active])).total_seconds()
    if idle < _LONG:
        return ''
    hours = counted(int(idle / 3600), 'hour')
    text = f'no change for {hours}, print the tree below it with `verdi process status {node.pk}`'
    try:
        daemon = get_daemon_client().is_daemon_running
    except ConfigurationError:
        return text
    return text if daemon else f'{text}; the daemon is not running, start it with `verdi daemon start`'


def _screen_progress(node: orm.ProcessNode) -> str:
    """Return the number of finished shards and predicted rows of a screen."""
    shards = [child for child in node.called if child.process_label == 'PredictWorkChain']
    filtered = [child for child in node.called if child.process_label == 'filter_crystals' and child.is_finished_ok]
    total = len(filtered[0].outputs.result if filtered else node.inputs.crystals)
    rows = sum((_rows(child) or (0, 0))[0] for child in shards)
    finished = sum(1 for child in shards if child.is_finished)
    line = f'{finished} of {-(-total // node.inputs.shard_size.value)} shards, {rows:,} of {total:,} crystals predicted'
    running = len(shards) - finished
    return line if node.is_terminated or not running else f'{line}, {running} running'


def _verification_progress(node: orm.ProcessNode) -> str:
    """Return the number of finished calculations of a verification."""
    children = [child for child in node.called if isinstance(child, orm.WorkChainNode)]
    running = sum(1 for child in children if not child.is_terminated)
    selected = len(node.inputs.selection) if 'selection' in node.inputs else node.inputs.number.value
    line = f'{len(children) - running} calculations finished for {selected} crystals'
    return f'{line}, {running} running' if running else line


def _rows(node: orm.ProcessNode) -> tuple[int, int] | None:
    """Return finished rows and all rows of a prediction, None for another process."""
    if node.process_label == 'PredictWorkChain':
        start, stop = shard_rows(node.inputs.goectp.crystals, node.inputs.goectp.get('shard', None))
        if 'predictions' in node.outputs:
            return len(node.outputs.predictions), stop - start
        return max((_job_rows(job) for job in node.called), default=0), stop - start
    if node.process_label == 'PredictCalculation':
        start, stop = shard_rows(node.inputs.crystals, node.inputs.shard if 'shard' in node.inputs else None)
        return _job_rows(node), stop - start
    return None


def _job_rows(job: Any) -> int:
    """Return the finished rows of a job, from its outputs or, while it runs on this machine, from its status file."""
    if 'status' in job.outputs:
        return int(job.outputs.status.get('rows_done', 0))
    workdir = job.get_remote_workdir()
    if workdir is None or job.computer.transport_type != 'core.local':
        return 0
    try:
        return int(parse_json((Path(workdir) / PredictCalculation.STATUS).read_bytes())['rows_done'])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return 0  # no status file yet
