"""``ActiveLearningWorkChain``: each stop rule, failures, and invalid inputs; with given predictions."""

import click
import pytest
from aiida import orm
from aiida.engine import Process, calcfunction, run_get_node

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.calculations.datasets import split_dataset
from aiida_goectp.cli.campaign.extend import Changes, extension_builder
from aiida_goectp.core.datasets.prototypes import crystal_fingerprints
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.aiida_private import STEP_RAISED, builder_inputs
from aiida_goectp.workflows.campaign import retrain, workchain
from aiida_goectp.workflows.campaign.state import campaign_state
from aiida_goectp.workflows.campaign.stop import request_stop
from aiida_goectp.workflows.campaign.validation import hold_out_warning
from aiida_goectp.workflows.campaign.workchain import ActiveLearningWorkChain
from aiida_goectp.workflows.submit_once import called_by_label
from tests.workflows.campaign import searching
from tests.workflows.dfpt.table_engine import TableDfptWorkChain
from tests.workflows.test_train import NETWORK


class BrokenEngine(TableDfptWorkChain):
    """Engine whose verification raises an exception."""

    @classmethod
    def core_hours(cls, node):
        raise RuntimeError('unknown cost')


class StopRequestingEngine(TableDfptWorkChain):
    """Engine that requests the stop of its campaign."""

    def setup(self):
        super().setup()
        request_stop(self.node.caller.caller)


class RefusingEngine(TableDfptWorkChain):
    """Engine that refuses the crystals of the first round, p23 and p21."""

    @classmethod
    def get_builder_from_protocol(cls, structure, **arguments):
        if structure.get_symbols_set() in ({'Mg', 'S'}, {'Rb', 'S'}):
            raise ValueError('unsupported crystal')
        return super().get_builder_from_protocol(structure, **arguments)


class InterruptedEngine(TableDfptWorkChain):
    """Engine of which a step raises an exception for one crystal, p23."""

    def setup(self):
        super().setup()
        if self.inputs.structure.get_symbols_set() == {'Mg', 'S'}:
            raise RuntimeError('lost connection')


@pytest.fixture
def any_code(aiida_profile, aiida_code_installed):
    return aiida_code_installed(label='any', filepath_executable='/bin/true')


@pytest.fixture(scope='module')
def known(empty_profile, write_model, predict_by_hand):
    """Return a pool, a model without weights, and its predictions, which rank the pool from its end."""
    pool = searching.some_pool()
    trained_on = crystal_fingerprints(searching.start_dataset().dataset.crystals)
    options = {'architecture': {'options': NETWORK['options']}, 'trained_on': trained_on}
    model = ModelData.get_or_create(write_model('search', **options))
    return pool, model, PredictionsData(predict_by_hand(pool.crystals, model.content_hash)).store()


@pytest.fixture(scope='module')
def start(empty_profile):
    """The starting dataset."""
    return searching.start_dataset()


@pytest.fixture
def search(any_code, known, start):
    """Return a function that runs a campaign with given predictions, by default without a training."""

    def run(retrain=False, engine=None, dataset=start, **more):
        pool, model, predictions = known
        builder = searching.campaign(
            any_code, model, pool=pool, predictions=predictions, retrain=retrain, dataset=dataset, **more
        )
        if engine is not None:
            builder.engine = f'{__name__}:{engine}'
        return run_get_node(builder)

    return run


@calcfunction
def describe(model):
    """Stands for a later, unrelated use of a model."""
    return orm.Str(model.card.name)


def ancestors(node):
    """Return the UUIDs of all ancestors of a node, through links of every type."""
    found, waiting = set(), [node]
    while waiting:
        for origin in waiting.pop().base.links.get_incoming().all_nodes():
            if origin.uuid not in found:
                found.add(origin.uuid)
                waiting.append(origin)
    return found


def picked(history):
    return [[item.id for item in one.picks] for one in history.rounds]


