"""Parity plot: predicted against computed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.figures.style import COLOURS, NAMES, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('Parity', 'parity_figure')

_LINEAR = 1.0
"""permittivity below which the axes of the ionic part are linear, because it may vanish"""


class Parity(NamedTuple):
    """Predicted and computed values of one quantity of n crystals."""

    computed: np.ndarray
    """(n,) NaN where missing"""
    predicted: np.ndarray
    """(n,)"""
    deviation: np.ndarray | None = None
    """(n,) standard deviation of the prediction; NaN where unknown"""
    unlike_training: np.ndarray | None = None
    """(n,) true for a crystal that is flagged ``unlike_training``"""


@styled
def parity_figure(parts: Mapping[str, Parity], quantity: str = 'polycrystalline average', title: str = '') -> Figure:
    """Return a panel for each target with one point per crystal and bars of ± one standard deviation.

    :param parts: target → values; rows without both values are omitted
    """
    figure, axes = new_figure(1, len(parts))
    for axis, target in zip(axes[0], (name for name in PARTS if name in parts), strict=True):
        _panel(axis, target, parts[target])
        axis.set_xlabel(f'{quantity}, DFPT')
    axes[0, 0].set_ylabel(f'{quantity}, predicted')
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _panel(axis: Any, target: str, part: Parity) -> None:
    known = np.isfinite(part.computed) & np.isfinite(part.predicted)
    computed, predicted = part.computed[known], part.predicted[known]
    unlike = np.zeros(len(computed), dtype=bool) if part.unlike_training is None else part.unlike_training[known]
    bars = None if part.deviation is None else np.nan_to_num(part.deviation[known])
    if bars is not None:
        axis.errorbar(
            computed, predicted, yerr=bars, fmt='none', ecolor=COLOURS[target], elinewidth=0.6, alpha=0.35, zorder=1
        )
    points = {'s': 11, 'linewidths': 0.8, 'zorder': 2}
    axis.scatter(computed[~unlike], predicted[~unlike], color=COLOURS[target], alpha=0.7, **points)
    if unlike.any():
        axis.scatter(
            computed[unlike],
            predicted[unlike],
            marker='D',
            facecolors='none',
            edgecolors='black',
            label='unlike training',
            **points,
        )
        axis.legend(loc='lower right', frameon=False)
    low, high = _limits(target, np.concatenate([computed, predicted]))
    axis.plot([low, high], [low, high], color='black', linewidth=0.8, zorder=3)
    axis.set_title(NAMES[target])
    _scale(axis, target, low, high)
    text = f'{len(computed)} crystals\nMAE {np.abs(predicted - computed).mean():.3g}' if len(computed) else 'no rows'
    axis.text(0.04, 0.96, text, transform=axis.transAxes, va='top', fontsize=8.5)


def _limits(target: str, values: np.ndarray) -> tuple[float, float]:
    low = 0.0 if target == 'ionic' else 1.0
    return low, float(1.25 * values.max(initial=2.0))


def _scale(axis: Any, target: str, low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    axis.set_aspect('equal', adjustable='box')
    for name in ('x', 'y'):
        if target == 'ionic':
            getattr(axis, f'set_{name}scale')('symlog', linthresh=_LINEAR, linscale=0.4)
        else:
            getattr(axis, f'set_{name}scale')('log')
        getattr(axis, f'set_{name}lim')(low, high)
        scale = getattr(axis, f'{name}axis')
        ticks = [value for value in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low <= value <= high]
        scale.set_major_locator(FixedLocator([value for value in ticks if target != 'ionic' or value != 2]))
        scale.set_minor_locator(NullLocator())
        scale.set_major_formatter(ScalarFormatter())
