"""Table and progress of a backtest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from aiida_goectp.core.formats.terminal import echo, printable
from aiida_goectp.core.formats.text_tables import make_table
from aiida_goectp.core.selection.backtest import BacktestSettings, Summary
from aiida_goectp.core.selection.backtest.curves import SHARES, random_found, random_needed
from aiida_goectp.core.selection.backtest.run import Progress

__all__ = ('discovery_table', 'report_progress')


def discovery_table(summaries: Sequence[Summary], candidates: int, budget: int) -> Table:
    """Return the labels needed to find fractions of the best crystals, mean ± standard deviation over the seeds.

    :param candidates: number of crystals that could be picked
    :param budget: maximum number of labels
    """
    best = summaries[0].best
    lines = [
        [
            item.name,
            len(item.seeds),
            *(_labels_needed(item.needed(share), budget) for share in SHARES),
            _mean_and_deviation(100 * item.found[:, -1] / best),
        ]
        for item in summaries
    ]
    by_chance = 100 * float(random_found(np.array(budget), best, candidates)) / best
    lines.append(
        ['random', '', *(f'{random_needed(share, best, candidates):,.0f}' for share in SHARES), f'{by_chance:.1f}']
    )
    perfect = 100 * min(budget, best) / best
    lines.append(['perfect', '', *(f'{np.ceil(share * best):.0f}' for share in SHARES), f'{perfect:.1f}'])
    columns = ['acquisition', 'seeds', *(f'labels for {share:.0%}' for share in SHARES), f'found with {budget} (%)']
    return make_table(f'Labels needed to find the best {best} of {candidates:,} crystals', columns, lines)


def _labels_needed(labels: np.ndarray, budget: int) -> str:
    """Return mean and deviation; the number of seeds that reached the fraction if not all did."""
    reached = labels[np.isfinite(labels)]
    if len(reached) == len(labels):
        return _mean_and_deviation(labels)
    return f'> {budget}' + (f' ({len(reached)} of {len(labels)} seeds reached it)' if len(reached) else '')


def _mean_and_deviation(values: np.ndarray) -> str:
    return f'{values.mean():.0f}' + (f' ± {values.std(ddof=1):.0f}' if len(values) > 1 else '')


@contextmanager
def report_progress(settings: BacktestSettings, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield a function to be called after each round: a progress bar on a terminal, else one line per round."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda progress: None if quiet else echo(_status(progress, settings), err=True)
        return
    rounds = 1 + -(-settings.budget // settings.batch_size)
    columns: tuple[Any, ...] = (TextColumn('backtest'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, TextColumn('{task.fields[note]}', markup=False), console=console) as bar:
        task = bar.add_task('', total=rounds * settings.seeds * len(settings.acquisitions), note='')
        yield lambda progress: bar.update(task, advance=1, note=printable(_status(progress, settings)))


def _status(progress: Progress, settings: BacktestSettings) -> str:
    record = progress.record
    counts = f'{record.found} of {settings.top_k} found with {record.labels} labels'
    status = f'{progress.acquisition}, seed {progress.seed}: {counts}'
    if record.round is None or not record.round.retrained:
        return status
    return f'{status}, new model {"adopted" if record.round.adopted else "rejected"}'
