"""All campaigns of a backtest, one after the other or some at the same time, from where they stopped."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, NamedTuple

from aiida_goectp.core.selection.backtest.curves import SHARES, Summary, random_needed, summarise
from aiida_goectp.core.selection.backtest.hidden import HiddenPool, make_search_task
from aiida_goectp.core.selection.backtest.loop import Campaign, RoundRecord, Surrogate, first_model
from aiida_goectp.core.selection.backtest.settings import BacktestSettings
from aiida_goectp.core.selection.backtest.storage import BacktestStore
from aiida_goectp.core.selection.diversity import StructureMatcher

__all__ = ('Progress', 'run_backtest')


class Progress(NamedTuple):
    """A round that is done."""

    acquisition: str
    seed: int
    line: RoundRecord


Report = Callable[[Progress], None]


def run_backtest(
    problem: HiddenPool,
    surrogate: Surrogate,
    settings: BacktestSettings,
    folder: BacktestStore,
    *,
    model: bytes | None = None,
    processes: int = 1,
    report: Report | None = None,
) -> list[Summary]:
    """Run the campaigns that are not done yet, and write the results.

    :param folder: claimed for this backtest
    :param model: what all campaigns begin with; trained on the labels that a campaign begins with if None
    :param processes: seeds at the same time; each process has a surrogate of its own, which must be picklable
    :param report: called after each round, also for those that were done before
    :return: one summary for each acquisition function
    :raises FormatError: too few labels
    :raises ValueError: the first model cannot be trained
    """
    told = report or (lambda progress: None)
    if processes == 1 or settings.seeds == 1:
        likeness = StructureMatcher(settings.diversity.volume_tolerance)
        for seed in range(settings.seeds):
            run_seed(problem, surrogate, settings, folder, seed, model, told, likeness)
    else:
        _run_apart(problem, surrogate, settings, folder, model, processes, told)
    summaries = [_summary(name, settings, folder) for name in settings.acquisitions]
    folder.write_results(_results(summaries, settings, problem))
    return summaries


def run_seed(
    problem: HiddenPool,
    surrogate: Surrogate,
    settings: BacktestSettings,
    folder: BacktestStore,
    seed: int,
    model: bytes | None = None,
    report: Report | None = None,
    likeness: StructureMatcher | None = None,
) -> None:
    """Run the campaigns of a seed, one for each acquisition function, from where they stopped."""
    task = make_search_task(problem, settings, seed, likeness)
    for name in settings.acquisitions:
        begun = model if model is not None else folder.start(seed)
        if begun is None:
            begun = first_model(task, surrogate, settings, seed)
            folder.keep_start(seed, begun)
        campaign = Campaign(task, surrogate, settings, name, seed, begun)
        lines = folder.lines(name, seed)
        if lines:
            campaign.resume([line.round for line in lines if line.round is not None], folder.model(name, seed))
        else:
            lines = [campaign.state()]
            folder.add(name, seed, lines[0], campaign.model)
        for line in lines:
            _tell(report, name, seed, line)
        while isinstance(done := campaign.advance(), RoundRecord):
            folder.add(name, seed, done, campaign.model)
            _tell(report, name, seed, done)


def _tell(report: Report | None, name: str, seed: int, line: RoundRecord) -> None:
    if report is not None:
        report(Progress(name, seed, line))


_queue: Any = None
"""to the first process, in the others"""


def _begin(queue: Any) -> None:
    global _queue
    _queue = queue


def _apart(
    parent: int,
    problem: HiddenPool,
    surrogate: Surrogate,
    settings: BacktestSettings,
    folder: BacktestStore,
    seed: int,
    model: bytes | None,
) -> None:
    def tell(progress: Progress) -> None:
        if os.getppid() != parent:  # killed: who starts the backtest again must not meet this process at work
            sys.exit('the first process of the backtest is gone')
        _queue.put(progress)

    run_seed(problem, surrogate, settings, folder, seed, model, tell)


def _run_apart(
    problem: HiddenPool,
    surrogate: Surrogate,
    settings: BacktestSettings,
    folder: BacktestStore,
    model: bytes | None,
    processes: int,
    report: Report,
) -> None:
    """Run the seeds in processes of their own."""
    context = multiprocessing.get_context('spawn')  # a fork of a process with threads may hang
    with context.Manager() as manager:
        queue = manager.Queue()
        with ProcessPoolExecutor(processes, context, _begin, (queue,)) as pool:
            waiting: set[Future[None]] = {
                pool.submit(_apart, os.getpid(), problem, surrogate, settings, folder, seed, model)
                for seed in range(settings.seeds)
            }
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                while not queue.empty():
                    report(queue.get())
                try:
                    for future in done:
                        future.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise


def _summary(name: str, settings: BacktestSettings, folder: BacktestStore) -> Summary:
    curves = {}
    for seed in range(settings.seeds):
        lines = folder.lines(name, seed)
        curves[seed] = [line.labels for line in lines], [line.found for line in lines]
    return summarise(name, curves, settings.top_k)


def _results(summaries: list[Summary], settings: BacktestSettings, problem: HiddenPool) -> dict[str, Any]:
    pool = len(problem.dataset) - settings.start
    return {
        'version': 1,
        'settings': settings.model_dump(mode='json'),
        'rows': len(problem.dataset),
        'rows_left_out': problem.left_out,
        'pool': pool,
        'random': {f'{share:.0%}': random_needed(share, settings.top_k, pool) for share in SHARES},
        'acquisitions': [summary.as_json() for summary in summaries],
    }
