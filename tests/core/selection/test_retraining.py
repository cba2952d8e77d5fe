"""Retraining: due at its edges, and a new model replaces the old only where it is not worse."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.history import History, PickRecord, Round
from aiida_goectp.core.selection.retraining import (
    FOLDS,
    HOLD_OUT,
    RetrainingPolicy,
    assign_folds,
    compare_models,
    decide_retraining,
)

from .builders import crystal_set


def campaign(*labels, retrained=()) -> History:
    """A history with so many labels in each round, and one failure a round."""
    rounds = []
    for number, count in enumerate(labels, start=1):
        picks = [
            PickRecord(id=name, hash=name, mean=1, value=1, outcome='accepted')
            for name in (f'{number}-{row}' for row in range(count))
        ]
        picks.append(PickRecord(id=f'f{number}', hash=f'f{number}', mean=1, outcome='failed'))
        rounds.append(Round(number=number, model_hash='m', picks=tuple(picks), retrained=number in retrained))
    return History(figure_of_merit='total', rounds=tuple(rounds))


def due(history, **policy):
    return decide_retraining(history, RetrainingPolicy(**policy))


def test_every_round_by_default():
    assert due(campaign(2)) == (True, 'fine-tune', '1 round with 2 new labels since the last training')
    assert not due(campaign(2, retrained=[1])).retrain
    assert due(campaign(2, 1, retrained=[1])).retrain
    assert due(campaign()) == due(campaign(0)) == (False, 'fine-tune', 'no new label since the last training')


def test_every_other_round():
    assert due(campaign(2), every_rounds=2).reason == '2 new labels in 1 round; retraining waits for 2 rounds'
    assert due(campaign(2, 0), every_rounds=2).retrain
    assert not due(campaign(2, 1, 1, retrained=[2]), every_rounds=2).retrain


def test_every_n_labels_at_the_edge():
    only = {'every_rounds': None, 'every_labels': 5}
    assert due(campaign(2, 2), **only) == (
        False,
        'fine-tune',
        '4 new labels in 2 rounds; retraining waits for 5 labels',
    )
    assert due(campaign(2, 3), **only).reason == '5 new labels, 5 are enough'
    assert not due(campaign(9, 4, retrained=[1]), **only).retrain
    either = due(campaign(1), every_rounds=2, every_labels=5)
    assert either.reason.endswith('waits for 5 labels or 2 rounds')
    assert due(campaign(1), every_rounds=None).reason.endswith('the policy never retrains')


def test_each_third_from_scratch():
    modes = [due(campaign(1, 1, 1, 1, retrained=range(1, past + 1)), scratch_every=3).mode for past in range(4)]
    assert modes == ['fine-tune', 'fine-tune', 'scratch', 'fine-tune']
    assert due(campaign(1), mode='scratch').mode == 'scratch'


STRICT = RetrainingPolicy(tolerance=0, standard_errors=0)


def errors(hold_out, folds):
    return {HOLD_OUT: np.array(hold_out, float), FOLDS: np.array(folds, float)}


def test_a_better_model_replaces_the_old():
    found = compare_models(errors([1, 2], [3]), errors([1, 1], [3]), STRICT)
    assert found.replace
    assert found.reason == (
        'the new model replaces the old, not being worse: hold-out: mean error 1 after 1.5 (up to 1.5, 2 rows); '
        'new labels: mean error 3 after 3 (up to 3, 1 rows)'
    )


@pytest.mark.parametrize(
    ('new', 'where'),
    [
        (errors([1, 2.01], [1]), 'hold-out: mean error'),
        (errors([0, 0], [3.01]), 'new labels: mean error'),
        (errors([1, np.nan], [3]), '1 rows without prediction'),
        (errors([np.nan, np.nan], [3]), '2 rows without prediction'),
    ],
)
def test_worse_on_either_set_keeps_the_old(new, where):
    found = compare_models(errors([1, 2], [3]), new, STRICT)
    assert not found.replace
    assert found.reason.startswith('the old model stays: the new one is worse on the')
    assert where in found.reason
    assert any(item.worse for item in found.comparisons.values())


def test_the_tolerance_at_its_edge():
    old = errors([1, 1], [1])
    policy = RetrainingPolicy(tolerance=0.125, standard_errors=0)
    assert compare_models(old, errors([1.125, 1.125], [1]), policy).replace
    assert not compare_models(old, errors([1.126, 1.126], [1]), policy).replace


def test_chance_is_not_held_against_the_new_model():
    """The mean rises by 0.5 with a standard error of 0.5: one standard error forgives it, half of one does not."""
    old, new = errors([1, 1, 1, 1], [1]), errors([0.5, 1.5, 1, 3], [1])
    noise = float(np.std([-0.5, 0.5, 0, 2], ddof=1) / 2)
    above = 0.5 / noise
    assert compare_models(old, new, RetrainingPolicy(tolerance=0, standard_errors=above * 1.001)).replace
    assert not compare_models(old, new, RetrainingPolicy(tolerance=0, standard_errors=above * 0.999)).replace


def test_rows_that_the_old_model_cannot_predict_are_left_out():
    found = compare_models(errors([1, np.nan], []), errors([1, 50], []), STRICT)
    assert found.replace
    assert found.comparisons[HOLD_OUT].rows == 1


def test_a_failed_retraining_keeps_the_old_and_says_so():
    found = compare_models(errors([1], [1]), None, STRICT, 'out of memory')
    assert found == (False, 'the old model stays: the retraining failed (out of memory)', {})


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        (errors([1], [1]), {HOLD_OUT: np.ones(1)}, 'errors on hold-out, new labels against hold-out; give both'),
        ({}, {}, 'errors on nothing against nothing'),
        (errors([1], [1]), errors([1, 2], [1]), r'hold-out has \(1,\) old and \(2,\) new errors'),
        (errors([-1], [1]), errors([1], [1]), 'hold-out has a negative error'),
        (errors([], []), errors([], []), 'no row that the old model predicts'),
    ],
)
def test_what_cannot_be_compared_is_refused(old, new, message):
    with pytest.raises(FormatError, match=message):
        compare_models(old, new, STRICT)


def test_folds_keep_formulas_together_whatever_the_order():
    rows = list(crystal_set(12))
    doubled = [*rows, *(row._replace(id=f'{row.id}b', lattice=row.lattice * 1.1) for row in rows[:4])]
    crystals = CrystalSet.from_crystals(doubled)
    folds = assign_folds(crystals, 4, seed=1)
    assert folds[:4].tolist() == folds[12:].tolist()
    assert np.bincount(folds).tolist() == [4, 4, 4, 4]
    order = np.random.default_rng(0).permutation(16)
    assert assign_folds(crystals.take(order), 4, seed=1).tolist() == folds[order].tolist()
    assert assign_folds(crystals, 4, seed=2).tolist() != folds.tolist()
    for bad, message in (((1, 0), '1 folds: give two or more'), ((2, -1), 'seed -1')):
        with pytest.raises(FormatError, match=message):
            assign_folds(crystals, *bad)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'mode': 'finetune'}, "retraining.mode: should be 'fine-tune' or 'scratch', found 'finetune'"),
        ({'every_round': 1}, r"retraining.every_round: no such setting \(did you mean 'every_rounds'\?\)"),
        ({'folds': 1}, 'retraining.folds: '),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(FormatError, match=message):
        read_settings(RetrainingPolicy, values, 'retraining')
