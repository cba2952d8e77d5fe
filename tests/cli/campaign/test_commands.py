"""``aiida-goectp campaign``: start, status, report, stop, extension and export."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

from aiida_goectp.calculations.campaign import write_history
from aiida_goectp.cli.queries import latest_campaigns
from aiida_goectp.cli.views import progress
from aiida_goectp.cli.views.progress import status_line
from aiida_goectp.core.selection import CandidateSummary, History, PickRecord, Round
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.report.page import report_html
from tests.cli.runner import flat, invoke
from tests.report.screens import data_of
from tests.workflows.campaign import searching
from tests.workflows.dfpt.table_engine import TableDfptWorkChain

OUTPUTS = {}
"""command → output while the campaign was running"""


class ObservedEngine(TableDfptWorkChain):
    """Invoke commands on the campaign while its first calculation runs."""

    def setup(self):
        super().setup()
        pk = self.node.caller.caller.pk
        if not OUTPUTS:
            OUTPUTS['status'] = invoke('campaign', 'status', pk)
            OUTPUTS['report'] = invoke('campaign', 'report', pk)
            OUTPUTS['extend'] = invoke('campaign', 'extend', pk, '--max-rounds', 9, status=2)
            OUTPUTS['export'] = invoke('campaign', 'export', pk, 'never.aiida', status=2)
            OUTPUTS['stop'] = invoke('campaign', 'stop', pk)
            OUTPUTS['status after stop'] = invoke('campaign', 'status', pk)


@pytest.fixture
def any_code(aiida_profile, aiida_code_installed):
    return aiida_code_installed(label='any', filepath_executable='/bin/true')


@pytest.fixture
def config(any_code, write_model, predict_by_hand, tmp_path):
    """Write the configuration of a campaign with predictions for its first round and without retraining."""
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
        'engine': f'{__name__}:ObservedEngine',
        'dfpt': {'arguments': {'table': searching.table_of(pool)}},
        'picking': {'batch_size': 2},
        'stop_rules': {'max_rounds': 2},
        'retraining': {'every_rounds': None},
    }
    path = tmp_path / 'campaign.yaml'
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.slow
def test_start_stop_extend_and_export(config, tmp_path):
    OUTPUTS.clear()
    invoke('campaign', 'start', config, '--run')
    (node,) = latest_campaigns(1)
    running = flat(OUTPUTS['status'])
    assert running.startswith(
        f'ActiveLearningWorkChain<{node.pk}> running, "in small", round 1 of at most 2, verifying, 0 of 2 finished, '
    )
    assert '2 calculations, 0.00 core-hours, next: collect labels, for ' in running
    assert 'end: not finished' in OUTPUTS['report']
    for command in ('extend', 'export'):
        assert f'campaign {node.pk} is running' in flat(OUTPUTS[command])
    assert 'next: collect labels' not in flat(OUTPUTS['status after stop'])

    line = f'ActiveLearningWorkChain<{node.pk}> finished, "in small", 1 round, best total '
    for command in (('campaign', 'status', node.pk), ('show', node.pk), ('campaign', 'report', node.pk)):
        output = flat(invoke(*command))
        assert line in output, command
        assert 'stopped by requested: ' in output
    assert line in flat(invoke('campaign', 'status'))
    picks = flat(invoke('show', node.outputs.picks.round_01.pk))
    assert 'Candidates, 12, 2 picked' in picks
    assert 'p23 picked: place 1 of 12 by greedy 19.5' in picks
    assert str(node.pk) in flat(invoke('campaign', 'stop', node.pk, status=2))

    extension = _extend(node)
    _export(extension, tmp_path)


def _extend(node):
    """Extend a campaign by one round of two picks."""
    assert 'max_rounds' in flat(invoke('campaign', 'extend', node.pk, '--max-rounds', 1, '--run', status=2))
    assert "'max_rounds'" in flat(invoke('campaign', 'extend', node.pk, '--rule', 'max_round=3', status=2))
    arguments = ('--max-rounds', 3, '--rule', 'max_calculations=4', '--run')
    output = flat(invoke('campaign', 'extend', node.pk, *arguments))
    (extension,) = latest_campaigns(1)
    assert '--rule' in flat(invoke('campaign', 'extend', extension.pk, '--run', status=2))  # a rule ended it
    assert extension.inputs.extend.history.uuid == node.outputs.history.uuid
    assert extension.inputs.stop_rules.get_dict() == {'max_rounds': 3, 'max_calculations': 4}
    called = [child.process_label for child in extension.called if isinstance(child, orm.WorkChainNode)]
    assert called == ['VerifyWorkChain']
    report = json.loads(invoke('campaign', 'report', extension.pk, '--json'))
    assert [item['picks'] for item in report['rounds']] == [2, 2]
    rounds = {'p23': 1, 'p21': 1, 'p19': 2, 'p17': 2}  # the predictions increase with the row of the pool
    epsilon = {crystal.id: searching.epsilon(crystal) for crystal in node.inputs.pool.crystals}
    best = sorted(rounds, key=lambda name: -epsilon[name])
    assert [(item['id'], item['round']) for item in report['best']] == [(name, rounds[name]) for name in best]
    values = [item['value'] for item in report['best']]
    assert values == sorted(values, reverse=True)
    assert report['rounds'][-1]['best'] == pytest.approx(values[0])
    assert report['stop']['rule'] == 'max_calculations'
    assert report['cost'] | {'core_hours': 0.0} == {'calculations': 4, 'labels': 4, 'trainings': 0, 'core_hours': 0.0}
    for text in ('Rounds, 2;', 'not retrained', 'Best verified by total, 4', 'cost: 4 calculations, 4 labels'):
        assert text in output, text
    assert 'end: max_calculations: ' in output
    _check_page(extension, report)
    return extension


def _check_page(node, report):
    """Check that the page of a campaign has its rounds and DFPT results."""
    page = report_html(node)
    data = data_of(page)
    computed = {data['columns']['id'][int(row)]: item for row, item in data['computed'].items()}
    assert set(computed) == {item['id'] for item in report['best']}
    for item in report['best']:
        assert computed[item['id']]['averages']['total'] == pytest.approx(item['value'], rel=1e-5)
        assert computed[item['id']]['verdict'] == 'accepted'
    assert page.count('data:image/svg+xml') + page.count('data:image/png') >= 1  # the figure of the rounds


def _export(node, tmp_path):
    """Export a campaign, import it into another profile, and compare the reports."""
    archive = tmp_path / 'campaign.aiida'
    invoke('campaign', 'export', node.pk, archive)
    assert '--force' in flat(invoke('campaign', 'export', node.pk, archive, status=2))
    here = json.loads(invoke('campaign', 'report', node.pk, '--json'))
    environment = {**os.environ, 'AIIDA_PATH': str(tmp_path / 'elsewhere')}
    environment.pop('AIIDA_PROFILE', None)
    (tmp_path / 'elsewhere').mkdir()
    folder = Path(sys.executable).parent

    def run(program, *arguments):
        command = [folder / program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    profile = ['core.sqlite_dos', '-n', '--profile-name', 'other', '--email', 'a@b', '--set-as-default']
    run('verdi', 'profile', 'setup', *profile)
    run('verdi', 'archive', 'import', archive)
    there = json.loads(run('aiida-goectp', 'campaign', 'report', node.uuid, '--json'))
    for report in (here, there):  # PKs differ between profiles
        report['campaign'].pop('pk')
        report.pop('outputs')
    assert there == here


def test_other_processes_are_refused(config):
    calculation = orm.load_node(yaml.safe_load(config.read_text())['pool']).creator
    other = orm.WorkChainNode()
    other.set_process_label('ScreenWorkChain')
    other.store()
    for command in ('status', 'report', 'stop', 'extend'):
        assert str(calculation.pk) in invoke('campaign', command, calculation.pk, status=2)
        assert f'process {other.pk} is a ScreenWorkChain' in flat(invoke('campaign', command, other.pk, status=2))


def test_status_without_campaigns(aiida_profile_clean):
    assert 'aiida-goectp campaign start' in flat(invoke('campaign', 'status', status=2))


@pytest.fixture
def waiting_campaign(aiida_profile):
    """Return a function that stores the node of a campaign with the calls of given labels."""

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


def _call(node, path):
    """Add a call to a process, with the calls below it by a path of labels; one that records creates a history."""
    label, _, below = path.partition('/')
    chain = bool(below) or label.startswith('member_')
    call = orm.WorkChainNode() if chain else orm.CalcFunctionNode()
    link = LinkType.CALL_WORK if chain else LinkType.CALL_CALC
    call.base.links.add_incoming(node, link_type=link, link_label=label)
    call.set_process_label('record_round' if 'record' in label else 'any')
    if chain:
        call.set_process_state(ProcessState.WAITING)
    call.store()
    if below:
        _call(call, below)
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


BEFORE, ROUND_1 = 'before round 1', 'round 1 of at most 2'


@pytest.mark.parametrize(
    ('labels', 'parts'),
    [
        ([], [BEFORE, 'starting', 'no verified value', '0 calculations', '0.00 core-hours', 'next: train a model']),
        (['round_00_retrain/train_committee/member_00'], [BEFORE, 'next: predict the pool']),
        (['round_01_predict'], [ROUND_1, 'predicting 12 crystals', 'no verified value', 'next: pick']),
        (['round_01_predict', 'round_01_pick'], [ROUND_1, 'picking', 'next: verify']),
        (
            ['round_01_labels', 'round_01_record'],
            [ROUND_1, 'collecting labels', 'best total 10 (p1)', '2 calculations', '1.75 core-hours'],
        ),
        (['round_01_record', 'round_01_retrain/compare_models'], [ROUND_1, 'comparing models', 'best total 10 (p1)']),
        (['round_01_record', 'round_01_record_retraining'], [ROUND_1, 'round finished']),
        (['round_01_record', 'round_02_predict'], ['round 2 of at most 2', 'predicting 12 crystals']),
        (['round_01_record', 'round_03_predict'], ['after the last round', 'predicting 12 crystals']),
        (['round_01_record', 'rank_verified'], [ROUND_1, 'finishing', 'next: end']),
    ],
)
def test_status_in_each_stage(waiting_campaign, labels, parts):
    line = status_line(waiting_campaign(*labels)).split(', ')
    assert [part for part in line if part in parts] == parts


@pytest.mark.parametrize('before', [[], ['round_01_record']])
def test_status_of_a_committee_in_training(waiting_campaign, before):
    number = len(before)
    node = waiting_campaign(*before, f'round_{number:02d}_retrain/train_committee/member_00')
    assert 'training, 0 of 2 members finished (' in status_line(node)


def test_status_names_a_paused_job(waiting_campaign):
    """The work chains above it only wait."""
    node = waiting_campaign('round_00_retrain/train_committee/member_00')
    job = orm.CalcJobNode()
    job.set_process_label('PwCalculation')
    job.set_process_state(ProcessState.WAITING)
    job.base.links.add_incoming(node.called_descendants[-1], link_type=LinkType.CALL_CALC, link_label='iteration_01')
    job.store()
    assert 'paused' not in status_line(node)
    job.pause()
    job.set_process_status('Pausing after failed transport task: submit')
    other = waiting_campaign()
    assert 'paused' not in status_line(other)
    for line in (status_line(node), flat(invoke('campaign', 'status', node.pk))):
        assert f'1 paused, first PwCalculation<{job.pk}> (Pausing after failed transport task: submit)' in line
        assert f'`verdi process play {job.pk}`' in line
    assert 'start it again' in status_line(node, here=True)
    job.set_process_state(ProcessState.FINISHED)
    assert 'paused' not in status_line(node)


def test_status_mentions_that_nothing_changes(waiting_campaign, monkeypatch):
    node = waiting_campaign('round_00_retrain/train_committee/member_00')
    assert 'no change' not in status_line(node)
    later = progress.timezone.now() + timedelta(hours=5.5)
    monkeypatch.setattr(progress.timezone, 'now', lambda: later)
    line = status_line(node)
    assert f'no change for 5 hours, print the tree below it with `verdi process status {node.pk}`' in line
    assert 'verdi daemon start' in line


def test_report_on_a_campaign_with_retraining(waiting_campaign):
    output = flat(invoke('campaign', 'report', waiting_campaign('round_01_record').pk))
    for text in (
        'adopted',
        '1 round with 1 new labels',
        'mmmmmmmmmm',
        'Best verified by total, 1',
        '9.00 ± 0.50',
        '-10%',
        'Picks without a value of total, 1',
        'p2 failed [302] no gap',
        'picks: 2 of 8 candidates in 1 round, 1 with a label',
        'best: p1, total 10 (predicted 9)',
        '10% in round 1',
        'end: not finished',
        'cost: 2 calculations, 1 labels, 1 retrainings, 1.75 core-hours',
    ):
        assert text in output, text


def test_report_before_the_first_round(waiting_campaign):
    output = invoke('campaign', 'report', waiting_campaign().pk)
    assert 'cost: 0 calculations' in output
    assert 'Rounds' not in output
