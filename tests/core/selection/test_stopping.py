"""Stop rules at their limits."""

from __future__ import annotations

import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.history import CandidateSummary, History, PickRecord, Round
from aiida_goectp.core.selection.stopping import StopRules, allowed_picks, should_stop


def record(name, mean=10.0, value=10.0, std=1.0, hours=0.0):
    return PickRecord(id=name, hash=name, mean=mean, value=value, std=std, outcome='accepted', core_hours=hours)


def campaign(*rounds, tops=None, hours=0.0) -> History:
    """Return a history; each round is a list of records, or a number of them."""
    made = []
    for number, picks in enumerate(rounds, start=1):
        picks = [record(f'r{number}p{row}') for row in range(picks)] if isinstance(picks, int) else picks
        top = tuple(tops[number - 1]) if tops else ()
        made.append(Round(number=number, model_hash='m', picks=tuple(picks), top=top, core_hours=hours))
    return History(figure_of_merit='total', rounds=tuple(made))


def rules(**values) -> StopRules:
    return read_settings(StopRules, values, 'stop')


def met(history, candidates=None, **values):
    found = should_stop(history, rules(**values), candidates)
    return found and found.rule


def test_maximum_number_of_rounds():
    assert met(campaign(1, 1), max_rounds=3) is None
    assert met(campaign(1, 1, 1), max_rounds=3) == 'max_rounds'
    assert met(campaign(), max_rounds=0) == 'max_rounds'
    assert met(campaign(*[1] * 10)) == 'max_rounds'  # the default


def test_maximum_number_of_calculations():
    failed = PickRecord(id='x', hash='x', mean=1, outcome='failed')
    assert met(campaign(3, [failed]), max_calculations=5) is None
    assert met(campaign(3, [failed, record('y')]), max_calculations=5) == 'max_calculations'
    assert [allowed_picks(campaign(3), rules(max_calculations=5), size) for size in (1, 2, 9)] == [1, 2, 2]
    assert allowed_picks(campaign(7), rules(max_calculations=5), 3) == 0
    assert allowed_picks(campaign(7), rules(), 3) == 3


def test_maximum_core_hours():
    history = campaign([record('a', hours=1.5)], [record('b', hours=2.0)], hours=0.25)
    assert history.core_hours == 4.0
    assert met(history, max_core_hours=4.001) is None
    assert met(history, max_core_hours=4.0) == 'max_core_hours'
    assert should_stop(history, rules(max_core_hours=5.0), spent=0.999) is None
    assert should_stop(history, rules(max_core_hours=5.0), spent=1.0).rule == 'max_core_hours'


def test_limits_of_the_calibrated_error():
    wrong = [record(f'w{row}', mean=20.0) for row in range(5)]
    right = [[record(f'{number}{row}', mean=11.0, std=0.61) for row in range(3)] for number in 'ab']
    rule = {'error': 0.1, 'coverage': 1.0, 'rounds': 2, 'min_labels': 6}
    history = campaign(wrong, *right)
    assert met(history, calibrated_error=rule) == 'calibrated_error'
    reason = should_stop(history, rules(calibrated_error=rule)).reason
    assert [text in reason for text in ('6 verified picks', '2 rounds', '0.1', '100%')] == [True] * 4
    for change in ({'error': 0.099}, {'rounds': 3}, {'min_labels': 7}):
        assert met(history, calibrated_error=rule | change) is None
    assert met(campaign(right[0]), calibrated_error=rule | {'min_labels': 1}) is None  # one round only


def test_coverage_of_the_calibrated_error():
    picks = [record(f'a{row}', mean=11.0, std=0.61 if row else 0.6) for row in range(5)]
    rule = {'error': 0.2, 'rounds': 1}
    assert met(campaign(picks), calibrated_error=rule | {'coverage': 0.8}) == 'calibrated_error'
    assert met(campaign(picks), calibrated_error=rule | {'coverage': 0.81}) is None
    without_std = [record(f's{row}', mean=11.0, std=None) for row in range(5)]
    assert met(campaign(without_std), calibrated_error=rule) is None
    assert met(campaign(without_std), calibrated_error=rule | {'coverage': 0}) == 'calibrated_error'


def test_failed_picks_do_not_enter_the_error():
    failed = [PickRecord(id=f'f{row}', hash=f'f{row}', mean=900, outcome='failed') for row in range(4)]
    good = [record(f'g{row}') for row in range(5)]
    assert met(campaign([*failed, *good]), calibrated_error={'error': 0.01, 'rounds': 1}) == 'calibrated_error'
    assert met(campaign(failed), calibrated_error={'error': 9, 'rounds': 1, 'min_labels': 1}) is None


def test_stable_top():
    tops = ['xyz', 'abc', 'bac', 'abx']  # order and crystals beyond k do not matter
    rule = {'k': 2, 'rounds': 2}
    assert met(campaign(1, 1, 1, 1, tops=tops), stable_top=rule) == 'stable_top'
    assert met(campaign(1, 1, 1, tops=tops[:3]), stable_top=rule) is None
    assert met(campaign(1, 1, 1, 1, tops=tops), stable_top=rule | {'k': 3}) is None
    assert met(campaign(1, 1, tops=['ab', 'ab']), stable_top=rule) is None
    assert met(campaign(1, 1, 1, tops=['a', 'a', 'a']), stable_top=rule) is None  # fewer than k


def test_rounds_without_labels_do_not_make_the_top_stable():
    failed = [[PickRecord(id=name, hash=name, mean=1, outcome='failed')] for name in 'xyz']
    rule = {'k': 2, 'rounds': 2}
    assert met(campaign(1, *failed, tops=['ab'] * 4), stable_top=rule) is None
    assert met(campaign(1, 1, *failed, tops=['ab'] * 5), stable_top=rule) is None
    assert met(campaign(1, failed[0], 1, failed[1], 1, tops=['ab'] * 5), stable_top=rule) == 'stable_top'


def test_threshold():
    rule = {'value': 50, 'kappa': 2}
    assert rules(threshold=rule).kappa == 2.0
    assert rules().kappa == 0.0
    assert met(campaign(1), CandidateSummary(candidates=3, best=50.0), threshold=rule) is None
    found = should_stop(campaign(1), rules(threshold=rule), CandidateSummary(candidates=3, best=49.9))
    assert found.rule == 'threshold'
    assert [text in found.reason for text in ('3 candidates', 'total = 50', 'μ + 2σ is 49.9')] == [True] * 3
    assert met(campaign(1), threshold=rule) is None


def test_campaign_ends_without_candidates():
    assert met(campaign(1), CandidateSummary(candidates=0)) == 'no_candidates'
    assert met(campaign(1), CandidateSummary(candidates=1)) is None


def test_budget_precedes_other_rules():
    history = campaign(5, tops=['ab'])
    assert met(history, CandidateSummary(candidates=0), max_rounds=1, max_calculations=5) == 'max_rounds'


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (
            {'max_rounds': None},
            'stop: .*max_rounds, max_calculations or max_core_hours',
        ),
        ({'max_round': 3}, "stop.max_round: .*'max_rounds'"),
        ({'threshold': {'kappa': 1}}, 'stop.threshold.value: '),
        ({'stable_top': {'K': 1}}, 'stop.stable_top.K: .* k, rounds'),
        ({'calibrated_error': {'error': 0}}, 'stop.calibrated_error.error: '),
    ],
)
def test_invalid_rules_are_refused(values, message):
    with pytest.raises(FormatError, match=message):
        rules(**values)
