"""``ActiveLearningWorkChain``: a whole campaign that trains its first model, then repeated and extended."""

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.workflows.submit_once import called_by_label
from tests import tiny
from tests.workflows.campaign import searching

PLAIN = (orm.Dict, orm.Str, orm.Int, orm.Float, orm.Bool, orm.List)

FINISHED = []
"""builder, outputs and node of the campaign of :func:`finished`, which runs once"""


@pytest.fixture
def finished(code):
    """A campaign of one round that trains its first model: builder, outputs and node."""
    if not FINISHED:
        tiny.one_thread()
        # with this tolerance each new model is adopted
        overrides = {'retraining': {'mode': 'fine-tune', 'tolerance': 1e3}, 'stop_rules': {'max_rounds': 1}}
        builder = searching.campaign(code, overrides=overrides, table=searching.table_of(searching.some_pool(13)))
        FINISHED.extend([builder, *run_get_node(builder)])
    return FINISHED


@pytest.mark.slow
@pytest.mark.timeout(1200)  # of a busy machine
def test_campaign_without_a_model(finished):
    builder, results, node = finished
    assert node.is_finished_ok, (node.exit_message, node.exception)
    history = read_history(results['history'])
    (one,) = history.rounds
    assert len(one.picks) == 2
    assert (one.retrained, one.adopted) == (True, True), one.retraining_reason
    pool = dict(zip(builder.pool.crystals.ids.tolist(), builder.pool.crystals, strict=True))
    for item in one.picks:
        assert item.outcome == 'accepted'
        assert item.value == pytest.approx(1.5 * searching.epsilon(pool[item.id]))
    assert results['stop']['rule'] == 'max_rounds'
    assert results['core_hours'].value == pytest.approx(history.core_hours)
    assert history.core_hours > history.further_core_hours > 0
    called = called_by_label(node)
    first, second = (called[f'round_{number:02d}_predict'] for number in (1, 2))
    assert second.inputs.goectp.prepared.uuid == first.outputs.prepared.uuid
    _check_models(results, called, one)
    _check_dataset(results['dataset'].dataset, called, [item.id for item in one.picks])

    # the ranking has the verified values
    ranking = results['ranking'].ranking
    rows = {str(name): row for row, name in enumerate(ranking.ids)}
    for item in one.picks:
        assert ranking.score[rows[item.id]] == pytest.approx(item.value)
        assert ranking.total_std[rows[item.id]] == 0
    assert ranking.settings['verified'] == 2
    assert sorted(results['picks']) == ['round_01']

    # each ancestor of the outputs without a creator is an input of the campaign or a plain value
    given = node.base.links.get_incoming(node_class=orm.Data).all_nodes()
    inputs = {origin.uuid for item in given for origin in searching.walk(item)}
    for output in (results['ranking'], results['model'], results['dataset'], results['history'], results['stop']):
        for origin in searching.walk(output):
            assert origin.uuid in inputs or isinstance(origin, PLAIN), origin


def _check_models(results, called, one):
    """The members of the second committee are fine-tuned from those of the first."""
    first, second = (called[f'round_{number:02d}_retrain'].outputs.model for number in (0, 1))
    assert results['model'].uuid == second.uuid
    assert 'comparison' not in called['round_00_retrain'].outputs
    assert called['round_01_retrain'].outputs.comparison['replace']
    assert second.card.name == 'campaign-round-01'
    assert (one.model_hash, one.new_model_hash) == (first.content_hash, second.content_hash)
    member = _members(called['round_01_retrain'])['member_01']
    assert member.inputs.goectp.split == 'campaign.fold-1'
    assert member.inputs.goectp.settings['seed'] == 1
    assert member.inputs.goectp.model.creator.inputs.model.uuid == first.uuid


def _members(retraining):
    """Return the trainings of the members of a retraining by their names."""
    return called_by_label(called_by_label(retraining)['train_committee'])


def _check_dataset(grown, called, labels):
    """Validation and test rows are unchanged, and each label is held out of the training of one member."""
    start = called['begin_dataset'].outputs.result.dataset
    assert len(grown) == len(start) + 2
    for part in ('validation', 'test'):
        assert grown.part('campaign', part).crystals.ids.tolist() == start.part('campaign', part).crystals.ids.tolist()
    folds = called_by_label(called['round_01_retrain'])['assign_members'].outputs.result.dataset
    held_out = [folds.part(f'campaign.fold-{member}', 'test').crystals.ids.tolist() for member in range(2)]
    assert sorted(held_out[0] + held_out[1]) == sorted(labels)
    rows = called['round_01_retrain'].outputs.model.card.training['rows']
    assert rows['train'] == len(start.part('campaign', 'train')) + 2


@pytest.mark.slow
@pytest.mark.timeout(1200)  # of a busy machine
def test_a_repeated_campaign_computes_nothing(finished):
    """All jobs are taken from the cache, and all responses are reused."""
    builder, results, _ = finished
    with enable_caching():
        again, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    jobs = [job for job in node.called_descendants if isinstance(job, orm.CalcJobNode)]
    assert len(jobs) == 6
    assert all(job.base.caching.is_created_from_cache for job in jobs)
    assert not [item for item in node.called_descendants if item.process_label == 'TableDfptWorkChain']
    for name in ('ranking', 'dataset', 'model'):
        assert again[name].content_hash == results[name].content_hash


@pytest.mark.slow
@pytest.mark.timeout(1200)  # of a busy machine
def test_with_one_more_crystal_only_the_pool_is_predicted_anew(finished):
    builder, results, _ = finished
    history = read_history(results['history'])
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
    for member in (0, 1):  # the starting dataset is the same
        (job,) = _members(called['round_00_retrain'])[f'member_{member:02d}'].called
        assert job.base.caching.is_created_from_cache


@pytest.mark.slow
@pytest.mark.timeout(1200)  # of a busy machine
def test_an_extension_repeats_no_prediction_and_no_calculation(finished, code):
    builder, results, _ = finished
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
    assert len({item.id for one in history.rounds for item in one.picks}) == 4
    assert not history.rounds[1].retrained
    assert len(further['dataset'].dataset) == len(results['dataset'].dataset) + 2
    chains = {child.process_label for child in node.called if isinstance(child, orm.WorkChainNode)}
    assert chains == {'VerifyWorkChain'}
