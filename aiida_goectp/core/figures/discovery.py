"""Discovery curve: share of the best crystals found against the number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.core.figures.style import new_figure, styled
from aiida_goectp.core.selection.backtest.curves import Summary, random_found

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('discovery_figure',)

# M. Okabe and K. Ito, Color Universal Design (2008)
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
_MARKERS = ('o', 's', '^', 'D', 'v', 'P')
_MARKED_SHARE = 80
"""% of the best crystals, marked by a line"""


@styled
def discovery_figure(summaries: Sequence[Summary], pool: int, title: str = '') -> Figure:
    """Return the share of the best crystals found against the number of labels: mean and range over the seeds.

    Dashed and dotted lines show random and perfect selection.

    :param summaries: one for each acquisition function, all of one search task
    :param pool: number of crystals in the pool
    :raises ValueError: no summary
    """
    if not summaries:
        raise ValueError('no summary given; expected at least one')
    figure, axes = new_figure(1, 1)
    axis, best = axes[0, 0], summaries[0].best
    last = max(int(item.labels[-1]) for item in summaries)
    for place, item in enumerate(summaries):
        colour, shares = _COLOURS[place % len(_COLOURS)], 100 * item.found / best
        if len(item.seeds) > 1:
            axis.fill_between(
                item.labels, shares.min(axis=0), shares.max(axis=0), color=colour, alpha=0.18, linewidth=0
            )
        axis.plot(
            item.labels,
            shares.mean(axis=0),
            color=colour,
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=3.5,
            linewidth=1.3,
            label=item.name,
        )
    labels = np.linspace(0, last, 201)
    axis.plot(labels, 100 * np.minimum(labels, best) / best, color='black', linestyle=':', label='perfect')
    axis.plot(labels, 100 * random_found(labels, best, pool) / best, color='black', linestyle='--', label='random')
    axis.axhline(_MARKED_SHARE, color='black', linewidth=0.6, alpha=0.5)
    axis.set(xlim=(0, last), ylim=(0, 100), xlabel='labels', ylabel=f'of the best {best} found (%)')
    figure.legend(loc='outside lower center', ncols=2, frameon=False, fontsize=7)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure
