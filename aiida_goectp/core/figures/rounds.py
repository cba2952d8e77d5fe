"""Error of the predictions and best verified value in each round of a campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.core.figures.style import COLOURS, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('rounds_figure',)


@styled
def rounds_figure(
    rounds: np.ndarray, predicted: np.ndarray, verified: np.ndarray, merit: str = 'figure of merit', title: str = ''
) -> Figure:
    """Return two panels: relative error of each pick with the mean of its round; verified values with the best so far.

    :param rounds: (n,) round of each pick
    :param predicted: (n,) predicted figure of merit
    :param verified: (n,) figure of merit of the label, NaN without one
    """
    from matplotlib.ticker import MaxNLocator

    known = np.isfinite(verified) & (verified != 0)
    numbers = np.unique(rounds)
    errors = 100 * np.abs(predicted[known] - verified[known]) / np.abs(verified[known])
    figure, axes = new_figure(1, 2, width=1.15)
    left, right = axes[0]
    left.scatter(rounds[known], errors, s=18, color='#8a8a8a', label='pick', zorder=2)
    groups = [errors[rounds[known] == number] for number in numbers]
    means = [group.mean() if len(group) else np.nan for group in groups]
    left.plot(numbers, means, color=COLOURS['electronic'], marker='o', label='mean of the round', zorder=3)
    left.set(xlabel='round', ylabel='relative error of the prediction (%)')
    left.set_ylim(bottom=0)
    right.scatter(rounds[known], verified[known], s=18, color='#8a8a8a', label='pick', zorder=2)
    highest = [verified[known & (rounds <= number)].max(initial=-np.inf) for number in numbers]
    best = np.where(np.isfinite(highest), highest, np.nan)
    right.plot(numbers, best, color=COLOURS['ionic'], marker='s', linestyle='--', label='best so far', zorder=3)
    right.set(xlabel='round', ylabel=f'verified {merit}')
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(loc='best', frameon=False)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure
