"""The calibration figure."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.figures import calibration_figure
from aiida_goectp.core.figures.calibration import LEVELS


def test_one_panel_per_quantity_and_one_line_per_target():
    observed = {'average': {'electronic': LEVELS, 'total': LEVELS**2}, 'anisotropy': {'total': LEVELS}}
    figure = calibration_figure(observed, title='validation rows')
    first, second = figure.axes
    assert [first.get_title(), second.get_title()] == ['average', 'anisotropy']
    lines = {line.get_label(): line for line in first.get_lines()}
    np.testing.assert_allclose(lines[r'total, $\varepsilon_0$'].get_ydata(), 100 * LEVELS**2)
    assert len(second.get_lines()) == len(first.get_lines()) - 1
    assert '(%)' in first.get_xlabel()
    assert '(%)' in first.get_ylabel()
