"""Permittivity and reflectivity in the infrared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.dielectric.gamma_modes import WAVENUMBER
from aiida_goectp.core.dielectric.infrared import InfraredSpectra, axis_name
from aiida_goectp.core.figures.style import new_figure, styled
from aiida_goectp.core.formats.terminal import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ('infrared_figure',)

# M. Okabe and K. Ito, Color Universal Design (2008)
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7')
_LINES = ('-', '--', '-.', ':')
_ROWS = (r'Re $\varepsilon$', r'Im $\varepsilon$', 'reflectivity')


@styled
def infrared_figure(spectra: InfraredSpectra, title: str = '') -> Figure:
    """Return a column for each distinct axis: real part, imaginary part, reflectivity against wavenumber.

    The upper scale is the frequency in THz. There is one line for each source.
    """
    groups = spectra.distinct_axes()
    figure, panels = new_figure(3, len(groups))
    wavenumbers, values = spectra.frequencies * WAVENUMBER, spectra.permittivity
    for column, axes in enumerate(groups):
        for source, label in enumerate(spectra.labels):
            along = values[source, :, axes[0]]
            curves = (along.real, along.imag, spectra.reflectivity[source, :, axes[0]])
            for axis, curve in zip(panels[:, column], curves, strict=True):
                axis.plot(
                    wavenumbers,
                    curve,
                    color=_COLOURS[source % len(_COLOURS)],
                    linestyle=_LINES[source % len(_LINES)],
                    linewidth=1.2,
                    label=_plain(str(label)),
                )
        _scales(panels[:, column], wavenumbers)
        names = ', '.join(axis_name(spectra.axes[0, axis]) for axis in axes)
        panels[0, column].set_title(f'polarised along {names}')
    for axis, name in zip(panels[:, 0], _ROWS, strict=True):
        axis.set_ylabel(name)
    if len(spectra.labels) > 1:
        figure.legend(*panels[2, 0].get_legend_handles_labels(), loc='outside lower center', ncols=2, frameon=False)
    if title:
        figure.suptitle(_plain(title), fontsize=10)
    return figure


def _scales(column: np.ndarray, wavenumbers: np.ndarray) -> None:
    for axis in column:
        axis.set_xlim(wavenumbers[0], wavenumbers[-1])
        axis.axhline(0, color='black', linewidth=0.5)
    column[2].set(ylim=(0, 1), xlabel=r'wavenumber (cm$^{-1}$)')
    upper: Any = column[0].secondary_xaxis('top', functions=(lambda x: x / WAVENUMBER, lambda x: x * WAVENUMBER))
    upper.set_xlabel('frequency (THz)')


def _plain(text: str) -> str:
    return printable(text).replace('$', r'\$')  # no formula
