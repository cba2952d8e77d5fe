"""Final ranking of a campaign: labels in place of predictions, failures excluded."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.selection import KnownCrystals, PickSettings, pick
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.final_ranking import rank_verified
from aiida_goectp.core.selection.history import History, PickRecord, Round
from aiida_goectp.core.selection.reasons import ReasonCode, parse_reasons

from .builders import FAILURE, crystal_set, predictions_for, repeated

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


def other_cell(crystal, strain=0.0):
    """Return the crystal in a cell of twice the volume, strained."""
    positions = np.concatenate([crystal.fractional_positions * [0.5, 1, 1] + [shift, 0, 0] for shift in (0, 0.5)])
    lattice = np.diag([2, 1, 1]) @ crystal.lattice * (1 + strain)
    return Crystal('other', lattice, np.tile(crystal.atomic_numbers, 2), positions)


def of_crystals(crystals, value=30.0, **columns):
    tensors = np.tile(value / 2 * np.eye(3), (len(crystals), 1, 1))
    return Dataset(repeated(crystals, range(len(crystals))), tensors, tensors, **columns)


def codes(ranking, row):
    return [reason.code for reason in parse_reasons(str(ranking.reason[row]))]


@pytest.mark.parametrize('change', [lambda crystal: crystal, other_cell])
def test_refused_rows_of_the_starting_dataset_are_excluded(change):
    refused = of_crystals([change(POOL[5])], failed_gates=np.array(['symmetry']))
    ranking = rank_verified(POOL, PREDICTED, refused, history())
    assert ranking.ids[ranking.top()].tolist() == ['c4', 'c3', 'c2', 'c1', 'c0']
    assert codes(ranking, 5) == [ReasonCode.FAILED_PERMANENTLY]
    assert ranking.settings['verified'] == 0


@pytest.mark.parametrize('strain', [0.0, 0.004])
def test_copies_of_labelled_crystals_have_their_labels(strain):
    label = of_crystals([other_cell(POOL[5], strain)], 2.0)
    picks = pick(POOL, PREDICTED, KnownCrystals.of_dataset(label, 'total', POOL), PickSettings())
    assert parse_reasons(str(picks.reason[5]))[0].code == ReasonCode.COPY
    ranking = rank_verified(POOL, PREDICTED, label, history())
    assert ranking.ids[ranking.top()].tolist() == ['c4', 'c3', 'c2', 'c1', 'c0', 'c5']
    assert (ranking.score[5], ranking.total[5], ranking.total_std[5]) == (2.0, 2.0, 0.0)
    assert ranking.settings['verified'] == 1
    by_gap = rank_verified(POOL, PREDICTED, label, history('gap_total'))
    assert by_gap.score[5] == pytest.approx(5 * 2.0)
    assert rank_verified(POOL, PREDICTED, label, history(), keep_duplicates=True).ids[5] == 'c5'
    assert rank_verified(POOL, PREDICTED, label, history(), keep_duplicates=True).score[5] == 14.0


def test_a_copy_of_a_failed_pick_is_excluded():
    pool = CrystalSet.from_crystals([*POOL, other_cell(POOL[5])], {'band_gap': np.ones(7)})
    values = np.arange(7) + 2.0
    done = history(c5={'outcome': 'failed', 'failure': 'no convergence'})
    ranking = rank_verified(pool, predictions_for(pool, values, values), labelled([]), done)
    assert [codes(ranking, row) for row in (5, 6)] == [[ReasonCode.FAILED_PERMANENTLY]] * 2
    assert ranking.ranked_count == 5


def test_a_label_precedes_a_refused_copy():
    both = of_crystals([other_cell(POOL[5]), POOL[5]], failed_gates=np.array(['symmetry', '']))
    assert rank_verified(POOL, PREDICTED, both, history()).score[5] == 30.0
    both = of_crystals([other_cell(POOL[5]), other_cell(POOL[5], 0.002)], failed_gates=np.array(['symmetry', '']))
    assert rank_verified(POOL, PREDICTED, both, history()).score[5] == 30.0


def test_label_of_the_predicted_functional():
    tensors = np.array([5.0, 6.0, 7.0, 8.0])[:, None, None] * np.eye(3)
    functional = np.array(['PBEsol', 'PBE', 'PBE', 'SCAN'])
    several = Dataset(repeated(POOL, [1, 1, 2, 1]), tensors, tensors, functional=functional)
    scores = [
        rank_verified(POOL, PREDICTED, several, history(), functionals=names).score[1]
        for names in ([], ['PBEsol', 'PBE'], ['PBE', 'PBEsol'], ['SCAN'], ['PW91'])
    ]
    assert scores == [12.0, 10.0, 12.0, 16.0, 10.0]
