"""Style common to all figures, and their files."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('COLOURS', 'DASHES', 'MARKERS', 'NAMES', 'figure_bytes', 'new_figure', 'save_figure', 'styled')

_P = ParamSpec('_P')

NAMES = {
    'electronic': r'electronic, $\varepsilon_\infty$',
    'ionic': r'ionic, $\varepsilon_\mathrm{ion}$',
    'total': r'total, $\varepsilon_0$',
}

# M. Okabe and K. Ito, Color Universal Design (2008); markers and dashes distinguish the parts without colour
COLOURS = {'electronic': '#0072B2', 'ionic': '#D55E00', 'total': '#009E73'}
MARKERS = {'electronic': 'o', 'ionic': 's', 'total': '^'}
DASHES = {'electronic': '-', 'ionic': '--', 'total': '-.'}

_UNDATED: dict[str, Any] = {'png': {'Software': None}, 'svg': {'Date': None}, 'pdf': {'CreationDate': None}}
"""metadata of each file format, without a date"""
_PANEL = 3.3
"""edge of a square panel in inches"""
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
    'svg.hashsalt': 'aiida-goectp',  # otherwise ids within an svg differ between runs
}


def new_figure(rows: int, columns: int, width: float = 1.0, height: float = 1.0) -> tuple[Figure, np.ndarray]:
    """Return a figure with panels and the (rows, columns) array of its axes, without global state.

    :param width: of a panel, in units of that of a square panel
    :param height: likewise
    """
    from matplotlib.figure import Figure

    size = (_PANEL * width * columns + 0.4, _PANEL * height * rows + 0.4)
    figure = Figure(figsize=size, layout='constrained')
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def styled(function: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Apply the style of this package in a function; the settings of the user are not changed."""

    @wraps(function)
    def draw(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        import matplotlib as mpl

        with mpl.rc_context(_STYLE):
            return function(*args, **kwargs)

    return draw


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a PNG, SVG or PDF file; equal figures give equal bytes.

    :raises ValueError: another ending
    """
    path = Path(path)
    if path.suffix not in (known := [f'.{name}' for name in _UNDATED]):
        raise ValueError(f'{path}: unknown file type; supported: {", ".join(known)}')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(figure_bytes(figure, path.suffix[1:]))
    return path


def figure_bytes(figure: Figure, file_format: str) -> bytes:
    """Return the content of the file of a figure.

    :param file_format: ``png``, ``svg`` or ``pdf``
    """
    import matplotlib as mpl

    stream = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(stream, format=file_format, dpi=160, metadata=_UNDATED[file_format])
    return stream.getvalue()