@pytest.mark.parametrize(
    ('rules', 'rule', 'picks'),
    [
        ({'max_calculations': 3, 'max_rounds': 9}, 'max_calculations', [2, 1]),
        ({'threshold': {'value': 20.0, 'kappa': 0}}, 'threshold', []),
        ({'max_core_hours': 0.0}, 'max_core_hours', []),
        ({'max_rounds': 0}, 'max_rounds', []),
    ],
)
def test_stop_rules(search, rules, rule, picks):
    results, node = search(overrides={'stop_rules': rules})
    assert node.is_finished_ok, node.exit_message
    assert results['stop']['rule'] == rule
    assert [len(names) for names in picked(read_history(results['history']))] == picks
    # there is a ranking in any case, and the picks of a round that was not started
    assert len(results['ranking']) == 12
    assert ('round_01' in results.get('picks', {})) == (rule == 'threshold' or bool(picks))


def test_a_prediction_that_exhausts_the_budget_starts_no_calculation(search, monkeypatch):
    def before_the_prediction(node):
        Process.current().ctx.core_hours += 5.0
        return False

    monkeypatch.setattr(workchain, 'stop_requested', before_the_prediction)
    results, node = search(overrides={'stop_rules': {'max_rounds': 9, 'max_core_hours': 4.0}})
    assert node.is_finished_ok, node.exit_message
    assert results['stop']['rule'] == 'max_core_hours'
    history = read_history(results['history'])
    assert results['core_hours'].value == history.core_hours == history.further_core_hours == 5.0
    with pytest.raises(click.UsageError, match='stop at once by max_core_hours: 5 core-hours'):
        extension_builder(node, Changes({'max_core_hours': 4.5}))
    assert extension_builder(node, Changes({'max_core_hours': 5.5})).extend.history.uuid == results['history'].uuid
    assert 'VerifyWorkChain' not in [child.process_label for child in node.called]
    assert 'picks' not in results
    assert len(results['ranking']) == 12


def test_a_campaign_on_the_dataset_of_another_one_continues_with_its_parts(search):
    first, _ = search(overrides={'stop_rules': {'max_rounds': 1}})
    with pytest.raises(ValueError, match='set split: campaign'):
        search(dataset=first['dataset'])
    again = {'dataset': first['dataset'], 'split': orm.Str('campaign')}
    results, node = search(**again, overrides={'stop_rules': {'max_rounds': 1}})
    assert node.is_finished_ok, node.exit_message
    assert picked(read_history(first['history'])) == [['p23', 'p21']]
    assert picked(read_history(results['history'])) == [['p19', 'p17']]
    former, dataset = first['dataset'].dataset, results['dataset'].dataset
    assert len(dataset) == len(former) + 2
    assert dataset.splits['campaign'].tolist() == [*former.splits['campaign'].tolist(), 'train', 'train']


def test_a_campaign_whose_model_was_trained_on_rows_of_its_dataset(search):
    """The warning of the plan is that of the running and of the stored process."""
    _, node = search(retrain=True, overrides={'stop_rules': {'max_rounds': 0}})
    assert node.is_finished_ok, node.exit_message
    assert 'trainable rows of the dataset' in hold_out_warning(node.inputs)
    assert any('was trained on' in log.message for log in orm.Log.collection.get_logs_for(node))


def test_a_campaign_returns_none_of_its_inputs(search, known):
    """An extension that stops at once has neither model nor dataset nor history of its own."""
    results, first = search(overrides={'stop_rules': {'max_rounds': 1}})
    state = campaign_state(first)
    assert state['model'].uuid == known[1].uuid
    assert (state['dataset'].uuid, state['history'].uuid) == (results['dataset'].uuid, results['history'].uuid)
    extend = {name: state[name] for name in ('dataset', 'history')}
    results, node = search(extend=extend, overrides={'stop_rules': {'max_rounds': 1}})
    assert node.is_finished_ok, node.exit_message
    assert not {'model', 'dataset', 'history'} & set(results)
    assert {name: item.uuid for name, item in campaign_state(node).items()} == {
        name: item.uuid for name, item in state.items()
    }
    later = describe(model=known[1])
    assert not {first.uuid, node.uuid} & ancestors(later)
    assert {known[1].uuid, later.creator.uuid} == ancestors(later)


def test_a_step_that_raises_leaves_the_state_of_the_campaign(search, monkeypatch):
    monkeypatch.setattr(retrain, 'decide_retraining', lambda *_: {}['policy'])
    results, node = search(overrides={'stop_rules': {'max_rounds': 1}})
    assert node.exit_status == STEP_RAISED
    assert 'KeyError' in node.exit_message
    assert len(read_history(results['history']).rounds) == 1
    assert set(campaign_state(node)) == {'model', 'dataset', 'history'}


