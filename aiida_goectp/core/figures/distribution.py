"""Distributions of predicted permittivities and of their anisotropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.figures.density import MAX_POINTS, draw_density
from aiida_goectp.core.figures.style import COLOURS, DASHES, MARKERS, NAMES, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('anisotropy_figure', 'distribution_figure')

_BINS = 30
_WIDE = 150
"""ratio of the limits of an axis above which only powers of ten have labels"""
_SMALLEST = 1e-3
"""values below it are zero but for rounding, such as the ionic part of a non-polar crystal"""


@styled
def distribution_figure(
    averages: Mapping[str, np.ndarray], marked: Mapping[str, np.ndarray] | None = None, title: str = ''
) -> Figure:
    """Return a histogram of the averages of each part, on a logarithmic scale, with its median.

    :param averages: part → (n,) polycrystalline averages; values below 0.001 or unknown are omitted
    :param marked: part → averages of emphasised crystals, such as the selected ones, drawn as ticks below
    """
    figure, axes = new_figure(1, len(averages))
    for axis, part in zip(axes[0], (name for name in PARTS if name in averages), strict=True):
        values = np.asarray(averages[part], dtype=float)
        values = values[np.isfinite(values) & (values > _SMALLEST)]
        axis.set(xscale='log', xlabel='polycrystalline average', title=NAMES[part])
        if not len(values):
            axis.text(0.5, 0.5, 'no values', transform=axis.transAxes, ha='center')
            continue
        edges = np.geomspace(values.min() * 0.95, values.max() * 1.05, min(_BINS, 5 + len(values) // 4) + 1)
        axis.hist(values, bins=edges, color=COLOURS[part], alpha=0.75, edgecolor='white', linewidth=0.5)
        axis.axvline(np.median(values), color='black', linestyle='--', linewidth=1)
        text = f'{len(values):,} crystals\nmedian {np.median(values):.3g}'
        axis.text(0.97, 0.97, text, transform=axis.transAxes, ha='right', va='top', fontsize=8.5)
        if marked is not None and len(marked[part]):
            axis.plot(
                marked[part], np.full(len(marked[part]), 0.03), '|', color='black', markersize=9, clip_on=False,
                transform=axis.get_xaxis_transform(), label='selected',
            )  # fmt: skip
            axis.legend(loc='center right', frameon=False, handletextpad=0)
        _plain_ticks(axis.xaxis)
    axes[0, 0].set_ylabel('crystals')
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _plain_ticks(axis: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = axis.get_view_interval()
    subs = (1,) if high > _WIDE * low else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter('{x:g}'))
    axis.set_minor_formatter(NullFormatter())


@styled
def anisotropy_figure(eigenvalues: Mapping[str, np.ndarray], title: str = '') -> Figure:
    """Return the largest against the smallest principal value of each tensor; isotropic crystals are on the diagonal.

    More than :data:`.MAX_POINTS` crystals are drawn as a density.

    :param eigenvalues: part → (n, 3) principal values, ascending; rows with a value below 0.001 or NaN are omitted
    """
    figure, axes = new_figure(1, len(eigenvalues))
    for axis, part in zip(axes[0], (name for name in PARTS if name in eigenvalues), strict=True):
        values = np.asarray(eigenvalues[part], dtype=float)
        values = values[np.isfinite(values).all(axis=1) & (values > _SMALLEST).all(axis=1)]
        axis.set(xscale='log', yscale='log', xlabel='smallest principal value', title=NAMES[part])
        if not len(values):
            axis.text(0.5, 0.5, 'no values', transform=axis.transAxes, ha='center')
            continue
        low, high = 0.9 * values.min(), 1.15 * values.max()
        for ratio, dash in zip((1, 2, 5), DASHES.values(), strict=True):
            axis.plot([low, high], [ratio * low, ratio * high], color='black', lw=0.8, ls=dash, label=f'ratio {ratio}')
        if len(values) > MAX_POINTS:
            limits = (low, high, low, high)
            cells = draw_density(axis, values[:, 0], values[:, 2], limits, xscale='log', yscale='log')
            figure.colorbar(cells, ax=axis, label='crystals in a hexagon', location='bottom', shrink=0.8)
        else:
            axis.scatter(values[:, 0], values[:, 2], s=14, color=COLOURS[part], marker=MARKERS[part], alpha=0.7, lw=0)
        axis.set(xlim=(low, high), ylim=(low, high), aspect='equal')
        axis.text(0.03, 0.97, f'{len(values):,} crystals', transform=axis.transAxes, va='top', fontsize=8.5)
        for scale in (axis.xaxis, axis.yaxis):
            _plain_ticks(scale)
    axes[0, 0].set_ylabel('largest principal value')
    axes[0, 0].legend(loc='lower right', frameon=False)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure
