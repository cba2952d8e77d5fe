"""Permittivity against band gap, with lines of equal merit and the Pareto front."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aiida_goectp.core.figures.density import MAX_POINTS, draw_density
from aiida_goectp.core.figures.style import NAMES, new_figure, styled
from aiida_goectp.core.formats.npz import BLOCK_ROWS
from aiida_goectp.core.selection.merit import FigureOfMerit, figure_of_merit, label_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('GapPoints', 'gap_figure', 'lines_of_equal_merit', 'pareto_front')

_POINTS = 60
"""points of a line of equal merit"""
_LEVELS = (1.0, 0.5, 0.2, 0.1)
"""levels of the lines, in units of the highest score"""
_EXCLUDED, _CELL, _RANKED, _MARKED, _FRONT = '#9a9a9a', '#d0d0d0', '#0072B2', '#D55E00', 'black'


_Limits = tuple[float, float, float, float]
"""of the axes: smallest and largest gap, smallest and largest permittivity"""


class GapPoints(NamedTuple):
    """Band gap and permittivity of n crystals."""

    gap: np.ndarray
    """(n,) eV, NaN where unknown"""
    permittivity: np.ndarray
    """(n,) polycrystalline average, NaN where unknown"""
    deviation: np.ndarray | None = None
    """(n,) standard deviation of the permittivity, NaN where unknown"""
    ranked: np.ndarray | None = None
    """(n,) true where the crystal has a rank; all if not given"""
    marked: np.ndarray | None = None
    """(n,) true for crystals to emphasise, such as the selected ones"""
    labels: np.ndarray | None = None
    """(n,) text beside the marked crystals"""


def pareto_front(gap: np.ndarray, permittivity: np.ndarray) -> np.ndarray:
    """Return the rows of which no other has both a larger band gap and a larger permittivity, by ascending gap.

    :param gap: (n,) eV; rows with NaN are omitted, as are those with NaN permittivity
    :param permittivity: (n,)
    :return: rows, (k,)
    """
    known = np.flatnonzero(np.isfinite(gap) & np.isfinite(permittivity))
    order = known[np.lexsort((-permittivity[known], -gap[known]))]  # by descending gap
    highest = np.maximum.accumulate(np.concatenate([[-np.inf], permittivity[order]]))[:-1]
    return order[permittivity[order] > highest][::-1]


def lines_of_equal_merit(
    merit: str | FigureOfMerit, gap: np.ndarray, permittivity: np.ndarray
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Return lines along which the figure of merit is constant: its value, band gaps (k,) in eV, permittivities (k,).

    The levels are fractions of the highest score of the given crystals. There are none for figures of merit that do not
    depend on gap and average alone, such as the anisotropy.

    :param gap: (n,) eV
    :param permittivity: (n,) averages of the tensor on which the figure of merit depends
    """
    figure = figure_of_merit(merit) if isinstance(merit, str) else merit
    known = np.isfinite(gap) & np.isfinite(permittivity) & (gap >= 0)
    if figure.uncertain != 'average' or not known.any():
        return []
    gaps = np.linspace(0.02, 1.02, _POINTS) * max(float(gap[known].max()), 1.0)
    values = np.geomspace(0.5, 4 * max(float(permittivity[known].max()), 2.0), 4 * _POINTS)
    scores = np.array([_score(figure, np.full(len(values), one), values) for one in gaps])
    rows = np.flatnonzero(known)
    blocks = np.array_split(rows, math.ceil(len(rows) / BLOCK_ROWS))  # the tensors of all take much memory
    best = float(np.nanmax([np.fmax.reduce(_score(figure, gap[block], permittivity[block])) for block in blocks]))
    lines = []
    for level in (share * best for share in _LEVELS):
        line = np.array([np.interp(level, row, values, left=np.nan, right=np.nan) for row in scores])
        if np.isfinite(line).sum() > 1:
            lines.append((level, gaps[np.isfinite(line)], line[np.isfinite(line)]))
    return lines


def _score(figure: FigureOfMerit, gap: np.ndarray, permittivity: np.ndarray) -> np.ndarray:
    tensors = np.asarray(permittivity)[:, None, None] * np.eye(3)
    parts = (0 * tensors, tensors) if figure.tensor == 'ionic' else (tensors, 0 * tensors)
    return np.asarray(figure.function(label_rows(*parts), gap))