def test_stop_without_candidates(search):
    results, node = search(
        overrides={'picking': {'filters': {'elements_all': ['Li']}}, 'stop_rules': {'max_rounds': 9}}
    )
    assert node.is_finished_ok, node.exit_message
    assert results['stop']['rule'] == 'no_candidates'
    (names,) = picked(read_history(results['history']))
    assert names == ['p9']
    assert 'lacks Li' in results['picks']['round_01'].picks.reason.tolist()


@pytest.mark.slow
def test_requested_stop(search):
    results, node = search(engine='StopRequestingEngine', overrides={'stop_rules': {'max_rounds': 9}})
    assert node.is_finished_ok, node.exit_message
    assert results['stop']['rule'] == 'requested'
    assert len(read_history(results['history']).rounds) == 1
    with pytest.raises(ValueError, match=str(node.pk)):
        request_stop(node)
    # it is extended without a changed rule
    assert extension_builder(node, Changes()).extend.history.uuid == results['history'].uuid


def test_failed_labels_are_results(search, known):
    table = searching.table_of(known[0])
    hashes = dict(zip(known[0].crystals.ids.tolist(), known[0].crystals.hashes.tolist(), strict=True))
    del table[hashes['p23']]
    table[hashes['p21']]['band_gap'] = table[hashes['p19']]['band_gap'] = 0.0
    table[hashes['p17']]['frequencies'][3:] = [-3.0] * 3
    results, node = search(table=table)
    assert node.is_finished_ok, node.exit_message
    history = read_history(results['history'])
    assert picked(history) == [['p23', 'p21'], ['p19', 'p17']]
    first, second = ([item.outcome for item in one.picks] for one in history.rounds)
    assert first == ['failed', 'refused']
    assert second == ['refused', 'electronic-only']
    assert '[310]' in history.rounds[0].picks[0].failure
    assert history.rounds[0].labels == 0
    # refused rows are stored, and not used in a training
    grown = results['dataset'].dataset
    assert grown.crystals.ids.tolist()[-3:] == ['p21', 'p19', 'p17']
    assert grown.trainable[-3:].tolist() == [False, False, True]
    reasons = dict(
        zip(*(getattr(results['ranking'].ranking, name).tolist() for name in ('ids', 'reason')), strict=True)
    )
    assert reasons['p23'].startswith('failed permanently: [402]')
    assert reasons['p17'] == 'failed permanently: electronic-only, without a value of total'
    assert reasons['p15'] == ''


def test_a_round_of_failures_stops_the_campaign_and_its_picks_remain_candidates(search, known):
    """A failure of all calculations is one of the engine. The second time, it is one of the crystals."""
    results, first = search(table={}, overrides={'stop_rules': {'max_rounds': 4}})
    assert first.exit_status == 454
    assert called_by_label(first)['round_01_verify'].exit_status == 420
    assert results['stop']['rule'] == 'all_failed'
    (one,) = read_history(results['history']).rounds
    assert [(pick.id, pick.outcome, pick.inconclusive) for pick in one.picks] == [
        ('p23', 'unfinished', True),
        ('p21', 'unfinished', True),
    ]
    assert '[310]' in one.picks[0].failure
    reasons = results['ranking'].ranking.reason.tolist()
    assert not any(reasons), reasons

    assert extension_builder(first, Changes()).extend.history.uuid == results['history'].uuid  # no rule has to change
    extend = {name: campaign_state(first)[name] for name in ('dataset', 'history')}
    table = searching.table_of(known[0])
    results, node = search(extend=extend, table=table, overrides={'stop_rules': {'max_rounds': 2}})
    assert node.is_finished_ok, node.exit_message
    second = read_history(results['history']).rounds[-1]
    assert [(pick.id, pick.outcome) for pick in second.picks] == [('p23', 'accepted'), ('p21', 'accepted')]

    results, node = search(extend=extend, table={}, overrides={'stop_rules': {'max_rounds': 4}})
    assert node.exit_status == 454
    rounds = read_history(results['history']).rounds
    assert picked(read_history(results['history'])) == [['p23', 'p21'], ['p23', 'p21'], ['p19', 'p17']]
    assert [[pick.outcome for pick in item.picks] for item in rounds[1:]] == [['failed'] * 2, ['unfinished'] * 2]


