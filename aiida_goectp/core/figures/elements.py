"""Periodic table with the number of crystals that contain each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.elements import SYMBOLS
from aiida_goectp.core.figures.style import new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('element_counts', 'elements_figure', 'table_place')

_LAST = 103
_NOBLE = (2, 10, 18, 36, 54, 86)


def element_counts(crystals: CrystalSet) -> dict[int, int]:
    """Return atomic number → number of crystals that contain the element."""
    rows = np.repeat(np.arange(len(crystals)), crystals.atom_counts)
    pairs = np.unique(len(SYMBOLS) * rows + crystals.atomic_numbers)
    numbers, counts = np.unique(pairs % len(SYMBOLS), return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def table_place(number: int) -> tuple[int, int]:
    """Return row and column of an element, from 0; lanthanides and actinides are in rows 8 and 9.

    :param number: atomic number, 1 to 103
    """
    if 57 <= number <= 71 or 89 <= number <= 103:
        return (8, number - 55) if number <= 71 else (9, number - 87)
    period = sum(number > noble for noble in _NOBLE)
    place = number - (0, *_NOBLE)[period] - 1
    if place >= 2 or period == 0:
        length = (2, 8, 8, 18, 18, 32, 32)[period]
        place += 18 - length if place >= 1 else 0
    return period, place


@styled
def elements_figure(
    counts: dict[int, int], trained: set[int] | None = None, title: str = '', numbered: bool = True
) -> Figure:
    """Return the periodic table, shaded by the logarithm of the number of crystals that contain each element.

    :param counts: atomic number → number of crystals, see :func:`element_counts`
    :param trained: atomic numbers in the training set of a model; others that occur have a black border and an asterisk
    :param numbered: whether to write the numbers
    """
    import matplotlib as mpl
    from matplotlib.patches import Patch, Rectangle

    figure, axes = new_figure(1, 1, width=2.6, height=1.35)
    axis = axes[0, 0]
    colours = mpl.colormaps['Blues']
    top = np.log1p(max(counts.values(), default=1))
    strange = {number for number, count in counts.items() if count > 0} - (
        counts.keys() if trained is None else trained
    )
    for number in range(1, _LAST + 1):
        row, column = table_place(number)
        count = counts.get(number, 0)
        share = np.log1p(count) / top if top else 0.0
        unseen = number in strange
        colour = colours(0.12 + 0.75 * share) if count else 'white'
        border: Any = {'edgecolor': 'black', 'linewidth': 1.6} if unseen else {'edgecolor': '#bbbbbb', 'linewidth': 0.5}
        axis.add_patch(Rectangle((column, -row), 0.94, -0.94, facecolor=colour, **border))
        ink = 'white' if share > 0.65 else 'black' if count else '#999999'
        axis.text(
            column + 0.47,
            -row - 0.38,
            SYMBOLS[number] + ('*' if unseen else ''),
            ha='center',
            va='center',
            fontsize=8.5,
            color=ink,
        )
        if count and numbered:
            axis.text(column + 0.47, -row - 0.76, f'{count:,}', ha='center', va='center', fontsize=5.5, color=ink)
    axis.set(xlim=(-0.2, 18.2), ylim=(-10.1, 0.2), aspect='equal', title=title)
    axis.axis('off')
    if strange:
        patch = Patch(facecolor='white', edgecolor='black', label='* not in the training set')
        axis.legend(handles=[patch], loc='upper center', bbox_to_anchor=(0.42, 0.96), frameon=False)
    return figure
