"""Start and end of a campaign."""

import pytest
from aiida import orm

from aiida_goectp.calculations.campaign import (
    add_core_hours,
    begin_dataset,
    begin_history,
    conclude_campaign,
    grow_dataset,
    read_history,
    write_history,
)
from aiida_goectp.core.selection.history import History, PickRecord, Round
from aiida_goectp.data.dataset import DatasetData
from tests import tiny

pytestmark = pytest.mark.usefixtures('aiida_profile')


def test_base_split_and_added_labels():
    whole = tiny.some_dataset(40)
    start = begin_dataset(DatasetData(whole.take(range(30))), orm.Int(3))
    assert set(start.splits['campaign']) == {'train', 'validation', 'test'}
    labels = DatasetData(whole.take([33, 37]))
    grown = grow_dataset(start, labels, orm.Str('campaign'))
    assert len(grown['dataset']) == len(start) + 2
    assert grown['report']['rows_given'] == [len(start), 2]
    mine = begin_dataset(start, orm.Int(0), orm.Str('campaign'))
    assert mine.content_hash == start.content_hash
    with pytest.raises(ValueError, match='2'):
        begin_dataset(DatasetData(whole.take([0, 1])), orm.Int(3))


def test_history_is_stored_as_plain_data():
    picks = (PickRecord(id='a', hash='h', mean=1.0, std=0.1 + 0.2, outcome='accepted', value=2.0, core_hours=3.0),)
    history = History(figure_of_merit='total', rounds=(Round(number=1, model_hash='m', picks=picks),))
    node = write_history(history).store()
    assert read_history(orm.load_node(node.pk)).rounds[0].picks[0].std == pytest.approx(0.3)
    assert read_history(node) is read_history(orm.load_node(node.pk))  # parsed once
    assert node['rounds'][0]['picks'][0]['id'] == 'a'
    with pytest.raises(ValueError, match='history'):
        read_history(orm.Dict({'rounds': 3}))


def test_core_hours_after_the_last_round_are_added_once_for_each_campaign():
    history = add_core_hours(begin_history(orm.Dict({})), orm.Float(0.25))
    history = add_core_hours(history, orm.Float(0.5))
    assert read_history(history).core_hours == 0.75
    found = conclude_campaign(history, orm.Dict({'max_core_hours': 0.75}), orm.Dict({'core_hours': 0.25}))
    assert (found['stop']['rule'], found['core_hours'].value) == ('max_core_hours', 1.0)


def test_rule_that_ends_a_campaign():
    history, nothing = begin_history(orm.Dict({})), orm.Dict({'core_hours': 0.25})
    found = conclude_campaign(history, orm.Dict({'max_rounds': 0}), nothing)
    assert found['stop']['rule'] == 'max_rounds'
    assert found['core_hours'].value == 0.25
    request = orm.Dict({'core_hours': 0.0, 'rule': 'requested', 'reason': 'on request'})
    assert conclude_campaign(history, orm.Dict({}), request)['stop']['rule'] == 'requested'
    rules, later = orm.Dict({'max_core_hours': 2.0}), {'core_hours': 2.25}
    spent = conclude_campaign(history, rules, orm.Dict(later | {'spent': 2.0}))
    assert (spent['stop']['rule'], spent['core_hours'].value) == ('max_core_hours', 2.25)
    for record in (later, later | {'spent': 1.75}):  # the last prediction is no reason to stop
        with pytest.raises(ValueError, match='no stop rule'):
            conclude_campaign(history, rules, orm.Dict(record))
    with pytest.raises(ValueError, match='no stop rule'):
        conclude_campaign(history, orm.Dict({}), nothing)
