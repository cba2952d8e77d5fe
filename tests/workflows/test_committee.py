"""``TrainCommitteeWorkChain``: members in jobs of their own, and what they may not be."""

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.committee import TrainCommitteeWorkChain
from tests import tiny
from tests.workflows.test_train import ONE_CORE, SMALL


@pytest.fixture
def dataset(aiida_profile):
    return DatasetData(tiny.some_dataset(24).with_split('mine', 'random', 1)).store()


@pytest.fixture
def builder(dataset):
    """Return a function that makes a builder for a code."""

    def make(code, max_concurrent=2, settings=None, **nodes):
        job = {'settings': SMALL | {'members': 2, 'seed': 3, 'epochs': 1} | (settings or {}), 'device': 'cpu'}
        overrides = {'goectp': job | {'monitors': {'training': None}}, 'max_iterations': 1}
        options = {'resources': ONE_CORE}
        return TrainCommitteeWorkChain.get_builder_from_protocol(
            code, dataset, overrides=overrides, options=options, max_concurrent=max_concurrent, **nodes
        )

    return make


@pytest.fixture
def any_code(aiida_code_installed):
    return aiida_code_installed(label='any', filepath_executable='/bin/true')


@pytest.mark.parametrize(
    ('settings', 'nodes', 'message'),
    [
        ({}, {}, 'the members would hold out different rows'),
        ({'members': 1}, {'split': 'mine'}, 'a committee has two or more'),
        ({}, {'split': 'mine', 'model': 'committee'}, 'fine-tuned in one job'),
    ],
)
def test_what_is_refused(builder, any_code, write_model, settings, nodes, message):
    if 'model' in nodes:
        nodes = nodes | {'model': ModelData.get_or_create(write_model('committee', members=2))}
    with pytest.raises(ValueError, match=message):
        run_get_node(builder(any_code, settings=settings, **nodes))


def test_a_member_that_fails_is_named_and_no_more_are_started(builder, any_code):
    _, node = run_get_node(builder(any_code, max_concurrent=1, split='mine'))
    assert node.exit_status == 420
    assert node.exit_message.startswith('1 of 2 members failed, first member_00<')
    assert len(node.called) == 1


@pytest.mark.slow
def test_members_in_jobs_of_their_own(builder, code):
    results, node = run_get_node(builder(code, split='mine', name=orm.Str('both')))
    assert node.is_finished_ok, node.exit_message
    model = results['model']
    assert (model.card.name, model.card.members) == ('both', 2)
    chains = sorted((item for item in node.called if item.process_label == 'TrainWorkChain'), key=lambda item: item.pk)
    assert [item.inputs.goectp.settings['seed'] for item in chains] == [3, 4]
    assert all(item.inputs.goectp.settings['members'] == 1 for item in chains)
    used = model.creator.inputs
    assert [used[f'member_{place:02d}'].uuid for place in range(2)] == [item.outputs.model.uuid for item in chains]
