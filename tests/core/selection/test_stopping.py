"""Stop rules: each fires at its edge and not before, and says so in words."""

from __future__ import annotations

import pytest

from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.history import CandidateSummary, History, PickRecord, Round
from aiida_goectp.core.selection.stopping import StopRules, allowed_picks, should_stop


def record(name, mean=10.0, value=10.0, std=1.0, hours=0.0):
    return PickRecord(id=name, hash=name, mean=mean, value=value, std=std, outcome='accepted', core_hours=hours)


def campaign(*rounds, tops=None, hours=0.0) -> History:
    """A history; each round a list of records, or a number of them."""
    made = []
    for number, picks in enumerate(rounds, start=1):
        picks = [record(f'r{number}p{row}') for row in range(picks)] if isinstance(picks, int) else picks
        top = tuple(tops[number - 1]) if tops else ()
        made.append(Round(number=number, model_hash='m', picks=tuple(picks), top=top, core_hours=hours))
    return History(figure_of_merit='total', rounds=tuple(made))


def rules(**values) -> StopRules:
    return read_settings(StopRules, values, 'stop')


def fired(history, outlook=None, **values):
    found = should_stop(history, rules(**values), outlook)
    return found and found.rule


def test_rounds_at_the_edge():
    assert fired(campaign(1, 1), max_rounds=3) is None
    found = should_stop(campaign(1, 1, 1), rules(max_rounds=3))
    assert found == ('max_rounds', '3 rounds are done, 3 were allowed')
    assert fired(campaign(), max_rounds=0) == 'max_rounds'
    assert fired(campaign(*[1] * 10)) == 'max_rounds'  # the default


def test_calculations_at_the_edge():
    failed = PickRecord(id='x', hash='x', mean=1, outcome='failed')
    assert fired(campaign(3, [failed]), max_calculations=5) is None
    assert fired(campaign(3, [failed, record('y')]), max_calculations=5) == 'max_calculations'
    assert [allowed_picks(campaign(3), rules(max_calculations=5), size) for size in (1, 2, 9)] == [1, 2, 2]
    assert allowed_picks(campaign(7), rules(max_calculations=5), 3) == 0
    assert allowed_picks(campaign(7), rules(), 3) == 3


def test_core_hours_at_the_edge():
    history = campaign([record('a', hours=1.5)], [record('b', hours=2.0)], hours=0.25)
    assert history.core_hours == 4.0
    assert fired(history, max_core_hours=4.001) is None
    assert fired(history, max_core_hours=4.0) == 'max_core_hours'


def test_calibrated_error_at_the_edge():
    wrong = [record(f'w{row}', mean=20.0) for row in range(5)]
    right = [[record(f'{number}{row}', mean=11.0, std=0.61) for row in range(3)] for number in 'ab']
    asked = {'error': 0.1, 'coverage': 1.0, 'rounds': 2, 'min_labels': 6}
    history = campaign(wrong, *right)
    assert fired(history, calibrated_error=asked) == 'calibrated_error'
    said = should_stop(history, rules(calibrated_error=asked)).reason
    assert said.startswith('over the 6 verified picks of the last 2 rounds the mean relative error is 0.1, at most 0.1')
    assert said.endswith('and 100% of them lay in their 90 % intervals')
    for change in ({'error': 0.099}, {'rounds': 3}, {'min_labels': 7}):
        assert fired(history, calibrated_error=asked | change) is None
    assert fired(campaign(right[0]), calibrated_error=asked | {'min_labels': 1}) is None  # not yet two rounds


def test_an_error_that_the_model_did_not_foresee_is_not_calibrated():
    picks = [record(f'a{row}', mean=11.0, std=0.61 if row else 0.6) for row in range(5)]
    asked = {'error': 0.2, 'rounds': 1}
    assert fired(campaign(picks), calibrated_error=asked | {'coverage': 0.8}) == 'calibrated_error'
    assert fired(campaign(picks), calibrated_error=asked | {'coverage': 0.81}) is None
    silent = [record(f's{row}', mean=11.0, std=None) for row in range(5)]
    assert fired(campaign(silent), calibrated_error=asked) is None
    assert fired(campaign(silent), calibrated_error=asked | {'coverage': 0}) == 'calibrated_error'


def test_failures_do_not_count_as_errors():
    failed = [PickRecord(id=f'f{row}', hash=f'f{row}', mean=900, outcome='failed') for row in range(4)]
    good = [record(f'g{row}') for row in range(5)]
    assert fired(campaign([*failed, *good]), calibrated_error={'error': 0.01, 'rounds': 1}) == 'calibrated_error'
    assert fired(campaign(failed), calibrated_error={'error': 9, 'rounds': 1, 'min_labels': 1}) is None


def test_a_stable_top_at_the_edge():
    tops = ['xyz', 'abc', 'bac', 'abx']  # the order among the best does not matter, nor what comes after them
    asked = {'k': 2, 'rounds': 2}
    assert fired(campaign(1, 1, 1, 1, tops=tops), stable_top=asked) == 'stable_top'
    assert fired(campaign(1, 1, 1, tops=tops[:3]), stable_top=asked) is None
    assert fired(campaign(1, 1, 1, 1, tops=tops), stable_top=asked | {'k': 3}) is None
    assert fired(campaign(1, 1, tops=['ab', 'ab']), stable_top=asked) is None
    assert fired(campaign(1, 1, 1, tops=['a', 'a', 'a']), stable_top=asked) is None  # fewer than k


def test_the_threshold_at_its_edge():
    asked = {'value': 50, 'kappa': 2}
    assert rules(threshold=asked).kappa == 2.0
    assert rules().kappa == 0.0
    assert fired(campaign(1), CandidateSummary(candidates=3, best=50.0), threshold=asked) is None
    found = should_stop(campaign(1), rules(threshold=asked), CandidateSummary(candidates=3, best=49.9))
    assert found.rule == 'threshold'
    assert found.reason == ('none of the 3 candidates left may reach total = 50: the best has μ + 2σ = 49.9')
    assert fired(campaign(1), threshold=asked) is None


def test_no_candidate_is_the_end_in_any_case():
    assert fired(campaign(1), CandidateSummary(candidates=0)) == 'no_candidates'
    assert fired(campaign(1), CandidateSummary(candidates=1)) is None


def test_of_several_the_budget_is_named():
    history = campaign(5, tops=['ab'])
    assert fired(history, CandidateSummary(candidates=0), max_rounds=1, max_calculations=5) == 'max_rounds'


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (
            {'max_rounds': None},
            'stop: nothing bounds the campaign; give max_rounds, max_calculations or max_core_hours',
        ),
        ({'max_round': 3}, r"stop.max_round: no such setting \(did you mean 'max_rounds'\?\)"),
        ({'threshold': {'kappa': 1}}, r'stop.threshold.value: is missing; give a value'),
        ({'stable_top': {'K': 1}}, r'stop.stable_top.K: no such setting.*; there are: k, rounds'),
        ({'calibrated_error': {'error': 0}}, r'stop.calibrated_error.error: should be greater than 0, found 0'),
    ],
)
def test_wrong_rules_are_named(values, message):
    with pytest.raises(FormatError, match=message):
        rules(**values)
