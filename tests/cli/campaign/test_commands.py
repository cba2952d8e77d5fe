"""``aiida-goectp campaign``: a whole campaign from the command line, watched while it runs, and what is said of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState
from click.testing import CliRunner

from aiida_goectp.calculations.campaign import write_history
from aiida_goectp.cli import main
from aiida_goectp.cli.campaign.extend import parse_rules
from aiida_goectp.cli.views.progress import status_line
from aiida_goectp.core.selection import CandidateSummary, History, PickRecord, Round
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from tests.workflows.campaign import searching
from tests.workflows.dfpt.table_engine import TableDfptWorkChain

SEEN = []
"""what the command line said while the campaign ran"""


class WatchedEngine(TableDfptWorkChain):
    """Look at the campaign from the outside while it computes."""

    def setup(self):
        super().setup()
        pk = self.node.caller.caller.pk
        if not SEEN:
            SEEN.append(invoke('campaign', 'status', pk).output)
            SEEN.append(invoke('campaign', 'report', pk).output)
            SEEN.append(invoke('campaign', 'extend', pk, '--max-rounds', 9).output)
            SEEN.append(invoke('campaign', 'export', pk, '/tmp/never.aiida').output)
            SEEN.append(invoke('campaign', 'stop', pk).output)
            SEEN.append(invoke('campaign', 'status', pk).output)


def invoke(*arguments):
    return CliRunner().invoke(main, [str(item) for item in arguments])


def flat(result):
    return ' '.join((result if isinstance(result, str) else result.output).split())


@pytest.fixture
def any_code(aiida_profile, aiida_code_installed):
    return aiida_code_installed(label='any', filepath_executable='/bin/true')


@pytest.fixture
def config(any_code, write_model, predict_by_hand, tmp_path):
    """Write the configuration of a campaign whose first predictions are given, and that trains nothing."""
    pool = searching.some_pool()
    model = ModelData.get_or_create(write_model('search'))
    predictions = PredictionsData(predict_by_hand(pool.crystals, model.content_hash)).store()
    values = {
        'label': 'in small',
        'pool': pool.pk,
        'dataset': searching.start_dataset().pk,
        'model': model.pk,
        'predictions': predictions.pk,
        'code': any_code.full_label,
        'engine': f'{__name__}:WatchedEngine',
        'dfpt': {'arguments': {'table': searching.table_of(pool)}},
        'picking': {'batch_size': 2},
        'stop_rules': {'max_rounds': 2},
        'retraining': {'every_rounds': None},
    }
    path = tmp_path / 'campaign.yaml'
    path.write_text(yaml.safe_dump(values))
    return path


def latest():
    query = orm.QueryBuilder().append(
        orm.WorkChainNode, filters={'attributes.process_label': 'ActiveLearningWorkChain'}
    )
    return query.order_by({orm.WorkChainNode: {'id': 'desc'}}).first(flat=True)


def test_a_campaign_from_its_file_to_another_profile(config, tmp_path):
    SEEN.clear()
    result = invoke('campaign', 'start', config, '--run')
    assert result.exit_code == 0, result.output
    node = latest()
    running, so_far, extend, export, stop, asked = (flat(text) for text in SEEN)
    assert running.startswith(
        f'ActiveLearningWorkChain<{node.pk}> running, "in small", round 1 of at most 2, verifying, 0 '
    )
    assert (
        'nothing verified yet, 2 calculations and 0.00 core-hours spent, next: learn from the labels, for ' in running
    )
    assert 'why it ended: it has not ended' in so_far
    assert 'is running; wait, or ask it to stop' in extend
    assert 'is running; an archive holds what has ended' in export
    assert 'stops after its round' in stop
    assert 'next: stops after this round, as asked' in asked

    # it stopped as it was asked to
    line = f'ActiveLearningWorkChain<{node.pk}> finished, "in small", 1 round, best total '
    for command in (('campaign', 'status', node.pk), ('show', node.pk), ('campaign', 'report', node.pk)):
        said = flat(invoke(*command))
        assert line in said, command
        assert 'ended by requested: it was asked to stop after round 1, took 0:' in said
    assert line in flat(invoke('campaign', 'status'))
    picks = flat(invoke('show', node.outputs.picks.round_01.pk))
    assert 'Candidates, 12, 2 picked' in picks
    assert 'p23 picked: place 1 of 12 by greedy 19.5' in picks
    assert 'has ended already' in flat(invoke('campaign', 'stop', node.pk))

    further = _extended(node)
    _exported(further, tmp_path)


def _extended(node):
    """Go on for one more round."""
    result = invoke('campaign', 'extend', node.pk, '--max-rounds', 1, '--run')
    assert 'nothing would be done, since 1 rounds are done, 1 were allowed (max_rounds)' in flat(result)
    result = invoke('campaign', 'extend', node.pk, '--run')
    assert 'give a rule to go on by' in flat(result)
    result = invoke('campaign', 'extend', node.pk, '--rule', 'max_round=3')
    assert "stop_rules.max_round: no such setting (did you mean 'max_rounds'?)" in flat(result)
    result = invoke('campaign', 'extend', node.pk, '--max-rounds', 3, '--rule', 'max_calculations=4', '--run')
    assert result.exit_code == 0, result.output
    further = latest()
    assert further.inputs.extend.history.uuid == node.outputs.history.uuid
    assert further.inputs.stop_rules.get_dict() == {'max_rounds': 3, 'max_calculations': 4}
    assert [child.process_label for child in further.called if isinstance(child, orm.WorkChainNode)] == [
        'VerifyWorkChain'
    ]
    report = json.loads(invoke('campaign', 'report', further.pk, '--json').output)
    assert [item['picks'] for item in report['rounds']] == [2, 2]
    assert [item['round'] for item in report['best']] == [2, 1, 2, 1] or len(report['best']) == 4
    values = [item['value'] for item in report['best']]
    assert values == sorted(values, reverse=True)
    assert report['rounds'][-1]['best'] == pytest.approx(values[0])
    assert report['stop'] == {'rule': 'max_calculations', 'reason': '4 calculations are done, 4 were allowed'}
    assert report['cost']['labels'] == 4
    text = flat(result)
    for part in ('Rounds, 2;', 'not retrained', 'Best verified by total, 4', report['best'][0]['id'], 'cost: 4 calcul'):
        assert part in text, part
    assert 'why it ended: 4 calculations are done, 4 were allowed (max_calculations)' in text
    return further


def _exported(node, tmp_path):
    """Export it, import it into a profile of its own, and report there."""
    archive = tmp_path / 'campaign.aiida'
    result = invoke('campaign', 'export', node.pk, archive)
    assert result.exit_code == 0, result.output
    assert 'is there already; overwrite it with --force' in flat(invoke('campaign', 'export', node.pk, archive))
    here = json.loads(invoke('campaign', 'report', node.pk, '--json').output)
    elsewhere = {**os.environ, 'AIIDA_PATH': str(tmp_path / 'elsewhere')}
    elsewhere.pop('AIIDA_PROFILE', None)
    (tmp_path / 'elsewhere').mkdir()
    folder = Path(sys.executable).parent

    def run(program, *arguments):
        command = [folder / program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=elsewhere, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(
        'verdi',
        *['profile', 'setup', 'core.sqlite_dos', '-n', '--profile-name', 'other', '--email', 'a@b', '--set-as-default'],
    )
    run('verdi', 'archive', 'import', archive)
    there = json.loads(run('aiida-goectp', 'campaign', 'report', node.uuid, '--json'))
    for report in (here, there):
        for name in ('pk', 'outputs'):
            (report['campaign'] if name == 'pk' else report).pop(name)
    assert there == here


def test_what_is_no_campaign(config):
    pool = orm.load_node(yaml.safe_load(config.read_text())['pool'])
    for command in ('status', 'report', 'stop', 'extend'):
        result = invoke('campaign', command, pool.creator.pk)
        assert result.exit_code == 2
    other = orm.WorkChainNode()
    other.set_process_label('ScreenWorkChain')
    result = invoke('campaign', 'report', other.store().pk)
    assert f'process {other.pk} is a ScreenWorkChain, no campaign' in flat(result)


def test_no_campaign_yet(aiida_profile_clean):
    result = invoke('campaign', 'status')
    assert result.exit_code == 2
    assert 'there is no campaign yet' in flat(result)


@pytest.fixture
def begun(aiida_profile):
    """Return a function that makes the node of a campaign which has called some processes and waits."""

    def make(*labels):
        node = orm.WorkChainNode(process_type='aiida.workflows:goectp.active_learning')
        node.set_process_label('ActiveLearningWorkChain')
        inputs = {
            'pool': CrystalsData(searching.crystals(range(1, 24, 2))),
            'picking': orm.Dict({}),
            'stop_rules': orm.Dict({'max_rounds': 2}),
            'retraining': orm.Dict({'folds': 2}),
        }
        for name, value in inputs.items():
            node.base.links.add_incoming(value.store(), link_type=LinkType.INPUT_WORK, link_label=name)
        node.set_process_state(ProcessState.WAITING)
        node.store()
        for label in labels:
            _call(node, label)
        return node

    return make


def _call(node, label):
    """Let a campaign have called a process; one that records gives a history."""
    training = 'train_member' in label
    call = orm.WorkChainNode() if training else orm.CalcFunctionNode()
    link = LinkType.CALL_WORK if training else LinkType.CALL_CALC
    call.base.links.add_incoming(node, link_type=link, link_label=label)
    call.set_process_label('TrainWorkChain' if training else 'record_round' if 'record' in label else 'any')
    call.store()
    if 'record' in label:
        history = write_history(some_history())
        history.base.links.add_incoming(call, link_type=LinkType.CREATE, link_label='result')
        history.store()


def some_history():
    picks = (
        PickRecord(id='p1', hash='a', mean=9.0, std=0.5, value=10.0, outcome='accepted', core_hours=1.25),
        PickRecord(id='p2', hash='b', mean=8.0, outcome='failed', failure='[302] no gap'),
    )
    last = Round(
        number=1, outlook=CandidateSummary(candidates=8),
        model_hash='m' * 40, picks=picks, retrained=True, new_model_hash='n' * 40, adopted=True,
        retraining_reason='1 round with 1 new labels', core_hours=0.5,
    )  # fmt: skip
    return History(figure_of_merit='total', rounds=(last,))


@pytest.mark.parametrize(
    ('labels', 'words'),
    [
        (
            [],
            'before round 1, beginning, nothing verified yet, 0 calculations and 0.00 core-hours spent, next: train a',
        ),
        (
            ['round_00_deal', 'round_00_train_member_00'],
            'before round 1, training, 0 of 2 members done (no epoch done yet)',
        ),
        (['round_01_predict'], 'round 1 of at most 2, predicting 12 crystals, nothing verified yet'),
        (['round_01_predict', 'round_01_pick'], 'round 1 of at most 2, picking, nothing'),
        (
            ['round_01_labels', 'round_01_record'],
            'round 1 of at most 2, taking labels, best total 10 (p1), 2 calculations and',
        ),
        (['round_01_record', 'round_01_deal', 'round_01_train_member_00'], 'training, 0 of 2 members done'),
        (
            ['round_01_record', 'round_01_merge'],
            'comparing models, best total 10 (p1), 2 calculations and 1.75 core-hours',
        ),
        (['round_01_record', 'round_01_record_retraining'], 'round 1 of at most 2, round done,'),
        (['round_01_record', 'round_02_predict'], 'round 2 of at most 2, predicting 12 crystals, best total 10 (p1)'),
        (['round_01_record', 'round_03_predict'], 'after the last round, predicting'),
        (['round_01_record', 'rank_verified'], 'round 1 of at most 2, concluding'),
    ],
)
def test_the_line_in_each_stage(begun, labels, words):
    assert words in status_line(begun(*labels))


def test_report_on_a_campaign_that_retrained(begun):
    node = begun('round_01_record')
    said = flat(invoke('campaign', 'report', node.pk))
    for part in (
        'adopted',
        '1 round with 1 new labels',
        'mmmmmmmmmm',
        'Best verified by total, 1',
        '9.00 ± 0.50',
        '-10%',
        'Picked, and no value of total, 1',
        'p2 failed [302] no gap',
        '2 of 8 candidates were picked in 1 round; 1 gave a label to learn from. The best is p1: total = 10, where 9 '
        'was predicted. The predictions of the picks were wrong by 10% in round 1, on average.',
        'why it ended: it has not ended',
        'cost: 2 calculations, which gave 1 labels; 1 retrainings; 1.75 core-hours',
    ):
        assert part in said, part
    empty = flat(invoke('campaign', 'report', begun().pk))
    assert 'cost: 0 calculations' in empty


def test_rules_from_words():
    pairs = ['max_core_hours=1e2', 'stable_top.k=5', 'stable_top.rounds=2', 'threshold=null']
    rules = parse_rules(pairs)
    assert rules == {'max_core_hours': '1e2', 'stable_top': {'k': 5, 'rounds': 2}, 'threshold': None}
    for wrong in ('max_rounds', '=3', 'a.b=[', 'threshold.value=1'):
        with pytest.raises(Exception, match='--rule'):
            parse_rules(['threshold=null', wrong])
