"""``goectp.train`` with the real executable; failures are tested with ``TrainWorkChain``."""

import json
from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching

from aiida_goectp.calculations.train import (
    TrainCalculation,
    all_settings,
    labels_error,
    settings_error,
    validate_inputs,
)
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from tests import tiny

SMALL = {'options': {'width': 8, 'layers': 1, 'bins': 16}, 'batch_size': 8, 'epochs': 2}


@pytest.fixture
def dataset(aiida_profile):
    return DatasetData(tiny.some_dataset(24).with_split('mine', 'random', 1)).store()


@pytest.fixture
def run(code, dataset):
    """Return a function that runs a job."""

    def run(**inputs):
        builder = TrainCalculation.get_builder()
        node = inputs.pop('dataset', dataset)
        builder.code, builder.dataset = code, DatasetData(tiny.some_dataset(1)) if node == 'one row' else node
        builder.settings, builder.device = inputs.pop('settings', SMALL), inputs.pop('device', 'cpu')
        builder.metadata.options.resources = {
            'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': 1,
        }  # fmt: skip
        for name, value in inputs.items():
            builder[name] = value
        return run_get_node(builder)

    return run


def test_defaults_and_errors_of_settings():
    assert all_settings({'epochs': 3})['epochs'] == 3
    assert all_settings({})['members'] == 1
    assert settings_error({'epochs': 3}) is None
    wrong = settings_error({'epochs': 0, 'speed': 1})
    assert [item.partition(':')[0] for item in wrong.split('; settings')] == ['settings.epochs', '.speed']


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        ({'settings': {'epochs': 0}}, 'settings.epochs: '),
        ({'settings': {'speed': 1}}, 'settings.speed: '),
        ({'split': 'other'}, "'other'"),
        ({'device': 'gpu'}, "'gpu'"),
        ({'card': {'price': '1'}}, "card: .*'price'"),
        ({'dataset': 'one row'}, 'dataset: 1 '),
    ],
)
def test_invalid_inputs_are_refused(run, inputs, message):
    with pytest.raises(ValueError, match=message):
        run(**inputs)


def test_labels_of_one_tensor_are_refused_without_a_model(aiida_profile):
    data = tiny.some_dataset(24)
    node = DatasetData(Dataset(data.crystals, data.electronic))
    assert 'no training row has an ionic label' in validate_inputs({'dataset': node}, None)
    assert validate_inputs({'dataset': node, 'model': None}, None) is None  # any model
    assert validate_inputs({'dataset': DatasetData(data)}, None) is None


@pytest.mark.parametrize('split', ['mine', None])
def test_labels_outside_of_the_training_rows_do_not_count(aiida_profile, split):
    """The executable would refuse the dataset after the submission."""
    data = tiny.some_dataset(24).with_split('mine', 'random', 1)
    part = data.splits['mine'] if split else data.with_split('drawn', 'random', 0).splits['drawn']
    for rows, refused in ((part != 'train', True), (part == 'train', False)):
        ionic = np.where(rows[:, None, None], data.ionic, np.nan)
        inputs = {'dataset': DatasetData(replace(data, ionic=ionic)), 'settings': orm.Dict({'seed': 0})}
        inputs |= {'split': orm.Str(split)} if split else {}
        error = validate_inputs(inputs, None)
        assert 'no training row has an ionic label' in error if refused else error is None
        assert validate_inputs({**inputs, 'model': None}, None) is None  # any model


@pytest.mark.parametrize('split', ['mine', None])
def test_rows_are_only_read_where_their_labels_decide(aiida_profile, split):
    """Validators run several times, and a random split of many rows takes seconds."""
    node = DatasetData()  # without a file, which cannot be read
    counts = {'electronic': 90, 'ionic': 60, 'force_constants': 3, 'born_charges': 3}
    node.base.attributes.set_many({'number': 100, **counts, 'splits': {'mine': {'train': 80, 'test': 10}}})
    assert labels_error(node, None, split) is None
    node.base.attributes.set('ionic', 15)
    with pytest.raises(FileNotFoundError):
        labels_error(node, None, split)
    lattice = orm.Dict({'preset': 'force_constants'})
    node.base.attributes.set_many({'force_constants': 60, 'born_charges': 60})
    assert labels_error(node, lattice, split) is None


def test_model_and_its_provenance(run, dataset):
    card = {'licence': 'CC-BY-4.0', 'citation': "O'Neill & sons", 'notes': '$HOME'}
    with enable_caching():
        results, node = run(split='mine', name='first', card=card)
        assert node.is_finished_ok, node.exit_message
        again = run(split='mine', name='first', card=card, dataset=DatasetData(dataset.dataset))[1]
    model = results['model']
    assert model.creator.uuid == node.uuid
    found = model.card
    assert (found.name, found.licence, found.citation, found.notes) == ('first', *card.values())
    assert found.training['rows'] == {
        part: len(dataset.dataset.part('mine', part)) for part in ('train', 'validation', 'test')
    }
    assert results['history'].get_array('epoch').tolist() == [1, 2]
    assert np.isfinite(results['history'].get_array('validation_electronic_mae')).all()
    parameters = results['output_parameters']
    assert (parameters['state'], parameters['epochs_done'], parameters['device']) == ('finished', 2, 'cpu')
    assert parameters['metrics']['test']['electronic']['mae'] > 0
    # equal content in another node is taken from the cache
    assert again.base.caching.get_cache_source() == node.uuid
    # neither dataset nor model are stored a second time with the job
    assert json.loads(node.base.repository.get_object_content('settings.json')) == SMALL
    assert 'dataset.npz' not in node.base.repository.list_object_names()


@pytest.mark.slow
def test_fine_tuning(run, tmp_path):
    first = run(split='mine', name='first')[0]['model']
    results, node = run(split='mine', model=first, settings=SMALL | {'epochs': 1, 'learning_rate': 1e-4})
    assert node.is_finished_ok, node.exit_message
    assert results['model'].card.training['parent'] == first.content_hash
    assert node.inputs.model.uuid == first.uuid
    # a model of another network
    other = SMALL | {'options': {'width': 16, 'layers': 1, 'bins': 16}}
    _, node = run(split='mine', model=first, settings=other)
    assert node.exit_status == 210
    assert 'width' in node.exit_message


def test_model_that_the_executable_refuses(run, write_model):
    _, node = run(model=ModelData.get_or_create(write_model('no-network')))
    assert node.exit_status == 211


def test_missing_executable(dataset, aiida_code_installed):
    builder = TrainCalculation.get_builder()
    builder.code = aiida_code_installed(label='none', filepath_executable='/no/such/goectp')
    builder.dataset = dataset
    _, node = run_get_node(builder)
    assert node.exit_status == 310
    assert 'No such file' in node.exit_message
