"""Density of many points, in the place of a mark for each."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ('MAX_POINTS', 'draw_density')

MAX_POINTS = 20_000
"""points up to which each has its mark; more of them would hide each other, and take minutes to draw"""

_ACROSS = 70
"""hexagons along the horizontal axis"""
_LIGHTEST = 0.25
"""place in the colour map of a hexagon with one point, which differs from the white of the paper"""


def draw_density(
    axis: Any, x: np.ndarray, y: np.ndarray, limits: tuple[float, float, float, float], *, flat: str = '', **scales: str
) -> Any:
    """Draw hexagons shaded by the logarithm of the number of points in them, and return them for a colour bar.

    The shades are also ordered in grey. Hexagons without a point stay white.

    :param axis: axes of matplotlib
    :param x: (n,)
    :param y: (n,)
    :param limits: of both axes: smallest and largest x, smallest and largest y; points beyond are omitted
    :param flat: one colour for all hexagons with a point, instead of shades
    :param scales: ``xscale`` and ``yscale``, ``log`` for a logarithmic one
    """
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap

    shades = mpl.colormaps['Blues'](np.linspace(_LIGHTEST, 1, 256))
    extent = [
        np.log10(limit) if scales.get(f'{"xy"[place // 2]}scale') == 'log' else limit
        for place, limit in enumerate(limits)
    ]
    return axis.hexbin(
        x, y, gridsize=_ACROSS, bins='log', mincnt=1, extent=extent, linewidths=0.2, zorder=1.6,
        cmap=ListedColormap([flat] if flat else shades), **scales,
    )  # fmt: skip