def test_one_failed_calculation_does_not_stop_the_campaign(search):
    """It may be due to its crystal."""
    overrides = {'stop_rules': {'max_rounds': 2}, 'picking': {'batch_size': 1}}
    results, node = search(table={}, overrides=overrides)
    assert node.is_finished_ok, node.exit_message
    assert [[pick.outcome for pick in one.picks] for one in read_history(results['history']).rounds] == [['failed']] * 2


def test_refused_crystals_do_not_stop_the_campaign(search):
    results, node = search(engine='RefusingEngine')
    assert node.is_finished_ok, node.exit_message
    assert [[pick.outcome for pick in one.picks] for one in read_history(results['history']).rounds] == [
        ['failed'] * 2,
        ['accepted'] * 2,
    ]


def test_an_interrupted_calculation_is_picked_again(search):
    results, node = search(engine='InterruptedEngine', overrides={'stop_rules': {'max_rounds': 3}})
    assert node.is_finished_ok, node.exit_message
    history = read_history(results['history'])
    assert picked(history) == [['p23', 'p21'], ['p23', 'p19'], ['p17', 'p15']]
    assert [[pick.outcome for pick in one.picks] for one in history.rounds] == [
        ['unfinished', 'accepted'],
        ['failed', 'accepted'],
        ['accepted', 'accepted'],
    ]
    summary = called_by_label(node)['round_01_verify'].outputs.summary
    assert summary['counts'] == {'interrupted': 1, 'accepted': 1}
    assert [pick.inconclusive for pick in history.rounds[0].picks] == [True, False]


@pytest.mark.slow
def test_failed_retraining_keeps_the_model_in_use(search, known):
    results, node = search(retrain=True, overrides={'stop_rules': {'max_rounds': 1}, 'settings': {'options': {}}})
    assert node.is_finished_ok, node.exit_message
    assert 'model' not in results
    assert campaign_state(node)['model'].uuid == known[1].uuid
    assert node.uuid not in ancestors(describe(model=known[1]))
    (one,) = read_history(results['history']).rounds
    assert (one.retrained, one.adopted, one.new_model_hash) == (True, False, None)
    assert 'member_00<' in one.retraining_reason
    assert len([item for item in node.called_descendants if item.process_label == 'TrainWorkChain']) == 2


@pytest.mark.slow
def test_given_labels_and_split(search, known, start):
    dataset = split_dataset(start, orm.Str('mine'), orm.Str('random'), orm.Int(3))
    labels = searching.start_dataset([23])
    results, node = search(
        dataset=dataset, split=orm.Str('mine'), labels=labels, overrides={'stop_rules': {'max_rounds': 1}}
    )
    assert node.is_finished_ok, node.exit_message
    assert set(results['dataset'].splits) == {'mine'}
    assert results['dataset'].splits['mine']['train'] == dataset.splits['mine']['train'] + 3
    # a crystal with a given label is not picked, and has the verified value in the ranking
    assert picked(read_history(results['history'])) == [['p21', 'p19']]
    ranking = results['ranking'].ranking
    row = ranking.ids.tolist().index('p23')
    assert ranking.total_std[row] == 0
    assert ranking.score[row] == pytest.approx(1.5 * searching.epsilon(known[0].crystals[row]))


def test_exit_codes(search, any_code, known, start):
    with pytest.raises(ValueError, match='2 trainable rows of 2 formulas are too few'):
        search(dataset=searching.start_dataset([0, 2]))
    results, node = search(overrides={'picking': {'acquisition': {'name': 'exploration'}}})
    assert node.exit_status == 223
    assert {'dataset', 'history'} <= set(results)
    assert set(campaign_state(node)) == {'model', 'dataset', 'history'}  # inputs of a campaign that extends it
    _, node = run_get_node(searching.campaign(any_code, known[1], pool=known[0], dataset=start))
    assert node.exit_status == 450
    _, node = run_get_node(searching.campaign(any_code, pool=known[0], dataset=start))
    assert node.exit_status == 452
    assert 'member_00<' in node.exit_message
    results, node = search(engine='BrokenEngine')
    assert node.exit_status == 453
    assert 'unknown cost' in node.exit_message
    assert results['history']['rounds'] == []


