"""Predictions against labels: rows are matched by content, and what gates refuse has no say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.evaluation import evaluate_predictions
from aiida_goectp.core.formats.npz import FormatError


@pytest.fixture
def data(crystal_set):
    """Labels 1, 2, … of the identity more than what predict_by_hand says; GaAs has no ionic one."""
    tensors = np.arange(2, 8)[:, None, None] * np.eye(3)
    ionic = tensors / 2
    ionic[2] = np.nan
    functional = np.array(['PBE', 'PBE', *['PBEsol'] * 4])
    return Dataset(crystal_set, tensors + np.eye(3), ionic, functional=functional)


def test_by_target_system_and_functional(data, crystal_set, predict_by_hand):
    found = evaluate_predictions(predict_by_hand(crystal_set), data)
    assert (found['rows'], found['failed'], found['refused'], found['model_hash']) == (6, 0, 0, 'a' * 40)
    figures = found['all']
    assert {name: part['rows'] for name, part in figures.items()} == {'electronic': 6, 'ionic': 5, 'total': 5}
    assert figures['electronic']['mae_average'] == pytest.approx(1)
    assert figures['ionic']['mae'] == 0
    assert figures['total']['mae_average'] == pytest.approx(1)
    assert set(found['by_crystal_system']) == {'cubic', 'tetragonal', 'hexagonal'}
    assert found['by_crystal_system']['cubic']['ionic']['rows'] == 3
    assert {name: part['electronic']['rows'] for name, part in found['by_functional'].items()} == {
        'PBE': 2,
        'PBEsol': 4,
    }


def test_how_many_labels_lie_in_the_stated_intervals(data, crystal_set, predict_by_hand):
    """The average misses by 1; a tenth more or less than 1 / 1.645 as standard deviation decides."""
    whole = predict_by_hand(crystal_set)
    assert evaluate_predictions(whole, data)['coverage_90'] == {}
    sigma = np.where(np.arange(6) < 3, 0.55, 0.67)
    sure = replace(whole, average_std=np.repeat(sigma[:, None], 3, axis=1))
    found = evaluate_predictions(sure, data)['coverage_90']
    assert found['electronic']['average'] == pytest.approx(50)
    assert found['ionic']['average'] == 100
    assert set(found['total']) == {'average'}


def test_rows_in_another_order_and_fewer(data, crystal_set, predict_by_hand):
    whole = predict_by_hand(crystal_set)
    assert (
        evaluate_predictions(whole.take([5, 0, 3]), data)['all']
        == evaluate_predictions(whole.take([0, 3, 5]), data.take([3, 5, 1, 0]))['all']
    )


def test_failed_and_refused_rows_have_no_say(data, crystal_set, predict_by_hand):
    labels = data.electronic.copy()
    labels[0] *= 1e6
    refused = replace(data, electronic=labels, failed_gates=np.array(['insulating', *[''] * 5]))
    found = evaluate_predictions(predict_by_hand(crystal_set, failed=[1, 5]), refused)
    assert (found['rows'], found['failed'], found['refused']) == (3, 2, 1)
    assert found['all']['electronic']['mae_average'] == pytest.approx(1)


def test_a_model_that_knows_one_target(data, crystal_set, predict_by_hand):
    whole = predict_by_hand(crystal_set)
    unknown = np.full((6, 3, 3), np.nan)
    assert set(evaluate_predictions(replace(whole, ionic=unknown, total=unknown), data)['all']) == {'electronic'}
    assert set(evaluate_predictions(replace(whole, ionic=unknown, electronic=unknown), data)['all']) == {'total'}


def test_what_is_refused(data, crystal_set, predict_by_hand):
    whole = predict_by_hand(crystal_set)
    with pytest.raises(FormatError, match='1 predictions are of no crystal of the dataset: AlN'):
        evaluate_predictions(whole, data.take(range(5)))
    stretched = replace(crystal_set, lattices=crystal_set.lattices * 1.001)
    with pytest.raises(FormatError, match='6 predictions are of no crystal'):  # the same ids, other crystals
        evaluate_predictions(whole, replace(data, crystals=stretched))
    with pytest.raises(FormatError, match='predicted twice'):
        evaluate_predictions(whole.take([0, 0]), data)
    words = 'nothing to compare: of 6 rows, 0 have no label that may be used and 6 could not be predicted'
    with pytest.raises(FormatError, match=words):
        evaluate_predictions(predict_by_hand(crystal_set, failed=range(6)), data)
    with pytest.raises(FormatError, match='nothing to compare'):
        evaluate_predictions(whole, Dataset(crystal_set))
