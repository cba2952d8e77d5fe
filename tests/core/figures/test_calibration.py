"""Coverage counts what it should, and the plot shows it."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.figures import calibration_figure, observed_coverage
from aiida_goectp.core.figures.calibration import LEVELS


def test_errors_as_large_as_stated_lie_on_the_diagonal():
    random = np.random.default_rng(0)
    deviations = random.uniform(0.1, 3, 20000)
    observed = observed_coverage(random.normal(size=20000) * deviations, deviations)
    np.testing.assert_allclose(observed, LEVELS, atol=0.012)
    too_sure = observed_coverage(random.normal(size=20000) * deviations, deviations / 2)
    assert too_sure[8] == pytest.approx(0.589, abs=0.015)  # 90 % stated: 1.645/2 standard deviations hold 58.9 %


def test_what_has_no_label_or_no_freedom_does_not_count():
    errors = np.array([[0.5, np.nan, 0.0], [5.0, 1.0, 9.0]])
    deviations = np.array([[1.0, 1.0, 0.0], [1.0, np.nan, 0.0]])
    assert observed_coverage(errors, deviations, np.array([0.9])).tolist() == [0.5]
    assert np.isnan(observed_coverage(errors[:, 2], deviations[:, 2])).all()
    with pytest.raises(ValueError, match='do not fit'):
        observed_coverage(errors, deviations[0])


def test_a_panel_for_each_quantity_and_a_line_for_each_target():
    observed = {'average': {'electronic': LEVELS, 'total': LEVELS**2}, 'anisotropy': {'total': LEVELS}}
    figure = calibration_figure(observed, title='validation rows')
    first, second = figure.axes
    assert [first.get_title(), second.get_title()] == ['average', 'anisotropy']
    lines = {line.get_label(): line for line in first.get_lines()}
    np.testing.assert_allclose(lines[r'total, $\varepsilon_0$'].get_ydata(), 100 * LEVELS**2)
    assert len(second.get_lines()) == len(first.get_lines()) - 1
    assert '(%)' in first.get_xlabel()
    assert '(%)' in first.get_ylabel()
