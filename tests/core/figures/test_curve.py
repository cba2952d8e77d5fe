"""The learning curve and its exponents."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.figures import learning_curve_figure
from aiida_goectp.core.figures.curve import slope


def test_slope():
    rows = np.array([400.0, 100.0, 1600.0])
    assert slope(rows, 7 * rows**-0.35) == pytest.approx(-0.35)
    assert slope(rows, np.array([1.0, np.nan, 0.5])) == pytest.approx(-0.5)
    assert np.isnan(slope(rows, np.array([1.0, np.nan, np.nan])))
    assert np.isnan(slope(rows[:1], np.array([1.0])))


def test_points_are_sorted_by_rows():
    figure = learning_curve_figure([400, 100, 1600], {'ionic': [0.5, 1.0, 0.25], 'total': [1.0, 2.0, np.nan]})
    axis = figure.axes[0]
    ionic, total = axis.get_lines()
    assert ionic.get_xdata().tolist() == [100, 400, 1600]
    assert ionic.get_ydata().tolist() == [1.0, 0.5, 0.25]
    assert '-0.50' in ionic.get_label()
    assert (axis.get_xscale(), axis.get_yscale()) == ('log', 'log')
    assert axis.get_xlabel() == 'training rows'
    assert total.get_ydata().tolist()[:2] == [2.0, 1.0]
    with pytest.raises(ValueError, match='total: '):
        learning_curve_figure([1, 2], {'total': [1.0]})
