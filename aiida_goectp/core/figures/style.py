"""What all figures share: colours that colour-blind readers tell apart, sizes, and how a file is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('COLOURS', 'DASHES', 'MARKERS', 'NAMES', 'new_figure', 'save_figure', 'styled')

_P = ParamSpec('_P')

NAMES = {
    'electronic': r'electronic, $\varepsilon_\infty$',
    'ionic': r'ionic, $\varepsilon_\mathrm{ion}$',
    'total': r'total, $\varepsilon_0$',
}

# M. Okabe and K. Ito, Color Universal Design (2008); markers and dashes tell them apart without colour
COLOURS = {'electronic': '#0072B2', 'ionic': '#D55E00', 'total': '#009E73'}
MARKERS = {'electronic': 'o', 'ionic': 's', 'total': '^'}
DASHES = {'electronic': '-', 'ionic': '--', 'total': '-.'}

_PANEL = 3.3
"""inches, the edge of a square panel"""
_STYLE: Any = {
    'font.size': 10,
    'axes.titlesize': 10,
    'axes.labelsize': 10,
    'legend.fontsize': 8.5,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.color': '#e5e5e5',
    'grid.linewidth': 0.6,
    'svg.hashsalt': 'aiida-goectp',  # else the names within an svg change from run to run
}


def new_figure(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """Return a figure with square panels, and the (rows, columns) array of its axes; no window and no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_PANEL * columns + 0.4, _PANEL * rows + 0.4), layout='constrained')
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def styled(function: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Draw in the style of this package, whatever the user's settings of matplotlib, which stay as they are."""

    @wraps(function)
    def draw(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        import matplotlib as mpl

        with mpl.rc_context(_STYLE):
            return function(*args, **kwargs)

    return draw


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a file, PNG, SVG or PDF by its ending; the same figure gives the same bytes.

    :raises ValueError: an ending that is none of these
    """
    import matplotlib as mpl

    path = Path(path)
    undated = {'.png': {'Software': None}, '.svg': {'Date': None}, '.pdf': {'CreationDate': None}}
    if path.suffix not in undated:
        raise ValueError(f'{path}: figures are written as {", ".join(undated)}')
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        figure.savefig(path, dpi=160, metadata=undated[path.suffix])
    return path