@styled
def gap_figure(points: GapPoints, merit: str = 'gap_total', title: str = '') -> Figure:
    """Return the permittivity on a logarithmic axis against the band gap.

    Dashed lines have equal figure of merit; the step line is the Pareto front of the ranked crystals. More than
    :data:`.MAX_POINTS` ranked crystals are drawn as a density, without standard deviations, and excluded ones then as
    the area that they cover.

    :param merit: name of a figure of merit, which also determines the tensor on the vertical axis
    """
    figure, axes = new_figure(1, 1, width=1.7, height=1.35)
    axis, tensor = axes[0, 0], figure_of_merit(merit).tensor
    known = np.isfinite(points.gap) & np.isfinite(points.permittivity) & (points.permittivity > 0)
    ranked = known if points.ranked is None else known & points.ranked
    marked = np.zeros_like(known) if points.marked is None else ranked & points.marked
    limits = _axis_limits(points.gap[known], points.permittivity[known])
    excluded, others = known & ~ranked, ranked & ~marked
    dense = others.sum() > MAX_POINTS
    if dense or excluded.sum() > MAX_POINTS:
        _cells(axis, points, excluded, 'excluded', limits)
    else:
        _scatter(axis, points, excluded, 'excluded', marker='x', color=_EXCLUDED, s=18, linewidths=0.9)
    if dense:
        _cells(axis, points, others, 'ranked', limits)
    else:
        _scatter(axis, points, others, 'ranked', marker='o', color=_RANKED, s=18, alpha=0.75, linewidths=0)
    _scatter(axis, points, marked, 'selected', marker='D', facecolors='white', edgecolors=_MARKED, s=30, linewidths=1.5)
    front = np.flatnonzero(ranked)[pareto_front(points.gap[ranked], points.permittivity[ranked])]
    if len(front) > 1:
        axis.step(points.gap[front], points.permittivity[front], where='pre', color=_FRONT, lw=1, label='Pareto front')
    for number, (value, gaps, line) in enumerate(
        lines_of_equal_merit(merit, points.gap[ranked], points.permittivity[ranked])
    ):
        label = f'equal {merit}' if number == 0 else None
        axis.plot(gaps, line, color='#666666', linestyle=(0, (5, 3)), linewidth=0.8, label=label, zorder=1.8)
        _line_label(axis, value, gaps, line, points.permittivity[known])
    _write_labels(axis, points, marked, limits)
    axis.set(yscale='log', xlabel='band gap (eV)', ylabel=f'{NAMES[tensor]}, average', title=title)
    _set_limits(axis, limits, bool(known.any()))
    figure.legend(loc='outside lower center', ncols=3, frameon=False)
    return figure


def _cells(axis: Any, points: GapPoints, rows: np.ndarray, name: str, limits: _Limits) -> None:
    """Draw the density of the ranked crystals, and of the excluded ones only where they are."""
    if not rows.any():
        return
    flat = _CELL if name == 'excluded' else ''
    cells = draw_density(axis, points.gap[rows], points.permittivity[rows], limits, flat=flat, yscale='log')
    if not flat:
        axis.figure.colorbar(cells, ax=axis, label=f'{name} crystals in a hexagon', pad=0.01)
    axis.scatter([], [], marker='h', s=60, color=flat or cells.get_cmap()(0.6), label=f'{name} ({rows.sum():,})')


def _scatter(axis: Any, points: GapPoints, rows: np.ndarray, name: str, **style: Any) -> None:
    if not rows.any():
        return
    x, y = points.gap[rows], points.permittivity[rows]
    if points.deviation is not None and name != 'excluded':
        bars = np.nan_to_num(points.deviation[rows])
        low = np.minimum(bars, 0.9 * y)
        axis.errorbar(x, y, yerr=[low, bars], fmt='none', ecolor='#888888', lw=0.6, zorder=1)
    axis.scatter(x, y, label=f'{name} ({rows.sum():,})', zorder=2, **style)


def _line_label(axis: Any, value: float, gaps: np.ndarray, line: np.ndarray, values: np.ndarray) -> None:
    """Write the value of a line of equal merit at its right end, if that is within the axes."""
    if values.min() * 0.8 < line[-1] < values.max() * 1.6:
        axis.text(gaps[-1], line[-1], f' {value:.4g}', fontsize=7.5, color='#444444', va='center', clip_on=False)


def _write_labels(axis: Any, points: GapPoints, marked: np.ndarray, limits: _Limits) -> None:
    """Write labels beside the marked crystals, without those that would overlap one that is written."""
    if points.labels is None or not marked.any():
        return
    left, right, bottom, top = limits
    width, height = right - left, np.log(top / bottom)
    written: list[tuple[float, float]] = []
    right_end = 0.85 * float(np.nanmax(points.gap))  # where the values of the lines of equal merit stand
    for row in np.flatnonzero(marked):
        place = points.gap[row] / width, np.log(points.permittivity[row]) / height
        if all(abs(place[0] - x) > 0.16 or abs(place[1] - y) > 0.055 for x, y in written):
            written.append(place)
            text = str(points.labels[row]).replace('$', r'\$')
            shift, side = (-4, 'right') if points.gap[row] > right_end else (4, 'left')
            axis.annotate(
                text,
                (points.gap[row], points.permittivity[row]),
                (shift, 4),
                textcoords='offset points',
                fontsize=7.5,
                ha=side,
                bbox={'facecolor': 'white', 'alpha': 0.85, 'linewidth': 0, 'pad': 0.4},  # interrupts lines
            )


def _axis_limits(gaps: np.ndarray, values: np.ndarray) -> _Limits:
    if not len(gaps):
        return 0.0, 1.0, 1.0, 10.0
    return 0.0, 1.04 * max(float(gaps.max()), 1.0), 0.75 * float(values.min()), 1.7 * float(values.max())


def _set_limits(axis: Any, limits: _Limits, known: bool) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if not known:
        axis.text(0.5, 0.5, 'no crystal with band gap and permittivity', transform=axis.transAxes, ha='center')
        return
    axis.set(xlim=limits[:2], ylim=limits[2:])
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.yaxis.set_minor_formatter(NullFormatter())
