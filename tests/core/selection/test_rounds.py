"""Rounds of the history from picks and outcomes."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection import (
    History,
    KnownCrystals,
    PickSettings,
    RetrainingPolicy,
    StopRules,
    pick,
    summarise_candidates,
    with_seeds,
)
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.retraining import FOLDS, HOLD_OUT, DecisionCode, RetrainingDecision, compare_models
from aiida_goectp.core.selection.rounds import Outcome, retrained_round, verified_round

from .builders import crystal_set, predictions_for

POOL = crystal_set(8, {'band_gap': np.full(8, 2.0)})
RULES = StopRules()


def round_of(merit='total', outcomes=None, labels=None, number=3):
    settings = PickSettings(batch_size=number, figure_of_merit=merit)
    predictions = predictions_for(POOL, np.arange(8.0) + 2, np.arange(8.0) + 2, std=0.5)
    picks = pick(POOL, predictions, KnownCrystals.empty(), settings)
    dataset = labels if labels is not None else Dataset(POOL.take([]))
    history = verified_round(History(figure_of_merit=merit), picks, POOL, outcomes or {}, dataset, RULES, 1.5)
    return history, picks


def test_round_contains_picks_and_outcomes():
    name = POOL.hashes.tolist()
    outcomes = {
        name[7]: Outcome('accepted', '', 2.0, 4 * np.eye(3), 5 * np.eye(3)),
        name[6]: Outcome('refused', 'symmetry: broken', 1.0, 4 * np.eye(3), 5 * np.eye(3)),
    }
    labels = Dataset(POOL.take([7]), 4 * np.eye(3)[None], 5 * np.eye(3)[None])
    history, picks = round_of('gap_total', outcomes, labels)
    (one,) = history.rounds
    assert [item.id for item in one.picks] == ['c7', 'c6', 'c5']
    assert [item.outcome for item in one.picks] == ['accepted', 'refused', 'unfinished']
    first, second, third = one.picks
    assert (first.value, first.electronic, first.ionic) == (18.0, 4.0, 5.0)  # the band gap of the pool is 2 eV
    assert (first.mean, first.std) == (pytest.approx(36.0), pytest.approx(1.0))
    assert (second.value, second.electronic, second.failure) == (None, None, 'symmetry: broken')
    assert third.core_hours == 0
    assert history.core_hours == 4.5
    assert one.top == (name[7],)
    assert one.outlook == summarise_candidates(picks, RULES)
    assert first.reason == str(picks.reason[7])


def test_a_cautious_figure_of_merit_is_compared_with_the_label_without_its_margin():
    """One standard deviation is subtracted from its mean: a label at the predicted permittivity has no error."""
    averages = [(9.0, 9.0), (9.0, 9.7), (9.0, 9.9)]  # 18 ± 0.5 is predicted: 0, 1.4 and 1.8 standard deviations
    found = []
    for electronic, ionic in averages:
        outcome = Outcome('accepted', '', 2.0, electronic * np.eye(3), ionic * np.eye(3))
        history, _ = round_of('cautious_gap_total', {POOL.hashes[7]: outcome}, number=1)
        found.append(history.rounds[0].picks[0])
    assert [item.mean for item in found] == pytest.approx([35, 35, 35])
    assert [item.relative_error for item in found] == pytest.approx([0, -1.4 / 37.4, -1.8 / 37.8])
    assert [item.within_interval for item in found] == [True, True, False]


def test_the_top_contains_crystals_that_pass_the_filters():
    pool = crystal_set(3, {'band_gap': np.array([2.0, 2.0, 0.1])})
    labels = Dataset(pool, *[np.arange(3.0, 6.0)[:, None, None] * np.eye(3)] * 2)
    settings = PickSettings(batch_size=1, filters=Filters(min_gap=1))
    picks = pick(pool, predictions_for(pool), KnownCrystals.empty(), settings)
    history = verified_round(History(figure_of_merit='total'), picks, pool, {}, labels, RULES)
    assert history.rounds[0].top == tuple(pool.hashes[[1, 0]].tolist())


def test_an_inconclusive_failure_is_unfinished_once():
    """Other failures are permanent at once."""
    name = POOL.hashes.tolist()
    outcomes = {
        name[7]: Outcome('failed', 'killed', inconclusive=True),
        name[6]: Outcome('failed', 'not converged'),
    }
    history, _ = round_of(outcomes=outcomes)
    assert [(item.outcome, item.inconclusive) for item in history.rounds[0].picks[:2]] == [
        ('unfinished', True),
        ('failed', False),
    ]
    assert list(history.outcomes()) == [name[6]]
    again = pick(POOL, predictions_for(POOL, np.arange(8.0) + 2), KnownCrystals.empty(), PickSettings(batch_size=1))
    later = verified_round(history, again, POOL, outcomes, Dataset(POOL.take([])), RULES)
    assert [(item.id, item.outcome) for item in later.rounds[1].picks] == [('c7', 'failed')]


def test_probability_of_stability_is_recorded_with_each_pick():
    predictions = predictions_for(POOL, np.arange(8.0) + 2, stability=np.array([1.0] * 6 + [np.nan, 0.95]))
    picks = pick(POOL, predictions, KnownCrystals.empty(), PickSettings(batch_size=3))
    history = verified_round(History(figure_of_merit='total'), picks, POOL, {}, Dataset(POOL.take([])), RULES)
    assert {item.id: item.stability for item in history.rounds[0].picks} == {'c6': None, 'c5': 1.0, 'c7': 0.95}
    values = history.model_dump(mode='json')
    assert read_settings(History, values, 'history') == history
    for record in values['rounds'][0]['picks']:
        del record['stability']  # as an earlier version wrote it
    assert [item.stability for item in read_settings(History, values, 'history').rounds[0].picks] == [None] * 3


def test_label_without_the_tensor_has_no_value():
    name = str(POOL.hashes[7])
    outcome = {name: Outcome('electronic-only', '', 1.0, 4 * np.eye(3), None)}
    (first, *_) = round_of('total', outcome)[0].rounds[0].picks
    assert (first.value, first.electronic, first.ionic) == (None, 4.0, None)
    (first, *_) = round_of('refractive_index', outcome)[0].rounds[0].picks
    assert first.value == 2.0


def test_decisions_on_retraining():
    history, _ = round_of()
    decision = RetrainingDecision(DecisionCode.NO_NEW_LABEL, RetrainingPolicy(), 'fine-tune', 0, 1)
    waiting = retrained_round(history, decision)
    assert waiting.rounds[0].retraining_reason == decision.reason
    assert not waiting.rounds[0].retrained
    due = decision._replace(code=DecisionCode.ENOUGH_ROUNDS, labels=5)
    result = compare_models({}, None, RetrainingPolicy(), 'no memory')
    failed = retrained_round(history, due, result, core_hours=2.0)
    assert (failed.rounds[0].retrained, failed.rounds[0].adopted) == (True, False)
    assert failed.rounds[0].retraining_reason == f'{due.reason}; {result.reason}'
    assert failed.core_hours == history.core_hours + 2.0
    errors = {HOLD_OUT: np.full(4, 0.2), FOLDS: np.zeros(0)}
    result = compare_models(errors, errors, RetrainingPolicy())
    adopted = retrained_round(history, due, result, 'hash', 1.0).rounds[0]
    assert (adopted.adopted, adopted.new_model_hash) == (True, 'hash')
    assert adopted.metrics['hold-out: old'] == pytest.approx(0.2)
    assert adopted.metrics['new labels: new'] is None
    assert read_settings(
        History, History(figure_of_merit='total', rounds=(adopted,)).model_dump_json(), 'history'
    ).rounds == (adopted,)


def test_seed_of_the_settings_precedes_that_of_the_campaign():
    assert with_seeds(PickSettings(), 7).acquisition.seed == 7
    given = PickSettings.model_validate({'acquisition': {'name': 'random', 'seed': 0}})
    assert with_seeds(given, 7).acquisition.seed == 0
