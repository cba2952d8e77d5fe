"""One plain line that says how a process is getting on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiida import orm

from aiida_goectp.calculations.predict import PredictCalculation, shard_rows
from aiida_goectp.cli.campaign.status import campaign_words, is_campaign
from aiida_goectp.cli.views.training import training_line
from aiida_goectp.workflows.screen import ScreenWorkChain

__all__ = ('run_and_report', 'status_line')

_TRAININGS = ('TrainCalculation', 'TrainWorkChain', 'TrainCommitteeWorkChain')

_INTERVAL = 10.0
"""seconds between two looks at a process that runs here"""


def run_and_report(builder: Any) -> orm.ProcessNode:
    """Run a process in this interpreter and print its status line whenever that has news.

    :raises ValueError: an input that the process refuses
    """
    from aiida import engine
    from aiida.cmdline.utils import echo
    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager

    # as `engine.run` does: without a communicator, for no broker needs to be there
    runner = get_manager().create_runner(communicator=None)
    process = instantiate_process(runner, builder)
    seen = ''

    def look() -> None:
        nonlocal seen
        if process.node.is_terminated:
            return
        line = status_line(process.node)
        news = line.rpartition(', for ')[0]
        if news != seen:
            echo.echo_report(line)
        seen = news
        runner.loop.call_later(_INTERVAL, look)

    runner.loop.call_later(_INTERVAL, look)
    _, node = engine.run_get_node(process)
    return node


def status_line(node: orm.ProcessNode) -> str:
    """Return what a process is, in which state, how far, and since when."""
    from aiida.common import timezone

    end = node.mtime if node.is_terminated else timezone.now()
    seconds = int((end - node.ctime).total_seconds())
    parts = [f'{node.process_label}<{node.pk}> {_state(node)}']
    if node.process_class is ScreenWorkChain:
        parts.append(_shards(node))
    elif node.process_label == 'VerifyWorkChain':
        parts.append(_calculations(node))
    elif is_campaign(node):
        parts += campaign_words(node)
    elif node.process_label in _TRAININGS:
        parts.append(training_line(node))
    elif (rows := _rows(node)) is not None:
        parts.append(f'{rows[0]:,} of {rows[1]:,} crystals')
    spent = f'{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}'
    parts.append(f'{"took" if node.is_terminated else "for"} {spent}')
    return ', '.join(part for part in parts if part)


def _state(node: orm.ProcessNode) -> str:
    if node.is_finished_ok:
        return 'finished'
    if node.is_finished:
        return f'failed [{node.exit_status}]: {node.exit_message}'
    if node.is_terminated:
        state = node.process_state.value if node.process_state else 'ended'
        return f'{state}: {node.exception or node.process_status or "no reason given"}'
    return 'paused' if node.paused else 'running'


def _shards(node: orm.ProcessNode) -> str:
    """Return how many shards and rows of a screen are done."""
    shards = [child for child in node.called if child.process_label == 'PredictWorkChain']
    candidates = next((child.outputs.result for child in node.called if _filtered(child)), node.inputs.crystals)
    total = len(candidates)
    size = node.inputs.shard_size.value
    rows = sum((_rows(child) or (0, 0))[0] for child in shards)
    done = sum(1 for child in shards if child.is_finished)
    line = f'{done} of {-(-total // size)} shards, {rows:,} of {total:,} crystals predicted'
    running = len(shards) - done
    return line if node.is_terminated or not running else f'{line}, {running} running'


def _calculations(node: orm.ProcessNode) -> str:
    """Return how many calculations of a verification are done."""
    children = [child for child in node.called if isinstance(child, orm.WorkChainNode)]
    running = sum(1 for child in children if not child.is_terminated)
    selected = node.inputs.selection.get_list() if 'selection' in node.inputs else range(node.inputs.number.value)
    line = f'{len(children) - running} calculations done for {len(selected)} crystals'
    return f'{line}, {running} running' if running else line


def _filtered(node: orm.ProcessNode) -> bool:
    return bool(node.process_label == 'filter_crystals' and node.is_finished_ok)


def _rows(node: orm.ProcessNode) -> tuple[int, int] | None:
    """Return rows done and rows in all of a prediction, None for anything else."""
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
    """Return how many rows a job has done, from its outputs or, while it runs on this machine, from its status file."""
    if 'status' in job.outputs:
        return int(job.outputs.status.get('rows_done', 0))
    workdir = job.get_remote_workdir()
    if workdir is None or job.computer.transport_type != 'core.local':
        return 0
    try:
        return int(json.loads((Path(workdir) / PredictCalculation.STATUS).read_text())['rows_done'])
    except (OSError, ValueError, KeyError):
        return 0  # not begun
