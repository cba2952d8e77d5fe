"""``ActiveLearningWorkChain``: a campaign to its end, each way to stop, what fails and what does not stop it."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.calculations.datasets import split_dataset
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.workflows.campaign.stop import request_stop
from aiida_goectp.workflows.campaign.workchain import ActiveLearningWorkChain
from aiida_goectp.workflows.submit_once import called_by_label
from tests import tiny
from tests.workflows.campaign import searching
from tests.workflows.dfpt.table_engine import TableDfptWorkChain
from tests.workflows.test_train import NETWORK

PLAIN = (orm.Dict, orm.Str, orm.Int, orm.Float, orm.Bool, orm.List)


class BrokenEngine(TableDfptWorkChain):
    """Nobody can say what it cost."""

    @classmethod
    def core_hours(cls, node):
        raise RuntimeError('no idea')


class AskingEngine(TableDfptWorkChain):
    """Somebody asks the campaign to stop while it computes."""

    def setup(self):
        super().setup()
        request_stop(self.node.caller.caller)


@pytest.fixture
def any_code(aiida_profile, aiida_code_installed):
    return aiida_code_installed(label='any', filepath_executable='/bin/true')


@pytest.fixture
def known(aiida_profile, write_model, predict_by_hand):
    """Return a pool, a model that cannot compute, and its predictions, which rank the pool from its end."""
    pool = searching.some_pool()
    model = ModelData.get_or_create(write_model('search', architecture={'options': NETWORK['options']}))
    return pool, model, PredictionsData(predict_by_hand(pool.crystals, model.content_hash)).store()


@pytest.fixture
def search(any_code, known):
    """Return a function that runs a campaign without a training, whose predictions are given."""

    def run(retrain=False, engine=None, dataset=None, **more):
        pool, model, predictions = known
        builder = searching.campaign(
            any_code, model, pool=pool, predictions=predictions, retrain=retrain, dataset=dataset, **more
        )
        if engine is not None:
            builder.engine = f'{__name__}:{engine}'
        return run_get_node(builder)

    return run


def picked(history):
    return [[item.id for item in one.picks] for one in history.rounds]


@pytest.mark.timeout(1800)  # of a busy machine
def test_a_campaign_from_nothing_to_its_end_and_beyond(code):
    tiny.one_thread()
    # whatever the training gives is adopted
    overrides = {'retraining': {'mode': 'fine-tune', 'tolerance': 1e3}, 'stop_rules': {'max_rounds': 1}}
    builder = searching.campaign(code, overrides=overrides, table=searching.table_of(searching.some_pool(13)))
    results, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_message, node.exception)
    history = read_history(results['history'])
    (one,) = history.rounds
    assert len(one.picks) == 2
    assert (one.retrained, one.adopted) == (True, True), one.retraining_reason
    pool = dict(zip(builder.pool.crystals.ids.tolist(), builder.pool.crystals, strict=True))
    for item in one.picks:
        assert item.outcome == 'accepted'
        assert item.value == pytest.approx(1.5 * searching.epsilon(pool[item.id]))
    assert results['stop'].get_dict() == {'rule': 'max_rounds', 'reason': '1 rounds are done, 1 were allowed'}
    assert results['core_hours'].value > history.core_hours > 0
    called = called_by_label(node)
    _check_models(results, called, one)
    _check_dataset(results['dataset'].dataset, called, [item.id for item in one.picks])

    # the ranking holds what is verified
    ranking = results['ranking'].ranking
    rows = {str(name): row for row, name in enumerate(ranking.ids)}
    for item in one.picks:
        assert ranking.score[rows[item.id]] == pytest.approx(item.value)
        assert ranking.total_std[rows[item.id]] == 0
    assert ranking.settings['verified'] == 2
    assert sorted(results['picks']) == ['round_01']

    # nothing comes from nowhere: what no process made was given, or is a plain value that a step was told
    given = node.base.links.get_incoming(node_class=orm.Data).all_nodes()
    inputs = {origin.uuid for item in given for origin in searching.walk(item)}
    for output in (results['ranking'], results['model'], results['dataset'], results['history'], results['stop']):
        for origin in searching.walk(output):
            assert origin.uuid in inputs or isinstance(origin, PLAIN), origin

    _again(builder, results)
    _with_one_more(builder, history)
    _extend(builder, results, code)


def _check_models(results, called, one):
    """Two committees, the second from the first, member by member."""
    first, second = (called[f'round_{number:02d}_merge'].outputs.result for number in (0, 1))
    assert results['model'].uuid == second.uuid
    assert second.card.name == 'campaign-round-01'
    assert (one.model_hash, one.new_model_hash) == (first.content_hash, second.content_hash)
    member = called['round_01_train_member_01']
    assert member.inputs.goectp.split == 'campaign.fold-1'
    assert member.inputs.goectp.settings['seed'] == 1
    assert member.inputs.goectp.model.creator.inputs.model.uuid == first.uuid


def _check_dataset(grown, called, labels):
    """The hold-out is what it was, each label is out of one training, and the committee has seen them all."""
    start = called['begin_dataset'].outputs.result.dataset
    assert len(grown) == len(start) + 2
    for part in ('validation', 'test'):
        assert grown.part('campaign', part).crystals.ids.tolist() == start.part('campaign', part).crystals.ids.tolist()
    dealt = called['round_01_deal'].outputs.result.dataset
    out = [dealt.part(f'campaign.fold-{member}', 'test').crystals.ids.tolist() for member in range(2)]
    assert sorted(out[0] + out[1]) == sorted(labels)
    rows = called['round_01_merge'].outputs.result.card.training['rows']
    assert rows['train'] == len(start.part('campaign', 'train')) + 2


def _again(builder, results):
    """Launch the same campaign once more: every job and every response is there already."""
    with enable_caching():
        again, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    jobs = [job for job in node.called_descendants if isinstance(job, orm.CalcJobNode)]
    assert len(jobs) == 6
    assert all(job.base.caching.is_created_from_cache for job in jobs)
    assert not [item for item in node.called_descendants if item.process_label == 'TableDfptWorkChain']
    for name in ('ranking', 'dataset', 'model'):
        assert again[name].content_hash == results[name].content_hash


def _with_one_more(builder, history):
    """Launch it with one more candidate: it is predicted, and no training and no DFPT calculation is repeated."""
    before, builder.pool = builder.pool, searching.some_pool(13)
    with enable_caching():
        results, node = run_get_node(builder)
    builder.pool = before
    assert node.is_finished_ok, node.exit_message
    called = called_by_label(node)
    then = {item.hash for item in history.rounds[0].picks}
    now = {item.hash for item in read_history(results['history']).rounds[0].picks}
    calculated = [item for item in node.called_descendants if item.process_label == 'TableDfptWorkChain']
    assert len(calculated) == len(now - then) <= 1
    for member in (0, 1):  # the labels to begin with are what they were
        (job,) = called[f'round_00_train_member_{member:02d}'].called
        assert job.base.caching.is_created_from_cache


def _extend(builder, results, code):
    """Go on with what the campaign gave; nothing that is known is predicted or computed again."""
    more = searching.campaign(
        code,
        results['model'],
        pool=builder.pool,
        dataset=builder.dataset,
        retrain=False,
        predictions=results['ranking'].creator.inputs.predictions,
        extend={'history': results['history'], 'dataset': results['dataset']},
        overrides={'stop_rules': {'max_rounds': 2}},
    )
    further, node = run_get_node(more)
    assert node.is_finished_ok, node.exit_message
    history = read_history(further['history'])
    assert history.rounds[:1] == read_history(results['history']).rounds
    assert len({name for names in picked(history) for name in names}) == 4
    assert history.rounds[1].retraining_reason == 'no inputs of a training were given'
    assert len(further['dataset'].dataset) == len(results['dataset'].dataset) + 2
    chains = {child.process_label for child in node.called if isinstance(child, orm.WorkChainNode)}
    assert chains == {'VerifyWorkChain'}


@pytest.mark.parametrize(
    ('rules', 'rule', 'picks'),
    [
        ({'max_calculations': 3, 'max_rounds': 9}, 'max_calculations', [2, 1]),
        ({'threshold': {'value': 20.0, 'kappa': 0}}, 'threshold', []),
        ({'max_core_hours': 0.0}, 'max_core_hours', []),
        ({'max_rounds': 0}, 'max_rounds', []),
    ],
)
def test_each_rule_stops_it(search, rules, rule, picks):
    results, node = search(overrides={'stop_rules': rules})
    assert node.is_finished_ok, node.exit_message
    assert results['stop']['rule'] == rule
    assert [len(names) for names in picked(read_history(results['history']))] == picks
    # a ranking there is in any case, and of a round that was not begun the reason of every pick
    assert len(results['ranking']) == 12
    assert ('round_01' in results.get('picks', {})) == (rule == 'threshold' or bool(picks))


def test_the_last_candidate_ends_it(search):
    results, node = search(
        overrides={'picking': {'filters': {'elements_all': ['Li']}}, 'stop_rules': {'max_rounds': 9}}
    )
    assert node.is_finished_ok, node.exit_message
    assert results['stop']['rule'] == 'no_candidates'
    (names,) = picked(read_history(results['history']))
    assert names == ['p9']
    assert 'lacks Li' in results['picks']['round_01'].picks.reason.tolist()


def test_it_stops_when_it_is_asked_to(search):
    results, node = search(engine='AskingEngine', overrides={'stop_rules': {'max_rounds': 9}})
    assert node.is_finished_ok, node.exit_message
    assert results['stop'].get_dict() == {'rule': 'requested', 'reason': 'it was asked to stop after round 1'}
    assert len(read_history(results['history']).rounds) == 1
    with pytest.raises(ValueError, match='has ended already'):
        request_stop(node)


def test_a_label_that_fails_is_a_result(search, known):
    table = searching.table_of(known[0])
    hashes = dict(zip(known[0].crystals.ids.tolist(), known[0].crystals.hashes.tolist(), strict=True))
    del table[hashes['p23']], table[hashes['p21']]  # all of round 1
    table[hashes['p19']]['band_gap'] = 0.0
    table[hashes['p17']]['frequencies'][3:] = [-3.0] * 3
    results, node = search(table=table)
    assert node.is_finished_ok, node.exit_message
    history = read_history(results['history'])
    assert picked(history) == [['p23', 'p21'], ['p19', 'p17']]
    first, second = ([item.outcome for item in one.picks] for one in history.rounds)
    assert first == ['failed', 'failed']
    assert second == ['refused', 'electronic-only']
    assert 'The table has no answer' in history.rounds[0].picks[0].failure
    assert called_by_label(node)['round_01_verify'].exit_status == 420
    assert history.rounds[0].labels == 0
    # refused rows are kept, and not learnt from
    grown = results['dataset'].dataset
    assert grown.crystals.ids.tolist()[-2:] == ['p19', 'p17']
    assert grown.trainable[-2:].tolist() == [False, True]
    reasons = dict(
        zip(*(getattr(results['ranking'].ranking, name).tolist() for name in ('ids', 'reason')), strict=True)
    )
    assert reasons['p23'].startswith('failed permanently: [402]')
    assert reasons['p17'] == 'failed permanently: electronic-only, without a value of total'
    assert reasons['p15'] == ''


def test_a_failed_retraining_keeps_the_old_model(search, known):
    results, node = search(retrain=True, overrides={'stop_rules': {'max_rounds': 1}, 'settings': {'options': {}}})
    assert node.is_finished_ok, node.exit_message
    assert results['model'].uuid == known[1].uuid
    (one,) = read_history(results['history']).rounds
    assert (one.retrained, one.adopted, one.new_model_hash) == (True, False, None)
    assert 'the old model stays: the retraining failed (member_00<' in one.retraining_reason
    assert len([child for child in node.called if child.process_label == 'TrainWorkChain']) == 2


def test_labels_and_a_split_of_your_own_are_taken(search, known):
    dataset = split_dataset(searching.start_dataset(), orm.Str('mine'), orm.Str('random'), orm.Int(3))
    labels = searching.start_dataset([23])
    results, node = search(
        dataset=dataset, split=orm.Str('mine'), labels=labels, overrides={'stop_rules': {'max_rounds': 1}}
    )
    assert node.is_finished_ok, node.exit_message
    assert set(results['dataset'].splits) == {'mine'}
    assert results['dataset'].splits['mine']['train'] == dataset.splits['mine']['train'] + 3
    # a label counts as verified: it is not picked, and stands in the ranking
    assert picked(read_history(results['history'])) == [['p21', 'p19']]
    ranking = results['ranking'].ranking
    row = ranking.ids.tolist().index('p23')
    assert ranking.total_std[row] == 0
    assert ranking.score[row] == pytest.approx(1.5 * searching.epsilon(known[0].crystals[row]))


def test_exit_codes(search, any_code, known):
    few = searching.start_dataset([0, 2])
    _, node = search(dataset=few)
    assert (node.exit_status, 'too few' in node.exit_message) == (222, True)
    results, node = search(overrides={'picking': {'acquisition': {'name': 'exploration'}}})
    assert (node.exit_status, 'Nothing can be picked' in node.exit_message) == (223, True)
    assert {'model', 'dataset', 'history'} <= set(results)  # to begin another one with
    _, node = run_get_node(searching.campaign(any_code, known[1], pool=known[0]))
    assert node.exit_status == 450
    _, node = run_get_node(searching.campaign(any_code, pool=known[0]))
    assert node.exit_status == 452
    assert 'member_00<' in node.exit_message
    results, node = search(engine='BrokenEngine')
    assert (node.exit_status, 'no idea' in node.exit_message) == (453, True)
    assert results['history']['rounds'] == []


@pytest.mark.parametrize(
    ('overrides', 'nodes', 'message'),
    [
        ({'picking': {'batchsize': 3}}, {}, "picking.batchsize: no such setting .did you mean 'batch_size'"),
        ({'picking': {'figure_of_merit': 'gap'}}, {}, "no figure of merit is named 'gap'"),
        ({'picking': {'filters': {'max_hull': 0.1}}}, {}, 'e_above_hull'),
        ({'stop_rules': {'max_rounds': -1}}, {}, 'stop_rules.max_rounds'),
        ({'retraining': {'folds': 1}}, {}, 'retraining.folds'),
        ({'settings': {'members': 3}}, {}, 'as many members as there are folds'),
        ({'settings': {'options': {'width': 16}}}, {'model': 'other'}, 'has another width and cannot be fine-tuned'),
        ({'settings': {'functionals': ['PBE', 'PBEsol']}}, {}, 'has another functionals and cannot be fine-tuned'),
        ({'seed': -1}, {}, 'seed: give zero or more'),
        ({}, {'split': 'none'}, "split 'none': the dataset has none"),
        ({}, {'model': None, 'predictions': 1}, 'give the model that made them'),
        ({}, {'predictions': 'other'}, 'made by another model'),
        ({}, {'predictions': 'short'}, '6 rows for a pool of 12 crystals'),
        ({}, {'model': None, 'retrain': False}, 'give a model to begin with'),
        ({}, {'extend': 'half'}, 'extend: give the outputs'),
        ({}, {'engine': 'goectp.screen'}, 'does not derive from DfptWorkChain'),
        ({}, {'model': 'electronic'}, 'needs the total tensor; electronic predicts electronic'),
    ],
)
def test_what_is_refused_at_once(any_code, known, write_model, predict_by_hand, overrides, nodes, message):
    pool, model, predictions = known
    short = predict_by_hand(pool.crystals.take(range(6)), model.content_hash)
    choices = {
        'other': PredictionsData(predict_by_hand(pool.crystals, 'b' * 40)),
        'short': PredictionsData(short),
        1: predictions,
    }
    models = {
        'other': {'architecture': {'options': {'width': 8}}},
        'electronic': {'targets': ['electronic']},
    }
    given = dict(nodes)
    retrain, engine = given.pop('retrain', True), given.pop('engine', None)
    if given.get('model', '') in models:
        model = ModelData.get_or_create(write_model(given['model'], value=1.0, **models[given['model']]))
    elif 'model' in given:
        model = None
    given.pop('model', None)
    if 'predictions' in given:
        given['predictions'] = choices[given['predictions']]
    if 'split' in given:
        given['split'] = orm.Str(given['split'])
    if 'extend' in given:
        given['extend'] = {'dataset': searching.start_dataset()}

    def start():
        builder = searching.campaign(any_code, model, pool=pool, retrain=retrain, overrides=dict(overrides), **given)
        if engine:
            builder.engine = engine
        run_get_node(builder)

    with pytest.raises(ValueError, match=message):
        start()


def test_protocols(any_code, known):
    pool, model, _ = known
    assert set(ActiveLearningWorkChain.get_available_protocols()) == {'fast', 'balanced', 'stringent'}
    for protocol in ('fast', 'balanced', 'stringent'):
        builder = ActiveLearningWorkChain.get_builder_from_protocol(
            any_code, pool, searching.start_dataset(), 'quantumespresso', {}, model, protocol
        )
        assert ActiveLearningWorkChain.spec().inputs.validate(dict(builder._inputs(prune=True))) is None
        assert builder.max_trainings == 1  # no queue: each takes the whole machine
        assert builder.train['goectp']['settings']['members'] == 1
    with pytest.raises(ValueError, match='no input is named speed'):
        ActiveLearningWorkChain.get_builder_from_protocol(any_code, pool, builder.dataset, 'vasp', speed=1)
    with pytest.warns(UserWarning, match=r'has no input predict\.goectp\.devise;'):
        ActiveLearningWorkChain.get_builder_from_protocol(
            any_code, pool, builder.dataset, 'vasp', overrides={'predict': {'goectp': {'devise': 'cpu'}}}
        )


def test_ports_and_exit_codes():
    spec = ActiveLearningWorkChain.spec()
    codes = spec.exit_codes.values()
    assert len({code.status for code in codes}) == len(list(codes))
    for name, port in spec.inputs.items():
        if name not in ('metadata', 'predict'):
            assert port.help, name
    assert np.all([port.help for name, port in spec.outputs.items()])
