"""Final ranking of a campaign: labels in place of predictions, failures excluded."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.final_ranking import rank_verified
from aiida_goectp.core.selection.history import History, PickRecord, Round

from .builders import FAILURE, crystal_set, predictions_for

POOL = crystal_set(6, {'band_gap': np.array([1.0, 1, 1, 1, 1, 5])}, [FAILURE])
PREDICTED = predictions_for(POOL, np.arange(6) + 2.0, np.arange(6) + 2.0, std=0.5)


def history(merit='total', **values):
    """Return the history of one round: name → fields of its record."""
    rows = {str(name): str(POOL.hashes[row]) for row, name in enumerate(POOL.ids)}
    picks = tuple(PickRecord(id=name, hash=rows[name], mean=1.0, **fields) for name, fields in values.items())
    return History(figure_of_merit=merit, rounds=(Round(number=1, model_hash='m', picks=picks),))


def labelled(rows, value=30.0):
    tensors = np.tile(value / 2 * np.eye(3), (len(rows), 1, 1))
    return Dataset(POOL.take(rows), tensors, tensors)


def test_labels_replace_predictions():
    done = history(
        c1={'outcome': 'accepted', 'value': 20.0, 'electronic': 8.0, 'ionic': 12.0},
        c5={'outcome': 'failed', 'failure': 'no convergence; twice'},
    )
    ranking = rank_verified(POOL, PREDICTED, labelled([0]), done)
    assert ranking.ids[ranking.top()].tolist() == ['c0', 'c1', 'c4', 'c3', 'c2']
    np.testing.assert_allclose(ranking.score[:2], [30.0, 20.0])
    assert (ranking.electronic[1], ranking.ionic[1], ranking.total[1]) == (8.0, 12.0, 20.0)
    assert ranking.total_std[:6].tolist() == [0.0, 0.0, 0.5, 0.5, 0.5, 0.5]
    assert ranking.reason[5] == 'failed permanently: no convergence, twice'
    assert ranking.reason[6].startswith('import failed')
    assert ranking.settings['verified'] == 2


def test_filters_exclude_verified_crystals():
    done = history(c5={'outcome': 'accepted', 'value': 90.0, 'electronic': 40.0, 'ionic': 50.0})
    ranking = rank_verified(POOL, PREDICTED, labelled([]), done, Filters(max_gap=2))
    assert ranking.rank[5] == 0
    assert 'band_gap > 2' in ranking.reason[5]


def test_band_gap_is_that_of_the_pool():
    label = labelled([5])
    columns = {'band_gap': np.array([9.0])}
    other = type(label)(type(POOL).from_crystals([POOL[5]], columns), label.electronic, label.ionic)
    ranking = rank_verified(POOL, PREDICTED, other, history('gap_total'))
    assert ranking.score[5] == pytest.approx(5 * 30.0)


def test_verified_crystal_without_a_prediction_is_ranked():
    predictions = predictions_for(POOL, errors=['', '', 'too large', '', '', ''])
    done = history(c2={'outcome': 'accepted', 'value': 50.0, 'electronic': 20.0, 'ionic': 30.0})
    ranking = rank_verified(POOL, predictions, labelled([]), done)
    assert ranking.ids[ranking.top(1)].tolist() == ['c2']
