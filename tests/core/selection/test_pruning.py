"""Which crystals a new model has to predict."""

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.alignment import NOT_PREDICTED_AGAIN, align_predictions
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection import KnownCrystals, PickSettings, pick
from aiida_goectp.core.selection.pruning import predict_all_first, rows_to_predict
from aiida_goectp.core.selection.reasons import ReasonCode, parse_reasons
from aiida_goectp.core.selection.stopping import Stop
from tests.core.selection.builders import crystal_set, predictions_for

COUNT = 40
POOL = crystal_set(COUNT, {'band_gap': np.array([0.5] * 10 + [2.0] * 30)})
VALUES = np.arange(COUNT, dtype=float) + 1


def predicted(std=1.0, **changes):
    """Return predictions of 1, 2, … 40 with equal standard deviations."""
    rows = predictions_for(POOL, electronic=VALUES / 2, ionic=VALUES / 2)
    return replace(rows, average_std=np.full((COUNT, 3), std), **changes)


def settings(**values):
    return PickSettings(batch_size=2, pruning={'margin': 2.0, 'every': 2}, **values)


def rows(predictions, known=None, **values):
    return rows_to_predict(POOL, predictions, known or KnownCrystals.empty(), settings(**values)).tolist()


def test_the_bound_is_that_of_the_candidates_that_may_be_picked():
    # 2 picks, 2 models, twice: the eighth best has 33; 33 − 2 σ = 31
    assert rows(predicted()) == list(range(30, 40))
    assert rows(predicted(std=0.0)) == list(range(32, 40))
    assert rows(predicted(std=100.0)) == list(range(40))


def test_what_cannot_be_ruled_out_is_predicted():
    deviations = np.full((COUNT, 3), 1.0)
    deviations[3] = np.nan
    assert rows(replace(predicted(), average_std=deviations)) == [3, *range(30, 40)]
    broken = predictions_for(POOL, VALUES / 2, VALUES / 2, errors=['too_large: x'] + [''] * (COUNT - 1))
    assert rows(replace(broken, average_std=np.full((COUNT, 3), 1.0)))[0] == 0


def test_filters_and_known_crystals_are_left_out_and_set_no_bound():
    known = replace(
        KnownCrystals.empty(),
        crystals=POOL.take(np.arange(36, 40)),
        score=VALUES[36:],
        objectives=np.full((4, 2), np.nan),
        failure=np.array([''] * 4),
    )
    assert rows(predicted(), known) == list(range(26, 36))
    assert rows(predicted(std=100.0), filters={'min_gap': 1.0}) == list(range(10, 40))


@pytest.mark.parametrize('excluded', [True, False])
def test_copies_of_known_crystals_are_left_out_and_set_no_bound(excluded):
    best = POOL[39]
    shifts = np.array([[0.1, 0, 0], [0, 0.2, 0], [0, 0, 0.3], [0.4, 0, 0], [0, 0.5, 0], [0, 0, 0.6], [0.7, 0, 0]])
    copies = [
        best._replace(id=f'copy{place}', fractional_positions=best.fractional_positions + shift)
        for place, shift in enumerate(shifts)
    ]
    pool = CrystalSet.from_crystals([*POOL, *copies])
    values = np.concatenate([VALUES, np.full(7, 40.0)])
    predictions = replace(predictions_for(pool, values / 2, values / 2), average_std=np.zeros((47, 3)))
    known = replace(
        KnownCrystals.empty(),
        crystals=POOL.take([39]),
        score=VALUES[39:],
        objectives=np.full((1, 2), np.nan),
        failure=np.array(['']),
    )
    found = rows_to_predict(pool, predictions, known, settings(diversity={'copies': excluded}))
    assert found.tolist() == (list(range(31, 39)) if excluded else [38, *range(40, 47)])


def test_all_crystals_are_predicted_unless_the_batch_is_full():
    picks = pick(POOL, predicted(), KnownCrystals.empty(), settings())
    stop = Stop('no_candidates', '')
    assert [predict_all_first(picks, number, None) for number in (1, 2, 3)] == [False, False, True]
    assert predict_all_first(picks, 2, stop)


