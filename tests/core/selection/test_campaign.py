"""The pieces as one loop: a small campaign to its end, interrupted or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.selection import (
    CandidateSummary,
    History,
    KnownCrystals,
    PickRecord,
    PickSettings,
    Round,
    StopRules,
    allowed_picks,
    pick,
    should_stop,
)

from .builders import crystal_set, predictions_for

POOL = crystal_set(30)
TRUE = 5.0 + (np.arange(30) * 7 % 30)  # ε_total, 5 to 34
BROKEN = {3, 11}  # never give a label


def labels(rows) -> Dataset:
    """The dataset after these rows were computed."""
    good = sorted(row for row in rows if row not in BROKEN)
    tensors = TRUE[good, None, None] / 2 * np.eye(3)
    return Dataset(POOL.take(good), tensors, tensors)


def predicted(round_number):
    """A model that is wrong by up to 6, and by less in each round."""
    error = np.sin(np.arange(30) * 3.0) * 6 / round_number
    predictions = predictions_for(POOL, electronic=(TRUE + error) / 2, ionic=(TRUE + error) / 2)
    return replace(predictions, average_std=np.full((30, 3), 6.0 / round_number))


def one_round(history, settings, rules):
    """Return the next state of the history, or the rule that fired."""
    rows = {str(name): row for row, name in enumerate(POOL.hashes)}
    done = [rows[item.hash] for one in history.rounds for item in one.picks]
    past = KnownCrystals.of_dataset(labels(done), 'total', POOL, history.outcomes())
    number = len(history.rounds) + 1
    picks = pick(
        POOL,
        predicted(number),
        past,
        settings,
        round_number=number,
        number=allowed_picks(history, rules, settings.batch_size),
    )
    outlook = CandidateSummary(candidates=picks.candidates, best=picks.best(rules.kappa))
    fired = should_stop(history, rules, outlook)
    if fired:
        return fired
    records = tuple(
        PickRecord(
            id=str(picks.ids[row]),
            hash=str(picks.hashes[row]),
            mean=float(picks.mean[row]),
            std=float(picks.std[row]),
            value=None if row in BROKEN else float(TRUE[row]),
            outcome='failed' if row in BROKEN else 'accepted',
            reason=str(picks.reason[row]),
            failure='no convergence' if row in BROKEN else '',
        )
        for row in picks.rows.tolist()
    )
    after = KnownCrystals.of_dataset(labels([*done, *picks.rows.tolist()]), 'total', POOL)
    made = Round(number=number, model_hash=f'm{number}', picks=records, outlook=outlook, top=after.top(5))
    return history.with_round(made)


def run(rules, interrupted=False, **values):
    settings = PickSettings.model_validate({'batch_size': 4, **values})
    history = History(figure_of_merit='total')
    for _ in range(40):
        following = one_round(history, settings, rules)
        if not isinstance(following, History):
            return history, following
        history = History.from_json(following.to_json()) if interrupted else following
    raise AssertionError('the campaign does not end')


@pytest.mark.parametrize('name', ['greedy', 'expected_improvement', 'random'])
def test_a_campaign_takes_each_crystal_once_and_ends(name):
    history, fired = run(StopRules(max_rounds=30), acquisition={'name': name})
    assert fired.rule == 'no_candidates'
    taken = [item.id for one in history.rounds for item in one.picks]
    assert sorted(taken) == sorted(POOL.ids.tolist())
    assert history.labels == 28


@pytest.mark.parametrize(
    ('rules', 'rule'),
    [
        ({'max_rounds': 3}, 'max_rounds'),
        ({'max_calculations': 10}, 'max_calculations'),
        ({'stable_top': {'k': 5, 'rounds': 2}}, 'stable_top'),
        ({'threshold': {'value': 31, 'kappa': 0}}, 'threshold'),
        ({'calibrated_error': {'error': 0.08, 'rounds': 2}}, 'calibrated_error'),
    ],
)
def test_each_rule_ends_it_in_time(rules, rule):
    history, fired = run(StopRules.model_validate(rules))
    assert fired.rule == rule
    assert 0 < history.calculations < 30
    if rule == 'max_calculations':
        assert history.calculations == 10  # the last batch is cut to what is left


def test_an_interruption_changes_nothing():
    rules = StopRules(max_rounds=4)
    values = {'acquisition': {'name': 'random', 'seed': 5}}
    assert run(rules, **values) == run(rules, interrupted=True, **values)


def test_greedy_finds_the_best_sooner_than_chance():
    best = {f'c{row}' for row in np.argsort(-TRUE)[:5].tolist()} - {f'c{row}' for row in BROKEN}
    found = {}
    for name in ('greedy', 'random'):
        history, _ = run(StopRules(max_calculations=12), acquisition={'name': name})
        found[name] = len(best & {item.id for one in history.rounds for item in one.picks})
    assert found['greedy'] == len(best) > found['random']
