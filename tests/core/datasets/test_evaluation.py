"""Evaluation of predictions: rows are matched by content; refused rows do not count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.evaluation import evaluate_predictions
from aiida_goectp.core.formats.errors import FormatError


@pytest.fixture
def data(crystal_set):
    """Labels that exceed the predictions of ``predict_by_hand`` by the identity; GaAs has no ionic label."""
    tensors = np.arange(2, 8)[:, None, None] * np.eye(3)
    ionic = tensors / 2
    ionic[2] = np.nan
    functional = np.array(['PBE', 'PBE', *['PBEsol'] * 4])
    return Dataset(crystal_set, tensors + np.eye(3), ionic, functional=functional)


def test_metrics_by_target_system_and_functional(data, crystal_set, predict_by_hand):
    found = evaluate_predictions(predict_by_hand(crystal_set), data)
    assert (found['rows'], found['failed'], found['refused'], found['model_hash']) == (6, 0, 0, 'a' * 40)
    metrics = found['all']
    assert {name: part['rows'] for name, part in metrics.items()} == {'electronic': 6, 'ionic': 5, 'total': 5}
    assert metrics['electronic']['mae_average'] == pytest.approx(1)
    assert metrics['ionic']['mae'] == 0
    assert metrics['total']['mae_average'] == pytest.approx(1)
    assert set(found['by_crystal_system']) == {'cubic', 'tetragonal', 'hexagonal'}
    assert found['by_crystal_system']['cubic']['ionic']['rows'] == 3
    assert {name: part['electronic']['rows'] for name, part in found['by_functional'].items()} == {
        'PBE': 2,
        'PBEsol': 4,
    }


def test_coverage(data, crystal_set, predict_by_hand):
    """The error of the average is 1, which is within the interval if σ ≥ 1/1.645."""
    whole = predict_by_hand(crystal_set)
    assert evaluate_predictions(whole, data)['coverage_90'] == {}
    sigma = np.where(np.arange(6) < 3, 0.55, 0.67)
    with_deviations = replace(whole, average_std=np.repeat(sigma[:, None], 3, axis=1))
    found = evaluate_predictions(with_deviations, data)['coverage_90']
    assert found['electronic']['average'] == pytest.approx(50)
    assert found['ionic']['average'] == 100
    assert set(found['total']) == {'average'}


def test_a_part_of_the_rows_in_another_order(data, crystal_set, predict_by_hand):
    whole = predict_by_hand(crystal_set)
    assert (
        evaluate_predictions(whole.take([5, 0, 3]), data)['all']
        == evaluate_predictions(whole.take([0, 3, 5]), data.take([3, 5, 1, 0]))['all']
    )


def test_failed_and_refused_rows_do_not_count(data, crystal_set, predict_by_hand):
    labels = data.electronic.copy()
    labels[0] *= 1e6
    refused = replace(data, electronic=labels, failed_gates=np.array(['insulating', *[''] * 5]))
    found = evaluate_predictions(predict_by_hand(crystal_set, failed=[1, 5]), refused)
    assert (found['rows'], found['failed'], found['refused']) == (3, 2, 1)
    assert found['all']['electronic']['mae_average'] == pytest.approx(1)


def test_models_with_one_target(data, crystal_set, predict_by_hand):
    whole = predict_by_hand(crystal_set)
    unknown = np.full((6, 3, 3), np.nan)
    assert set(evaluate_predictions(replace(whole, ionic=unknown, total=unknown), data)['all']) == {'electronic'}
    assert set(evaluate_predictions(replace(whole, ionic=unknown, electronic=unknown), data)['all']) == {'total'}


def test_invalid_predictions_are_refused(data, crystal_set, predict_by_hand):
    whole = predict_by_hand(crystal_set)
    with pytest.raises(FormatError, match=r'1 .*AlN'):
        evaluate_predictions(whole, data.take(range(5)))
    stretched = replace(crystal_set, lattices=crystal_set.lattices * 1.001)
    with pytest.raises(FormatError, match='6 '):  # the same ids, other crystals
        evaluate_predictions(whole, replace(data, crystals=stretched))
    with pytest.raises(FormatError, match='duplicate'):
        evaluate_predictions(whole.take([0, 0]), data)
    with pytest.raises(FormatError, match=r'of 6 rows, 0 .* and 6 '):
        evaluate_predictions(predict_by_hand(crystal_set, failed=range(6)), data)
    with pytest.raises(FormatError, match=r'of 6 rows, 6 .* and 0 '):
        evaluate_predictions(whole, Dataset(crystal_set))
