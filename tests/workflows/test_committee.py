"""``TrainCommitteeWorkChain``: members in jobs of their own, their inputs, and invalid inputs."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.committee import TrainCommitteeWorkChain
from aiida_goectp.workflows.submit_once import called_by_label
from tests import tiny
from tests.workflows.test_train import ONE_CORE, SMALL


@pytest.fixture
def dataset(aiida_profile):
    data = tiny.some_dataset(24).with_split('mine', 'random', 1).with_split('other', 'random', 2)
    return DatasetData(data).store()


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
    ('settings', 'nodes', 'inputs', 'place'),
    [
        ({}, {'split': None}, {}, r'train\.goectp\.split'),
        ({'members': 1}, {}, {}, r'train\.goectp\.settings\.members'),
        ({}, {'model': 'committee'}, {}, 'member_00'),
        ({}, {}, {'member_models': {'member_01': 'committee'}}, 'member_01'),
        ({}, {}, {'member_splits': {'member_02': 'mine'}}, r'member_splits\.member_02'),
        ({}, {}, {'member_splits': {'member_01': 'none'}}, r'member_splits\.member_01'),
        ({}, {}, {'member_settings': {'member_00': {'members': 2}}}, r'member_settings\.member_00\.members'),
        ({}, {}, {'member_settings': {'member_00': {'speed': 2}}}, r'member_settings\.member_00.*speed'),
    ],
)
def test_invalid_inputs(builder, any_code, write_model, settings, nodes, inputs, place):
    committee = ModelData.get_or_create(write_model('committee', members=2))
    nodes = {'split': 'mine', **nodes}
    given = {name: committee if name == 'model' else orm.Str(value) for name, value in nodes.items() if value}
    made = builder(any_code, settings=settings, **given)
    for space, values in inputs.items():
        made[space] = {
            name: committee if space == 'member_models' else orm.to_aiida_type(value) for name, value in values.items()
        }
    with pytest.raises(ValueError, match=place):
        run_get_node(made)


def test_a_member_whose_training_rows_lack_labels(builder, any_code, dataset):
    data, made = dataset.dataset, builder(any_code, split=orm.Str('mine'))
    test = data.splits['other'] == 'test'
    few = np.where(np.arange(len(data)) < 1, 'train', '')
    splits = {'mine': np.full(len(data), 'train'), 'other': np.where(test, 'test', 'train'), 'few': few}
    table = replace(data, ionic=np.where(test[:, None, None], data.ionic, np.nan), splits=splits)
    made.train.goectp.dataset = DatasetData(table)
    for name, message in (
        ('other', 'member_01: dataset: no training row has an ionic'),
        ('few', r'member_splits\.member_01: dataset: 1 '),
    ):
        made.member_splits = {'member_01': orm.Str(name)}
        with pytest.raises(ValueError, match=message):
            run_get_node(made)


def test_no_member_is_submitted_after_a_failure(builder, any_code):
    _, node = run_get_node(builder(any_code, max_concurrent=1, split=orm.Str('mine')))
    assert node.exit_status == 420
    assert 'member_00<' in node.exit_message
    assert called_by_label(node).keys() == {'member_00'}


def test_inputs_of_single_members(builder, any_code, write_model):
    made = builder(any_code, split=orm.Str('mine'))
    model = ModelData.get_or_create(write_model('initial', architecture={'options': SMALL['options']}))
    made.member_settings = {'member_01': orm.Dict(SMALL | {'seed': 9})}
    made.member_splits = {'member_01': orm.Str('other')}
    made.member_models = {'member_01': model}
    _, node = run_get_node(made)
    assert node.exit_status == 420
    first, second = (called_by_label(node)[name].inputs.goectp for name in ('member_00', 'member_01'))
    assert (first.settings['seed'], first.settings['members'], first.split.value) == (3, 1, 'mine')
    assert 'model' not in first
    assert (second.settings['seed'], second.split.value) == (9, 'other')
    assert second.settings.uuid == node.inputs.member_settings.member_01.uuid
    assert second.model.uuid == model.uuid


@pytest.mark.slow
def test_members_are_joined_to_one_model(builder, code):
    results, node = run_get_node(builder(code, split=orm.Str('mine'), name=orm.Str('both')))
    assert node.is_finished_ok, node.exit_message
    model = results['model']
    assert (model.card.name, model.card.members) == ('both', 2)
    called = called_by_label(node)
    chains = [called['member_00'], called['member_01']]
    assert [item.inputs.goectp.settings['seed'] for item in chains] == [3, 4]
    assert all(item.inputs.goectp.settings['members'] == 1 for item in chains)
    used = model.creator.inputs
    for place, chain in enumerate(chains):
        name = f'member_{place:02d}'
        assert used[name].uuid == results['members'][name].uuid == chain.outputs.model.uuid