@pytest.mark.parametrize(
    ('overrides', 'nodes', 'name'),
    [
        ({'picking': {'batchsize': 3}}, {}, r'picking\.batchsize.*batch_size'),
        ({'picking': {'figure_of_merit': 'gap'}}, {}, "'gap'"),
        ({'picking': {'filters': {'max_hull': 0.1}}}, {}, 'e_above_hull'),
        ({'stop_rules': {'max_rounds': -1}}, {}, r'stop_rules\.max_rounds'),
        ({'retraining': {'folds': 1}}, {}, r'retraining\.folds'),
        ({'settings': {'members': 3}}, {}, r'settings\.members'),
        ({'settings': {'options': {'width': 16}}}, {'model': 'other'}, 'width.*fine-tuned'),
        ({'settings': {'functionals': ['PBE', 'PBEsol']}}, {}, 'functionals.*fine-tuned'),
        ({'seed': -1}, {}, 'seed'),
        ({}, {'split': 'none'}, "split: 'none'"),
        ({}, {'model': None, 'predictions': 1}, '^.*predictions: '),
        ({}, {'predictions': 'other'}, '^.*predictions: '),
        ({}, {'predictions': 'short'}, '6 rows.*12 crystals'),
        ({}, {'model': None, 'retrain': False}, 'model.*train'),
        ({}, {'extend': 'half'}, 'extend: '),
        ({}, {'engine': 'goectp.screen'}, 'DfptWorkChain'),
        ({}, {'model': 'electronic'}, 'total.*electronic'),
    ],
)
def test_invalid_inputs(any_code, known, start, write_model, predict_by_hand, overrides, nodes, name):
    pool, model, predictions = known
    choices = {
        'other': PredictionsData(predict_by_hand(pool.crystals, 'b' * 40)),
        'short': PredictionsData(predict_by_hand(pool.crystals.take(range(6)), model.content_hash)),
        1: predictions,
    }
    models = {
        'other': {'architecture': {'options': {'width': 8}}},
        'electronic': {'targets': ['electronic']},
    }
    given = dict(nodes)
    retrain, engine = given.pop('retrain', True), given.pop('engine', None)
    if 'model' in given:
        card = given.pop('model')
        model = ModelData.get_or_create(write_model(card, value=1.0, **models[card])) if card else None
    if 'predictions' in given:
        given['predictions'] = choices[given['predictions']]
    if 'split' in given:
        given['split'] = orm.Str(given['split'])
    if 'extend' in given:
        given['extend'] = {'dataset': start}

    def run():
        builder = searching.campaign(
            any_code, model, pool=pool, dataset=start, retrain=retrain, overrides=dict(overrides), **given
        )
        if engine:
            builder.engine = engine
        run_get_node(builder)

    with pytest.raises(ValueError, match=name):
        run()


def test_protocols(any_code, known, start):
    pool, model, _ = known
    assert set(ActiveLearningWorkChain.get_available_protocols()) == {'fast', 'balanced', 'stringent'}
    codes = {'pw_code': any_code, 'ph_code': any_code}
    for protocol in ('fast', 'balanced', 'stringent'):
        builder = ActiveLearningWorkChain.get_builder_from_protocol(
            any_code, pool, start, 'quantumespresso', codes, model, protocol
        )
        assert ActiveLearningWorkChain.spec().inputs.validate(builder_inputs(builder)) is None
        assert builder.max_trainings == 1  # without a scheduler each training uses the whole machine
        assert builder.train['goectp']['settings']['members'] == 1
    with pytest.raises(ValueError, match='speed'):
        ActiveLearningWorkChain.get_builder_from_protocol(any_code, pool, builder.dataset, 'vasp', speed=1)
    with pytest.raises(ValueError, match=r'predict\.goectp\.devise: unknown input'):
        ActiveLearningWorkChain.get_builder_from_protocol(
            any_code, pool, builder.dataset, 'vasp', overrides={'predict': {'goectp': {'devise': 'cpu'}}}
        )
