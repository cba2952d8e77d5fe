"""Parity plots of the ionic part, of Born charges, and of frequencies at Γ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.figures.parity import Parity
from aiida_goectp.core.figures.style import COLOURS, NAMES, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('lattice_figure',)

_SMALLEST = 0.3
"""average of the ionic part where the logarithmic axes begin"""


@styled
def lattice_figure(ionic: Parity, charges: Parity, frequencies: Parity) -> Figure:
    """Return a panel for each quantity.

    :param ionic: average of the ionic part, on logarithmic axes; ``unlike_training`` marks soft and unstable crystals
    :param charges: components of Born charges, e
    :param frequencies: optical frequencies at Γ, THz; imaginary ones are negative
    """
    figure, axes = new_figure(1, 3)
    first, second, third = axes[0]
    _ionic_panel(first, ionic)
    for axis, part, name, unit in (
        (second, charges, 'Born charges', 'e'),
        (third, frequencies, 'frequencies at Γ', 'THz'),
    ):
        computed, predicted = _known(part)
        axis.scatter(computed, predicted, s=2, linewidths=0, alpha=0.25, color=COLOURS['ionic'], rasterized=True)
        values = np.concatenate([computed, predicted, [0.0, 1.0]])
        _diagonal(axis, values.min() - 0.5, values.max() + 0.5)
        axis.set_title(name)
        axis.set_xlabel(f'DFPT, {unit}')
        axis.set_ylabel(f'predicted, {unit}')
        _error(axis, computed, predicted, unit)
    return figure


def _ionic_panel(axis: Any, part: Parity) -> None:
    computed, predicted = _known(part)
    known = np.isfinite(part.computed) & np.isfinite(part.predicted)
    soft = np.zeros(len(computed), dtype=bool) if part.unlike_training is None else part.unlike_training[known]
    if part.deviation is not None:
        bars = np.nan_to_num(part.deviation[known])
        below = np.minimum(bars, predicted - _SMALLEST / 2)
        axis.errorbar(
            computed,
            predicted,
            yerr=[np.clip(below, 0, None), bars],
            fmt='none',
            ecolor=COLOURS['ionic'],
            elinewidth=0.6,
            alpha=0.35,
        )
    axis.scatter(computed[~soft], predicted[~soft], s=11, linewidths=0, alpha=0.7, color=COLOURS['ionic'])
    if soft.any():
        marks = {'marker': 'D', 'facecolors': 'none', 'edgecolors': 'black', 'linewidths': 0.8}
        axis.scatter(computed[soft], predicted[soft], s=11, label='soft or unstable', **marks)
        axis.legend(loc='lower right', frameon=False)
    axis.set_xscale('log')
    axis.set_yscale('log')
    _diagonal(axis, _SMALLEST, 1.5 * max(np.concatenate([computed, predicted]).max(initial=1.0), 1.0))
    axis.set_title(f'average of {NAMES["ionic"]}')
    axis.set_xlabel('DFPT')
    axis.set_ylabel('predicted')
    _error(axis, computed, predicted, '')


def _known(part: Parity) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(part.computed) & np.isfinite(part.predicted)
    return part.computed[known], part.predicted[known]


def _diagonal(axis: Any, low: float, high: float) -> None:
    axis.plot([low, high], [low, high], color='black', linewidth=0.8)
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    axis.set_aspect('equal', adjustable='box')


def _error(axis: Any, computed: np.ndarray, predicted: np.ndarray, unit: str) -> None:
    error = f'MAE {np.abs(predicted - computed).mean():.3g} {unit}' if len(computed) else 'no rows'
    axis.text(0.04, 0.96, error.rstrip(), transform=axis.transAxes, va='top', fontsize=8.5)
