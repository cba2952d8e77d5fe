"""Does a model know how sure it is: the stated against the observed coverage of its intervals."""

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
"""stated coverages that are looked at"""

_AIM = (88, 92)
"""% that stated 90 % are to hold"""


@styled
def calibration_figure(
    observed: Mapping[str, Mapping[str, np.ndarray]], levels: np.ndarray = LEVELS, title: str = ''
) -> Figure:
    """Return a panel for each quantity with a line for each target; on the diagonal the model is as sure as it may be.

    :param observed: quantity (average, anisotropy, eigenvalues) → target → (k,) from :func:`.coverage_by_level`
    :param levels: (k,) stated coverages between 0 and 1
    """
    figure, axes = new_figure(1, len(observed))
    for axis, (quantity, by_target) in zip(axes[0], observed.items(), strict=True):
        axis.plot([0, 100], [0, 100], color='black', linewidth=0.8, label='as stated')
        axis.plot(
            [90, 90],
            _AIM,
            color='black',
            linewidth=4,
            alpha=0.35,
            solid_capstyle='butt',
            label='aim: 88 to 92 % at 90 %',
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
        axis.set(xlim=(0, 100), ylim=(0, 100), xlabel='stated coverage (%)', title=quantity, aspect='equal')
    axes[0, 0].set_ylabel('labels within (%)')
    axes[0, 0].legend(loc='upper left', frameon=False)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure
