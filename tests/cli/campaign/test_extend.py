"""``aiida-goectp campaign extend``: other arguments of the engine, and failed picks that are picked again."""

import json

import click
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.cli.campaign.extend import Changes, extension_builder, parse_pairs
from aiida_goectp.cli.queries import latest_campaigns
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from tests.cli.runner import flat, invoke
from tests.workflows.campaign import searching


@pytest.fixture
def ended(aiida_profile, aiida_code_installed, write_model, predict_by_hand):
    """Return a campaign of one round of two picks, p23 and p21, and the table that has an answer for both.

    The table of the campaign has none for p23, whose calculation fails.
    """
    pool = searching.some_pool()
    model = ModelData.get_or_create(write_model('search'))
    predictions = PredictionsData(predict_by_hand(pool.crystals, model.content_hash)).store()
    table = searching.table_of(pool)
    lost = str(pool.crystals.hashes[pool.crystals.ids.tolist().index('p23')])
    builder = searching.campaign(
        aiida_code_installed(label='any', filepath_executable='/bin/true'),
        model,
        table={key: value for key, value in table.items() if key != lost},
        pool=pool,
        predictions=predictions,
        retrain=False,
        overrides={'stop_rules': {'max_rounds': 1}},
    )
    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return node, table


def outcomes(history):
    return [[(pick.id, pick.outcome) for pick in one.picks] for one in history.rounds]


def test_a_failed_pick_is_picked_again_with_other_arguments(ended):
    node, table = ended
    before = read_history(node.outputs.history)
    assert outcomes(before) == [[('p23', 'failed'), ('p21', 'accepted')]]
    change = f'arguments.table={json.dumps(table)}'
    invoke('campaign', 'extend', node.pk, '--max-rounds', 2, '--dfpt', change, '--retry-failed', '--run')
    (more,) = latest_campaigns(1)
    assert set(more.inputs.dfpt.table.get_dict()) == set(table)
    found = read_history(more.outputs.history)
    assert outcomes(found) == [[('p23', 'unfinished'), ('p21', 'accepted')], [('p23', 'accepted'), ('p19', 'accepted')]]
    assert found.rounds[0].picks[0].failure == before.rounds[0].picks[0].failure  # the reason is kept
    reopened = more.inputs.extend.history.creator
    assert (reopened.process_label, reopened.inputs.history.uuid) == ('reopen_failed', node.outputs.history.uuid)
    assert 'p23' in more.outputs.dataset.dataset.crystals.ids.tolist()


def test_the_report_names_the_command_that_lets_a_failed_pick_be_picked_again(ended):
    node, _ = ended
    output = flat(invoke('campaign', 'report', node.pk))
    assert '1 failed pick can be picked again, with' in output
    assert f'aiida-goectp campaign extend {node.pk} --retry-failed' in output


def test_without_retry_a_failed_pick_stays_failed(ended):
    builder = extension_builder(ended[0], Changes({'max_rounds': 2}))
    assert builder.extend.history.uuid == ended[0].outputs.history.uuid
    (failure,) = (text for text in read_history(builder.extend.history).outcomes().values() if text)
    assert '[310]' in failure


def test_another_code_and_more_calculations_at_a_time(ended, aiida_code_installed):
    node, _ = ended
    code = aiida_code_installed(label='other', filepath_executable='/bin/true')
    builder = extension_builder(node, Changes({'max_rounds': 2}, code=code, max_concurrent=7))
    assert (builder.predict.goectp.code.uuid, builder.max_concurrent.value) == (code.uuid, 7)
    kept = extension_builder(node, Changes({'max_rounds': 2}))
    assert kept.predict.goectp.code.uuid == node.inputs.predict.goectp.code.uuid != code.uuid
    assert kept.max_concurrent.value == node.inputs.max_concurrent.value


def test_refused_extensions_store_nothing(ended):
    node, _ = ended
    before = orm.QueryBuilder().append(orm.Node).count()
    for arguments, message in (
        (('--dfpt', 'wall_tme=3'), 'dfpt.wall_tme'),
        (('--dfpt', 'wall_time'), '--dfpt wall_time'),
        (('--dfpt', 'arguments.unknown=3'), 'unknown'),
        (('--dfpt', 'codes.pw=pw@nowhere'), '--dfpt codes.pw=pw@nowhere: '),
        (('--dfpt', 'arguments.factor=text'), 'TableDfptWorkChain refuses the first'),
        (('--retry', 'p21'), 'p21: no failed pick has this id; failed are: p23'),
        (('--retry', 'p23', '--retry-failed'), 'either --retry'),
        (('--retry', 'p23', '--max-rounds', 1), 'stop at once by max_rounds'),
    ):
        more = () if '--max-rounds' in arguments else ('--max-rounds', 2)
        assert message in flat(invoke('campaign', 'extend', node.pk, *arguments, *more, '--run', status=2)), arguments
    assert orm.QueryBuilder().append(orm.Node).count() == before


def test_parse_pairs():
    pairs = ['max_core_hours=1e2', 'stable_top.k=5', 'stable_top.rounds=2', 'threshold=null']
    rules = parse_pairs('--rule', 'a=1', pairs)
    assert rules == {'max_core_hours': '1e2', 'stable_top': {'k': 5, 'rounds': 2}, 'threshold': None}


@pytest.mark.parametrize('pair', ['max_rounds', '=3', 'a.b=[', 'threshold.value=1'])
def test_invalid_pairs_are_named(pair):
    with pytest.raises(click.UsageError) as caught:
        parse_pairs('--rule', 'a=1', ['threshold=null', pair])
    assert f'--rule {pair}' in caught.value.message
