"""A small campaign with the functions of this package, from its start to a stop rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.settings import read_settings
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
FAILING = {3, 11}  # rows whose calculations fail


def labels(rows) -> Dataset:
    """Return the dataset after these rows were computed."""
    good = sorted(row for row in rows if row not in FAILING)
    tensors = TRUE[good, None, None] / 2 * np.eye(3)
    return Dataset(POOL.take(good), tensors, tensors)


def predicted(round_number):
    """Return predictions with errors of up to 6 in the first round, smaller in each later one."""
    error = np.sin(np.arange(30) * 3.0) * 6 / round_number
    predictions = predictions_for(POOL, electronic=(TRUE + error) / 2, ionic=(TRUE + error) / 2)
    return replace(predictions, average_std=np.full((30, 3), 6.0 / round_number))


def one_round(history, settings, rules):
    """Return the history with one more round, or the rule that is met."""
    rows = {str(name): row for row, name in enumerate(POOL.hashes)}
    done = [rows[item.hash] for one in history.rounds for item in one.picks]
    known = KnownCrystals.of_dataset(labels(done), 'total', POOL, history.outcomes())
    number = len(history.rounds) + 1
    picks = pick(
        POOL,
        predicted(number),
        known,
        settings,
        round_number=number,
        number=allowed_picks(history, rules, settings.batch_size),
    )
    candidates = CandidateSummary(candidates=picks.candidates, best=picks.best(rules.kappa))
    stop = should_stop(history, rules, candidates)
    if stop:
        return stop
    records = tuple(
        PickRecord(
            id=str(picks.ids[row]),
            hash=str(picks.hashes[row]),
            mean=float(picks.mean[row]),
            std=float(picks.std[row]),
            value=None if row in FAILING else float(TRUE[row]),
            outcome='failed' if row in FAILING else 'accepted',
            reason=str(picks.reason[row]),
            failure='no convergence' if row in FAILING else '',
        )
        for row in picks.rows.tolist()
    )
    after = KnownCrystals.of_dataset(labels([*done, *picks.rows.tolist()]), 'total', POOL)
    made = Round(number=number, model_hash=f'm{number}', picks=records, outlook=candidates, top=after.top(5))
    return history.with_round(made)


def run(rules, interrupted=False, **values):
    settings = PickSettings.model_validate({'batch_size': 4, **values})
    history = History(figure_of_merit='total')
    for _ in range(40):
        following = one_round(history, settings, rules)
        if not isinstance(following, History):
            return history, following
        history = read_settings(History, following.model_dump_json(), 'history') if interrupted else following
    raise AssertionError('the campaign does not end')


@pytest.mark.parametrize('name', ['greedy', 'expected_improvement', 'random'])
def test_each_crystal_is_picked_once(name):
    history, stop = run(StopRules(max_rounds=30), acquisition={'name': name})
    assert stop.rule == 'no_candidates'
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
def test_each_rule_ends_a_campaign(rules, rule):
    history, stop = run(StopRules.model_validate(rules))
    assert stop.rule == rule
    assert 0 < history.calculations < 30
    if rule == 'max_calculations':
        assert history.calculations == 10  # the last batch is limited to the remaining budget


def test_interruptions_do_not_change_the_history():
    rules = StopRules(max_rounds=4)
    values = {'acquisition': {'name': 'random', 'seed': 5}}
    assert run(rules, **values) == run(rules, interrupted=True, **values)


def test_greedy_finds_the_best_sooner_than_random():
    best = {f'c{row}' for row in np.argsort(-TRUE)[:5].tolist()} - {f'c{row}' for row in FAILING}
    found = {}
    for name in ('greedy', 'random'):
        history, _ = run(StopRules(max_calculations=12), acquisition={'name': name})
        found[name] = len(best & {item.id for one in history.rounds for item in one.picks})
    assert found['greedy'] == len(best) > found['random']
