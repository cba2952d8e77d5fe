"""Summary of a history."""

import pytest

from aiida_goectp.core.selection import History, PickRecord, Round
from aiida_goectp.core.selection.history_summary import best_verified, not_accepted, summarise_rounds


def pick(name, mean, value=None, std=None, outcome='accepted', **more):
    return PickRecord(id=name, hash=f'hash-{name}', mean=mean, std=std, value=value, outcome=outcome, **more)


@pytest.fixture
def history():
    first = (
        pick('a', 11.0, 10.0, 0.5, core_hours=1.0, stability=0.9),
        pick('b', 9.0, None, outcome='failed', failure='no gap', stability=0.4),
    )
    second = (
        pick('c', 18.0, 20.0, 2.0, core_hours=2.0),
        pick('d', 5.0, 4.0, 0.1),
        pick('e', 5.0, outcome='electronic-only'),
    )
    rounds = (
        Round(
            number=1, model_hash='m1', picks=first, retrained=True, new_model_hash='m2', adopted=True, core_hours=0.5
        ),
        Round(number=2, model_hash='m2', picks=second, retraining_reason='no'),
        Round(number=3, model_hash='m2', picks=(pick('f', 3.0, outcome='unfinished'),)),
    )
    return History(figure_of_merit='total', rounds=rounds)


def test_summary_of_each_round(history):
    one, two, three = summarise_rounds(history)
    assert (one['picks'], one['accepted'], one['failed'], one['best'], one['best_id']) == (2, 1, 1, 10.0, 'a')
    assert one['error'] == pytest.approx(0.1)
    assert (one['stability'], two['stability']) == (pytest.approx(0.65), None)
    assert one['coverage'] == 0.0  # 11 ± 0.5 does not include 10
    assert (one['adopted'], one['core_hours']) == (True, 1.5)
    assert (two['accepted'], two['electronic-only'], two['best'], two['best_id']) == (2, 1, 20.0, 'c')
    assert two['error'] == pytest.approx((0.1 + 0.25) / 2)
    assert two['coverage'] == 0.5
    assert (two['why'], two['model']) == ('no', 'm2')
    assert (three['unfinished'], three['best'], three['error'], three['coverage']) == (1, 20.0, None, None)


def test_best_picks_and_failures(history):
    assert [(one.round, one.pick.id) for one in best_verified(history)] == [(2, 'c'), (1, 'a'), (2, 'd')]
    assert len(best_verified(history, 1)) == 1
    assert [one.pick.id for one in not_accepted(history)] == ['b', 'e', 'f']


def test_empty_history():
    empty = History(figure_of_merit='total')
    assert list(summarise_rounds(empty)) == best_verified(empty) == not_accepted(empty) == []
