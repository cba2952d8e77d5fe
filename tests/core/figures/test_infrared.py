"""The figure of infrared spectra."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.dielectric.gamma_modes import WAVENUMBER
from aiida_goectp.core.dielectric.infrared import infrared_spectra
from aiida_goectp.core.figures import infrared_figure, save_figure
from tests.core.dielectric.test_infrared import uniaxial


def test_a_column_for_each_distinct_axis_and_a_line_for_each_source(tmp_path):
    cells = {'prediction': uniaxial(), 'DFPT $': uniaxial(spring=11.0)}
    spectra = infrared_spectra(cells, np.linspace(0, 30, 301), 0.2)
    figure = infrared_figure(spectra, 'MgO')
    assert len(figure.axes) == 6
    curves = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 301]
    assert [line.get_label() for line in curves] == ['prediction', r'DFPT \$']
    np.testing.assert_allclose(curves[1].get_ydata(), spectra.permittivity[1, :, 0].real)
    np.testing.assert_allclose(curves[0].get_xdata(), spectra.frequencies * WAVENUMBER)
    assert [axis.get_title() for axis in figure.axes[:2]] == ['polarised along x, y', 'polarised along z']
    lowest = [line for line in figure.axes[5].get_lines() if len(line.get_xdata()) == 301]
    np.testing.assert_allclose(lowest[0].get_ydata(), spectra.reflectivity[0, :, 2])
    assert save_figure(figure, tmp_path / 'f.svg').stat().st_size > 5000
    assert len(figure.legends) == 1
    assert not infrared_figure(infrared_spectra({'one': uniaxial()}, spectra.frequencies, 0.2)).legends