def test_unstable_candidates_lower_the_bound():
    stability = np.where(VALUES > 38, 0.5, 1.0)  # 39 and 40 count as 19.5 and 20: the eighth best has 31
    assert rows(predicted(std=0.0, stability=stability)) == list(range(30, 40))
    assert rows(predicted(std=0.0, stability=stability), figure_of_merit='electronic') == list(range(32, 40))


def test_rows_that_are_left_out_are_no_candidates():
    kept = rows(predicted())
    again, known = align_predictions(POOL, predicted().take(np.array(kept)), NOT_PREDICTED_AGAIN)
    assert np.flatnonzero(known).tolist() == kept
    picks = pick(POOL, again, KnownCrystals.empty(), settings())
    codes = [[reason.code for reason in parse_reasons(text)] for text in picks.reason.tolist()]
    assert [row for row in range(COUNT) if codes[row] == [ReasonCode.NOT_PREDICTED_AGAIN]] == list(range(30))
    assert picks.rows.tolist() == [39, 38]
    assert picks.candidates == 10


@pytest.mark.parametrize(
    ('values', 'key'),
    [
        ({'acquisition': {'name': 'random'}}, 'random'),
        ({'acquisition': {'name': 'expected_improvement'}}, 'expected_improvement'),
        ({'acquisition': {'name': 'upper_confidence_bound', 'kappa': 3.5}}, 'kappa'),
    ],
)
def test_scores_without_a_bound_are_refused(values, key):
    with pytest.raises(FormatError, match=f'picking.*{key}'):
        read_settings(PickSettings, {'pruning': {}, **values}, 'picking')


def test_settings_without_pruning_are_refused():
    with pytest.raises(FormatError, match=r'picking\.pruning'):
        rows_to_predict(POOL, predicted(), KnownCrystals.empty(), PickSettings())


def test_the_bound_of_cautious_is_a_score_of_cautious():
    """Crystals of large μ and σ are not picked, and must not rule out those that are."""
    mean = np.concatenate([np.arange(20) + 100.0, np.arange(20) + 50.0])
    deviations = np.repeat([90.0, 1.0], 20)
    uncertain = replace(
        predictions_for(POOL, mean / 2, mean / 2), average_std=np.repeat(deviations[:, None], 3, axis=1)
    )
    cautious = settings(acquisition={'name': 'cautious', 'kappa': 0.7})
    picks = pick(POOL, uncertain, KnownCrystals.empty(), cautious)
    assert picks.rows.tolist() == [39, 38]
    # the eighth best score is 62 − 0.7 σ = 61.3; 60 + 2 σ = 62
    assert rows(uncertain, acquisition=cautious.acquisition) == [*range(20), *range(30, 40)]


@pytest.mark.parametrize('name', ['upper_confidence_bound', 'cautious'])
def test_rows_without_a_required_deviation_set_no_bound(name):
    deviations = np.where(VALUES > 20, np.nan, 0.0)
    predictions = replace(predicted(), average_std=np.repeat(deviations[:, None], 3, axis=1))
    assert pick(POOL, predictions, KnownCrystals.empty(), settings(acquisition={'name': name})).rows.tolist() == [
        19,
        18,
    ]
    # the eighth best with a standard deviation has 13
    assert rows(predictions, acquisition={'name': name}) == list(range(12, 40))


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('name', ['greedy', 'upper_confidence_bound', 'cautious'])
def test_what_is_picked_of_all_is_picked_of_the_pruned_pool(name, seed):
    random = np.random.default_rng(seed)
    mean, deviations = random.normal(0, 20, COUNT), random.exponential(10, (COUNT, 1))
    deviations[random.random(COUNT) < 0.2] = np.nan
    all_rows = replace(
        predictions_for(POOL, mean / 2, mean / 2),
        average_std=np.repeat(deviations, 3, axis=1),
        stability=random.random(COUNT),
    )
    chosen = settings(acquisition={'name': name}, diversity={'structures': False})
    kept = rows_to_predict(POOL, all_rows, KnownCrystals.empty(), chosen)
    best = pick(POOL, all_rows, KnownCrystals.empty(), chosen, number=8).rows
    assert len(best) == 8
    assert set(best.tolist()) <= set(kept.tolist())
