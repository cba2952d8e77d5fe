"""Predicted ε∞ of layered crystals with increasing vacuum, compared with the electrostatic average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aiida_goectp.core.figures.style import new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('VacuumSeries', 'vacuum_figure')

_PREDICTED, _AVERAGED, _COMPUTED = '#0072B2', '#D55E00', 'black'


class VacuumSeries(NamedTuple):
    """One layered crystal at k interlayer gaps."""

    name: str
    normal: np.ndarray
    """(3,) unit vector perpendicular to the layers"""
    gaps: np.ndarray
    """(k,) Å, mean of the gaps of the crystal"""
    predicted: np.ndarray
    """(k, 3, 3) ε∞"""
    averaged: np.ndarray
    """(k, 3, 3) ε∞ by electrostatics from the tensor at the first gap, see :func:`.vacuum_averaged`"""
    deviation: np.ndarray | None = None
    """(k, 3, 3) standard deviations as in ``electronic_std``"""
    computed: np.ndarray | None = None
    """(3, 3) ε∞ by DFPT at the first gap"""


@styled
def vacuum_figure(crystals: Sequence[VacuumSeries], title: str = '') -> Figure:
    """Return a column for each crystal: ε∞ against the gap, within the layers (top) and across them (bottom)."""
    figure, axes = new_figure(2, len(crystals))
    for column, crystal in enumerate(crystals):
        across = np.outer(crystal.normal, crystal.normal)
        for row, projector in enumerate(((np.eye(3) - across) / 2, across)):
            _panel(axes[row, column], crystal, projector)
        axes[0, column].set_title(crystal.name)
        axes[1, column].set_xlabel('interlayer gap (Å)')
    axes[0, 0].set_ylabel(r'$\varepsilon_\infty$ within the layers')
    axes[1, 0].set_ylabel(r'$\varepsilon_\infty$ across the layers')
    axes[0, 0].legend(loc='best', frameon=False)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _panel(axis: Any, crystal: VacuumSeries, projector: np.ndarray) -> None:
    def part(tensors: np.ndarray) -> np.ndarray:
        return np.einsum('...ij,ij->...', tensors, projector)

    axis.plot(
        crystal.gaps, part(crystal.averaged), color=_AVERAGED, linestyle='--', linewidth=1.4, label='electrostatics'
    )
    bars = None if crystal.deviation is None else np.nan_to_num(part(crystal.deviation))
    axis.errorbar(
        crystal.gaps,
        part(crystal.predicted),
        yerr=bars,
        color=_PREDICTED,
        marker='o',
        markersize=4,
        linestyle='none',
        elinewidth=0.8,
        label='predicted',
    )
    if crystal.computed is not None:
        axis.plot(
            crystal.gaps[:1], [part(crystal.computed)], color=_COMPUTED, marker='*', markersize=10, linestyle='none',
            label='DFPT',
        )  # fmt: skip
    axis.set_ylim(bottom=1.0)
