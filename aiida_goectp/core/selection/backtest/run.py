"""All campaigns of a backtest, in this process or in several, resumed where they stopped."""

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
    """A completed round."""

    acquisition: str
    seed: int
    record: RoundRecord


Report = Callable[[Progress], None]


def run_backtest(
    pool: HiddenPool,
    surrogate: Surrogate,
    settings: BacktestSettings,
    store: BacktestStore,
    *,
    model: bytes | None = None,
    processes: int = 1,
    report: Report | None = None,
) -> list[Summary]:
    """Run the campaigns that are not complete, and write the results.

    :param pool: rows of the dataset
    :param surrogate: trains and predicts
    :param settings: of the backtest
    :param store: claimed for this backtest
    :param model: starting model of all campaigns; if None, one is trained on the starting labels of each seed
    :param processes: number of seeds at the same time; each process has a copy of the surrogate, which must be
        picklable
    :param report: called after each round, also for rounds of an earlier run
    :return: one summary for each acquisition function
    :raises FormatError: too few labels
    :raises ValueError: the training of a starting model failed
    """
    report = report or (lambda progress: None)
    if processes == 1 or settings.seeds == 1:
        matcher = StructureMatcher(settings.diversity.volume_tolerance)
        for seed in range(settings.seeds):
            _run_seed(pool, surrogate, settings, store, seed, model, report, matcher)
    else:
        _run_in_processes(pool, surrogate, settings, store, model, processes, report)
    candidates = len(pool.dataset) - settings.start
    summaries = [_summary(name, settings, store, candidates) for name in settings.acquisitions]
    store.write_results(_results(summaries, settings, pool))
    return summaries


def _run_seed(
    pool: HiddenPool,
    surrogate: Surrogate,
    settings: BacktestSettings,
    store: BacktestStore,
    seed: int,
    model: bytes | None,
    report: Report,
    matcher: StructureMatcher | None = None,
) -> None:
    """Run the campaigns of a seed, one for each acquisition function."""
    task = make_search_task(pool, settings, seed, matcher)
    for name in settings.acquisitions:
        start = model if model is not None else store.start_model(seed)
        if start is None:
            start = first_model(task, surrogate, settings, seed)
            store.keep_start_model(seed, start)
        campaign = Campaign(task, surrogate, settings, name, seed, start)
        records = store.records(name, seed)
        if records:
            campaign.resume(records, store.model(name, seed))
        else:
            records = [campaign.state()]
            store.add(name, seed, records[0], campaign.model)
        for record in records:
            report(Progress(name, seed, record))
        while isinstance(new := campaign.advance(), RoundRecord):
            store.add(name, seed, new, campaign.model)
            report(Progress(name, seed, new))


_queue: Any = None
"""queue to the main process, in worker processes"""


def _set_queue(queue: Any) -> None:
    global _queue
    _queue = queue


def _run_in_worker(
    parent: int,
    pool: HiddenPool,
    surrogate: Surrogate,
    settings: BacktestSettings,
    store: BacktestStore,
    seed: int,
    model: bytes | None,
) -> None:
    def report(progress: Progress) -> None:
        if os.getppid() != parent:  # killed; a new run of the backtest writes the same files
            sys.exit('the main process of the backtest has ended')
        _queue.put(progress)

    _run_seed(pool, surrogate, settings, store, seed, model, report)


def _run_in_processes(
    pool: HiddenPool,
    surrogate: Surrogate,
    settings: BacktestSettings,
    store: BacktestStore,
    model: bytes | None,
    processes: int,
    report: Report,
) -> None:
    """Run the seeds in worker processes."""
    context = multiprocessing.get_context('spawn')  # a fork of a process with threads may deadlock
    with context.Manager() as manager:
        queue = manager.Queue()
        with ProcessPoolExecutor(processes, context, _set_queue, (queue,)) as executor:
            running: set[Future[None]] = {
                executor.submit(_run_in_worker, os.getpid(), pool, surrogate, settings, store, seed, model)
                for seed in range(settings.seeds)
            }
            while running:
                ended, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                while not queue.empty():
                    report(queue.get())
                try:
                    for future in ended:
                        future.result()
                except BaseException:
                    executor.shutdown(wait=False, cancel_futures=True)
                    raise


def _summary(name: str, settings: BacktestSettings, store: BacktestStore, pool: int) -> Summary:
    """Return the curves of all seeds.

    :param pool: number of candidates
    """
    curves, predicted, models = {}, 0, 0
    for seed in range(settings.seeds):
        records = store.records(name, seed)
        curves[seed] = [record.labels for record in records], [record.found for record in records]
        predicted += records[-1].predicted
        # the last model predicts nothing, since no crystal is picked with it
        models += 1 + sum(record.round is not None and record.round.adopted for record in records[:-1])
    found = summarise(name, curves, settings.top_k)
    return found if settings.pruning is None else found._replace(predicted=predicted / (pool * models))


def _results(summaries: list[Summary], settings: BacktestSettings, pool: HiddenPool) -> dict[str, Any]:
    candidates = len(pool.dataset) - settings.start
    return {
        'version': 1,
        'settings': settings.model_dump(mode='json'),
        'rows': len(pool.dataset),
        'rows_left_out': pool.left_out,
        'pool': candidates,
        'random': {f'{share:.0%}': random_needed(share, settings.top_k, candidates) for share in SHARES},
        'acquisitions': [summary.as_json() for summary in summaries],
    }
