"""Learning curve: error against number of training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.figures.style import COLOURS, DASHES, MARKERS, NAMES, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('learning_curve_figure', 'slope')


@styled
def learning_curve_figure(
    rows: Sequence[int] | np.ndarray,
    errors: Mapping[str, Sequence[float] | np.ndarray],
    quantity: str = 'mean absolute error (9 components)',
    title: str = '',
) -> Figure:
    """Return the error against the number of training rows on logarithmic axes, with the exponents of power laws.

    :param rows: (k,) numbers of training rows, in any order
    :param errors: target → (k,) errors on the same held-out rows; NaN where missing
    :raises ValueError: different lengths
    """
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    counts = np.asarray(rows, dtype=float)
    order = np.argsort(counts, kind='stable')
    figure, axes = new_figure(1, 1)
    axis = axes[0, 0]
    for target in (name for name in PARTS if name in errors):
        values = np.asarray(errors[target], dtype=float)
        if len(values) != len(counts):
            raise ValueError(f'{target}: expected {len(counts)} errors, found {len(values)}')
        power = slope(counts, values)
        axis.plot(
            counts[order],
            values[order],
            color=COLOURS[target],
            marker=MARKERS[target],
            linestyle=DASHES[target],
            markersize=5,
            label=NAMES[target] + ('' if np.isnan(power) else f': ∝ n$^{{{power:.2f}}}$'),
        )
    axis.set(xscale='log', yscale='log', xlabel='training rows', ylabel=quantity)
    axis.set_xticks(np.unique(counts))
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_minor_formatter(ScalarFormatter())
    axis.tick_params(axis='both', which='both', labelsize=8)
    axis.legend(loc='best', frameon=False)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def slope(rows: np.ndarray, errors: np.ndarray) -> float:
    """Return the exponent of a power law fitted to the logarithms by least squares; NaN for fewer than two points."""
    known = np.isfinite(errors) & (errors > 0)
    if len(np.unique(rows[known])) < 2:
        return float('nan')
    return float(np.polyfit(np.log(rows[known]), np.log(errors[known]), 1)[0])
