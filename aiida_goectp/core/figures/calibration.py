"""Calibration plot: observed against nominal coverage of prediction intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.figures.style import COLOURS, DASHES, MARKERS, NAMES, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('LEVELS', 'calibration_figure')

LEVELS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
"""nominal coverages"""

_TARGET_RANGE = (88, 92)
"""%, required coverage of the nominal 90 % interval"""


@styled
def calibration_figure(
    observed: Mapping[str, Mapping[str, np.ndarray]], levels: np.ndarray = LEVELS, title: str = ''
) -> Figure:
    """Return a panel for each quantity with a line for each target; calibrated intervals are on the diagonal.

    :param observed: quantity (average, anisotropy, eigenvalues) → target → (k,) from :func:`.coverage_by_level`
    :param levels: (k,) nominal coverages between 0 and 1
    """
    figure, axes = new_figure(1, len(observed))
    for axis, (quantity, by_target) in zip(axes[0], observed.items(), strict=True):
        axis.plot([0, 100], [0, 100], color='black', linewidth=0.8, label='nominal')
        axis.plot(
            [90, 90],
            _TARGET_RANGE,
            color='black',
            linewidth=4,
            alpha=0.35,
            solid_capstyle='butt',
            label='required: 88 to 92 % at 90 %',
        )
        for target in (name for name in PARTS if name in by_target):
            axis.plot(
                100 * np.asarray(levels),
                100 * by_target[target],
                color=COLOURS[target],
                marker=MARKERS[target],
                linestyle=DASHES[target],
                markersize=4,
                linewidth=1.2,
                label=NAMES[target],
            )
        axis.set(xlim=(0, 100), ylim=(0, 100), xlabel='nominal coverage (%)', title=quantity, aspect='equal')
    axes[0, 0].set_ylabel('observed coverage (%)')
    axes[0, 0].legend(loc='upper left', frameon=False)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure
