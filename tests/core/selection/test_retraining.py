"""Retraining: when it is due, and when a new model replaces the old one."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.history import History, PickRecord, Round
from aiida_goectp.core.selection.retraining import (
    FOLDS,
    HOLD_OUT,
    DecisionCode,
    RetrainingPolicy,
    compare_models,
    decide_retraining,
)


def campaign(*labels, retrained=()) -> History:
    """Return a history with these numbers of labels in its rounds, and one failure in each round."""
    rounds = []
    for number, count in enumerate(labels, start=1):
        picks = [
            PickRecord(id=name, hash=name, mean=1, value=1, outcome='accepted')
            for name in (f'{number}-{row}' for row in range(count))
        ]
        picks.append(PickRecord(id=f'f{number}', hash=f'f{number}', mean=1, outcome='failed'))
        rounds.append(Round(number=number, model_hash='m', picks=tuple(picks), retrained=number in retrained))
    return History(figure_of_merit='total', rounds=tuple(rounds))


def decide(history, **policy):
    return decide_retraining(history, RetrainingPolicy(**policy))


def test_every_round_by_default():
    decision = decide(campaign(2))
    assert (decision.code, decision.mode) == (DecisionCode.ENOUGH_ROUNDS, 'fine-tune')
    assert (decision.retrain, decision.labels, decision.rounds) == (True, 2, 1)
    assert decide(campaign(2, retrained=[1])).code is DecisionCode.NO_NEW_LABEL
    assert decide(campaign(2, 1, retrained=[1])).retrain
    assert decide(campaign()).code is decide(campaign(0)).code is DecisionCode.NO_NEW_LABEL
    assert not decide(campaign()).retrain


def test_every_other_round():
    assert decide(campaign(2), every_rounds=2).code is DecisionCode.WAITING
    assert decide(campaign(2, 0), every_rounds=2).retrain
    assert not decide(campaign(2, 1, 1, retrained=[2]), every_rounds=2).retrain


def test_number_of_new_labels():
    only = {'every_rounds': None, 'every_labels': 5}
    waiting = decide(campaign(2, 2), **only)
    assert (waiting.code, waiting.labels, waiting.rounds) == (DecisionCode.WAITING, 4, 2)
    assert decide(campaign(2, 3), **only).code is DecisionCode.ENOUGH_LABELS
    assert not decide(campaign(9, 4, retrained=[1]), **only).retrain


def test_labels_that_do_not_enter_the_training():
    found = decide_retraining(campaign(2), RetrainingPolicy(), 0)
    assert (found.code, found.retrain, found.labels) == (DecisionCode.NO_NEW_ROW, False, 2)
    assert decide_retraining(campaign(2), RetrainingPolicy(), 1).code is DecisionCode.ENOUGH_ROUNDS
    assert decide_retraining(campaign(0), RetrainingPolicy(), 0).code is DecisionCode.NO_NEW_LABEL


def test_reasons_of_decisions_contain_the_numbers():
    both = decide(campaign(1), every_rounds=2, every_labels=5)
    assert [text in both.reason for text in ('1 new labels in 1 round', '5 labels or 2 rounds')] == [True] * 2
    assert 'round' not in decide(campaign(1), every_rounds=None).reason.partition('; ')[2]
    reasons = {both._replace(code=code).reason for code in DecisionCode}
    assert len(reasons) == len(DecisionCode)


def test_every_third_training_from_scratch():
    modes = [decide(campaign(1, 1, 1, 1, retrained=range(1, past + 1)), scratch_every=3).mode for past in range(4)]
    assert modes == ['fine-tune', 'fine-tune', 'scratch', 'fine-tune']
    assert decide(campaign(1), mode='scratch').mode == 'scratch'


STRICT = RetrainingPolicy(tolerance=0, standard_errors=0)


def errors(hold_out, folds):
    return {HOLD_OUT: np.array(hold_out, float), FOLDS: np.array(folds, float)}


def test_better_model_replaces_the_old_one():
    found = compare_models(errors([1, 2], [3]), errors([1, 1], [3]), STRICT)
    assert found.replace
    assert found.comparisons == {
        HOLD_OUT: (2, 1.5, 1.0, 1.5, False, 0),
        FOLDS: (1, 3.0, 3.0, 3.0, False, 0),
    }
    assert all(item.text in found.reason for item in found.comparisons.values())


@pytest.mark.parametrize(
    ('new', 'worse', 'lost'),
    [
        (errors([1, 2.01], [1]), HOLD_OUT, 0),
        (errors([0, 0], [3.01]), FOLDS, 0),
        (errors([1, np.nan], [3]), HOLD_OUT, 1),
        (errors([np.nan, np.nan], [3]), HOLD_OUT, 2),
    ],
)
def test_model_that_is_worse_on_one_set_is_not_adopted(new, worse, lost):
    found = compare_models(errors([1, 2], [3]), new, STRICT)
    assert not found.replace
    assert [name for name, item in found.comparisons.items() if item.worse] == [worse]
    assert found.comparisons[worse].lost == lost
    assert f'worse on the {worse}: {found.comparisons[worse].text}' in found.reason


def test_tolerance():
    old = errors([1, 1], [1])
    policy = RetrainingPolicy(tolerance=0.125, standard_errors=0)
    assert compare_models(old, errors([1.125, 1.125], [1]), policy).replace
    assert not compare_models(old, errors([1.126, 1.126], [1]), policy).replace


def test_standard_error_of_the_difference():
    """The mean error rises by 0.5, which is about one standard error of the mean difference."""
    old, new = errors([1, 1, 1, 1], [1]), errors([0.5, 1.5, 1, 3], [1])
    noise = float(np.std([-0.5, 0.5, 0, 2], ddof=1) / 2)
    above = 0.5 / noise
    assert compare_models(old, new, RetrainingPolicy(tolerance=0, standard_errors=above * 1.001)).replace
    assert not compare_models(old, new, RetrainingPolicy(tolerance=0, standard_errors=above * 0.999)).replace


@pytest.mark.parametrize('new', [0.103, 9.0])
def test_a_single_row_has_no_standard_error_and_does_not_decide(new):
    old = errors([0.1], [0.2, 0.4])
    found = compare_models(old, errors([new], [0.2, 0.4]), RetrainingPolicy())
    held = found.comparisons[HOLD_OUT]
    assert (found.replace, held.rows, held.new, held.worse) == (True, 1, new, False)
    assert np.isnan(held.allowed)
    assert 'too few to decide' in held.text
    assert not compare_models(old, errors([np.nan], [0.2, 0.4]), RetrainingPolicy()).replace
    assert not compare_models(old, errors([0.0], [0.3, 0.5]), RetrainingPolicy()).replace
    assert not compare_models(old, errors([new], [0.2, 0.4]), RetrainingPolicy(standard_errors=0)).replace


@pytest.mark.parametrize('folds', [[], [0.2]])
def test_without_two_rows_of_one_set_the_old_model_stays(folds):
    """Nothing would keep a new model with ninety times the error."""
    old = errors([0.1], folds)
    for value in (9.0, 0.01):
        found = compare_models(old, errors([value], [value] * len(folds)), RetrainingPolicy())
        assert not found.replace
        assert not any(item.worse for item in found.comparisons.values())
        assert 'no set of rows can decide' in found.reason
        assert found.comparisons[HOLD_OUT].text in found.reason
    assert compare_models(old, errors([0.1], folds), RetrainingPolicy(standard_errors=0)).replace
    # with one more label, two new ones are compared
    assert compare_models(errors([0.1], [0.2, 0.3]), errors([9.0], [0.1, 0.2]), RetrainingPolicy()).replace


def test_rows_without_a_prediction_of_the_old_model_do_not_count():
    found = compare_models(errors([1, np.nan], []), errors([1, 50], []), STRICT)
    assert found.replace
    assert found.comparisons[HOLD_OUT].rows == 1


def test_failed_training_keeps_the_old_model():
    found = compare_models(errors([1], [1]), None, STRICT, 'out of memory')
    assert found == (False, {}, 'out of memory')
    assert '(out of memory)' in found.reason


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        (errors([1], [1]), {HOLD_OUT: np.ones(1)}, 'hold-out, new labels and on hold-out'),
        ({}, {}, 'nothing'),
        (errors([1], [1]), errors([1, 2], [1]), r'hold-out has \(1,\) .*\(2,\)'),
        (errors([-1], [1]), errors([1], [1]), 'hold-out .*negative'),
        (errors([np.nan], []), errors([1], []), 'no row'),
    ],
)
def test_invalid_errors_are_refused(old, new, message):
    with pytest.raises(FormatError, match=message):
        compare_models(old, new, STRICT)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'mode': 'finetune'}, "retraining.mode: .*'finetune'"),
        ({'every_round': 1}, "retraining.every_round: .*'every_rounds'"),
        ({'folds': 1}, 'retraining.folds: '),
    ],
)
def test_invalid_settings_are_refused(values, message):
    with pytest.raises(FormatError, match=message):
        read_settings(RetrainingPolicy, values, 'retraining')
