"""History: counts, invalid histories, round trip through JSON."""

from __future__ import annotations

import json

import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.history import OUTCOMES, CandidateSummary, History, PickRecord, Round


def record(name, outcome='accepted', **more):
    value = {} if outcome in ('failed', 'unfinished', 'electronic-only') else {'value': 1.0}
    return PickRecord(**{'id': name, 'hash': f'h{name}', 'mean': 2.0, 'outcome': outcome, **value, **more})


@pytest.fixture
def history():
    first = Round(
        number=1,
        model_hash='m1',
        picks=tuple(record(outcome, outcome, core_hours=0.5) for outcome in OUTCOMES),
        core_hours=0.25,
        outlook=CandidateSummary(candidates=40, best=3.0),
        top=('haccepted',),
        retrained=True,
        new_model_hash='m2',
        adopted=True,
        metrics={'mae': 0.1, 'unknown': None},
    )
    second = Round(number=2, model_hash='m2', picks=(record('unfinished', 'failed', failure='no convergence'),))
    return History(figure_of_merit='total', rounds=(first, second))


def test_counts_and_outcomes(history):
    assert history.calculations == 6
    assert history.labels == 2
    assert history.core_hours == pytest.approx(2.75)
    assert history.outcomes() == {
        'haccepted': '',
        'helectronic-only': 'electronic-only, without a value of total',
        'hrefused': 'refused',
        'hfailed': 'failed',
        'hunfinished': 'no convergence',
    }


def test_core_hours_that_belong_to_no_round(history):
    further = history.model_copy(update={'further_core_hours': 1.5})
    assert further.core_hours == pytest.approx(4.25)
    grown = further.with_round(Round(number=3, model_hash='m2', core_hours=1.0))
    assert grown.core_hours == pytest.approx(5.25)
    early = {name: value for name, value in further.model_dump().items() if name != 'further_core_hours'}
    assert read_settings(History, early, 'history') == history


def test_only_started_calculations_are_counted():
    picks = [record('a'), record('b', submitted=False), record('c', 'failed', submitted=False), record('d', 'failed')]
    picks += [record('e', 'unfinished'), record('f', 'unfinished', core_hours=1.0)]
    assert [pick.calculated for pick in picks] == [True, False, False, True, False, True]
    done = History(figure_of_merit='total', rounds=(Round(number=1, model_hash='m', picks=tuple(picks)),))
    assert done.calculations == 3
    assert set(done.outcomes()) == {'ha', 'hb', 'hc', 'hd'}


def test_round_trip(history):
    text = history.model_dump_json()
    assert read_settings(History, text, 'history') == history
    assert read_settings(History, text, 'history').model_dump_json() == text
    assert json.loads(text)['rounds'][0]['picks'][0]['std'] is None


def test_round_is_added_or_replaced(history):
    third = Round(number=3, model_hash='m2', picks=(record('new', 'unfinished'),))
    longer = history.with_round(third)
    assert len(longer.rounds) == 3
    done = longer.with_round(third.model_copy(update={'picks': (record('new'),)}))
    assert (len(done.rounds), done.labels) == (3, 3)
    with pytest.raises(FormatError, match=r'1 to 3 .*\[1, 2, 4\]'):
        history.with_round(third.model_copy(update={'number': 4}))
    with pytest.raises(FormatError, match=r'haccepted.* rounds 1 and 3'):
        history.with_round(third.model_copy(update={'picks': (record('accepted'),)}))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'version': 2}, 'history.version: '),
        ({'figure_of_merit': None}, 'history.figure_of_merit: '),
        ({'extra': 1}, 'history.extra: '),
        ({'rounds': [{'number': 1}]}, 'history.rounds.0.model_hash: '),
        (
            {
                'rounds': [
                    {'number': 1, 'model_hash': 'm', 'picks': [{'id': 'a', 'hash': 'a', 'mean': 1, 'outcome': 'x'}]}
                ]
            },
            "history.rounds.0.picks.0.outcome: .*'x'",
        ),
        (
            {'rounds': [{'number': 1, 'model_hash': 'm', 'picks': [{'id': 'a', 'hash': 'a', 'mean': 1, 'value': 2}]}]},
            "a: outcome 'unfinished'",
        ),
        ({'rounds': [{'number': 1, 'model_hash': 'm', 'adopted': True}]}, 'round 1: .*new_model_hash'),
        (
            {'rounds': [{'number': 1, 'model_hash': 'm', 'metrics': {'a': float('nan')}}]},
            'metrics.a: ',
        ),
    ],
)
def test_invalid_histories_are_refused(history, change, message):
    values = json.loads(history.model_dump_json()) | change
    with pytest.raises(FormatError, match=message):
        read_settings(History, json.dumps(values), 'history')


def test_truncated_text_is_refused(history):
    with pytest.raises(FormatError, match='history: '):
        read_settings(History, history.model_dump_json()[:-5], 'history')


def test_error_and_interval_of_a_pick():
    pick = record('a', value=2.5, std=0.31)
    assert (pick.relative_error, pick.within_interval) == (pytest.approx(-0.2), True)
    assert record('a', value=2.5, std=0.3).within_interval is False
    assert record('a', value=0.0).relative_error is None
    assert record('a').within_interval is None  # without a standard deviation
    failed = record('a', 'failed', std=0.3)
    assert (failed.relative_error, failed.within_interval) == (None, None)


def test_reopened_failures_can_be_picked_again():
    rounds = (
        Round(number=1, model_hash='m', picks=(record('a', 'unfinished', inconclusive=True), record('b', 'failed'))),
        Round(number=2, model_hash='m', picks=(record('a', 'failed', inconclusive=True, core_hours=2.0),)),
    )
    done = History(figure_of_merit='total', rounds=rounds)
    assert set(done.outcomes()) == {'ha', 'hb'}
    one = done.reopened(['a'])
    assert set(one.outcomes()) == {'hb'}
    assert not any(pick.inconclusive for item in one.rounds for pick in item.picks)  # it may be interrupted once more
    assert (one.core_hours, one.calculations) == (2.0, 2)
    assert done.reopened().outcomes() == {}
    for ids, message in ((['b', 'c'], 'c: .*failed are: a, b'), (['d'], 'd: ')):
        with pytest.raises(FormatError, match=message):
            done.reopened(ids)
    with pytest.raises(FormatError, match='no pick failed'):
        done.reopened().reopened()
