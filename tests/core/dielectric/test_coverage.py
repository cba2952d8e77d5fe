"""Coverage of prediction intervals."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.dielectric.coverage import (
    INTERVAL,
    coverage,
    coverage_by_level,
    coverage_by_target,
    within_interval,
)


def test_coverage_of_normal_errors():
    random = np.random.default_rng(0)
    deviations = random.uniform(0.5, 2, 20000)
    errors = random.normal(size=20000) * deviations
    assert coverage(errors, deviations) == pytest.approx(0.9, abs=0.01)
    levels = [0.5, 0.9, 0.99]
    np.testing.assert_allclose(coverage_by_level(errors, deviations, levels), levels, atol=0.015)
    # 1.645/2 standard deviations contain 58.9 %
    assert coverage(errors, deviations / 2) == pytest.approx(0.589, abs=0.015)


def test_values_without_label_or_deviation_do_not_count():
    errors = np.array([[0.1, 5.0, 0.0], [np.nan, 1.0, 1.0]])
    deviations = np.array([[1.0, 1.0, 0.0], [1.0, np.nan, 0.0]])
    assert coverage(errors, deviations) == 0.5
    assert np.isnan(coverage(errors[:, 2], deviations[:, 2]))
    with pytest.raises(ValueError, match='shape'):
        coverage(errors, deviations[0])


def test_the_interval_is_closed():
    assert within_interval(INTERVAL, 1.0)
    assert within_interval(-INTERVAL, 1.0)
    assert not within_interval(INTERVAL + 1e-12, 1.0)


def test_targets_and_quantities():
    """The average differs by 1; the anisotropy of a cubic crystal has no standard deviation."""
    labels = np.tile(3 * np.eye(3), (2, 3, 1, 1))
    labels[1, 1:] = np.nan
    predicted = labels + np.eye(3)
    predicted[:, 2] = np.nan
    average = np.full((2, 3), 1 / INTERVAL + 1e-9)
    average[1, 0] = 0.5
    deviations = {
        'average': average,
        'anisotropy': np.zeros((2, 3)),
        'eigenvalues': np.tile(np.array([0.1, 0.1, 9.0]), (2, 3, 1)),
    }
    found = coverage_by_target(predicted, labels, deviations)
    assert set(found) == {'electronic', 'ionic'}
    assert found['electronic'] == {'average': 50.0, 'eigenvalues': pytest.approx(100 / 3)}
    assert found['ionic'] == {'average': 100.0, 'eigenvalues': pytest.approx(100 / 3)}
