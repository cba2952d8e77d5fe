"""What a backtest found, as a table and as progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.cli.views.tables import make_table

if TYPE_CHECKING:
    from rich.table import Table

    from aiida_goectp.core.selection.backtest import BacktestSettings, Summary
    from aiida_goectp.core.selection.backtest.run import Progress

__all__ = ('discovery_table', 'shown_progress')


def discovery_table(summaries: Sequence[Summary], pool: int, budget: int) -> Table:
    """Return the labels that shares of the best needed, mean ± standard deviation over the seeds.

    :param pool: crystals that could be bought
    :param budget: labels that a campaign may buy
    """
    from aiida_goectp.core.selection.backtest.curves import SHARES, random_found, random_needed

    best = summaries[0].best
    lines = [
        [
            item.name,
            len(item.seeds),
            *(_needed(item.needed(share), budget) for share in SHARES),
            _with_spread(100 * item.found[:, -1] / best),
        ]
        for item in summaries
    ]
    chance = 100 * float(random_found(np.array(budget), best, pool)) / best
    lines.append(['random', '', *(f'{random_needed(share, best, pool):,.0f}' for share in SHARES), f'{chance:.1f}'])
    perfect = 100 * min(budget, best) / best
    lines.append(['perfect', '', *(f'{np.ceil(share * best):.0f}' for share in SHARES), f'{perfect:.1f}'])
    shares = [f'labels for {share:.0%}' for share in SHARES]
    return make_table(
        f'The best {best} of {pool:,} crystals, bought in the order of',
        ['acquisition', 'seeds', *shares, f'found with {budget} (%)'],
        lines,
    )


def _needed(labels: np.ndarray, budget: int) -> str:
    """Return mean and spread; how many seeds came so far if not all did, since the mean of these would flatter."""
    reached = labels[np.isfinite(labels)]
    if len(reached) == len(labels):
        return _with_spread(labels)
    return f'> {budget}' + (f' ({len(reached)} of {len(labels)} in time)' if len(reached) else '')


def _with_spread(values: np.ndarray) -> str:
    return f'{values.mean():.0f}' + (f' ± {values.std(ddof=1):.0f}' if len(values) > 1 else '')


@contextmanager
def shown_progress(settings: BacktestSettings, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield what is to be called after each round: a bar on a terminal, elsewhere a line a round, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda progress: None if quiet else print(_words(progress, settings), file=sys.stderr, flush=True)
        return
    rounds = 1 + -(-settings.budget // settings.batch_size)
    columns: tuple[Any, ...] = (TextColumn('backtest'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, TextColumn('{task.fields[note]}'), console=console) as bar:
        task = bar.add_task('', total=rounds * settings.seeds * len(settings.acquisitions), note='')
        yield lambda progress: bar.update(task, advance=1, note=_words(progress, settings))


def _words(progress: Progress, settings: BacktestSettings) -> str:
    line = progress.line
    counts = f'{line.found} of {settings.top_k} found with {line.labels} labels'
    told = f'{progress.acquisition}, seed {progress.seed}: {counts}'
    if line.round is None or not line.round.retrained:
        return told
    return f'{told}, {"new model" if line.round.adopted else "old model kept"}'
