"""Inputs of a training: settings from file and options, the parts of a split, functionals."""

import json

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.executable.train import train
from aiida_goectp.core.executable.traininputs import split_dataset, train_settings, with_functional
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning.settings import TrainSettings
from tests import tiny

NOT_GIVEN = {'settings': None, 'width': None, 'layers': None}


@pytest.fixture
def settings_file(tmp_path):
    """Return a function that writes a settings file."""

    def write(values):
        path = tmp_path / 'settings.json'
        path.write_text(json.dumps(values))
        return path

    return write


def test_options_override_the_file(settings_file):
    file = settings_file({'epochs': 5, 'batch_size': 16, 'options': {'width': 8, 'bins': 32}})
    found = train_settings(NOT_GIVEN | {'settings': file, 'epochs': 7, 'width': 16, 'members': 3, 'seed': None})
    expected = {'epochs': 7, 'batch_size': 16, 'members': 3, 'options': {'width': 16, 'bins': 32}}
    assert found == TrainSettings(**expected)
    assert train_settings(NOT_GIVEN) == TrainSettings()


def test_the_initial_model_gives_preset_and_options(settings_file):
    card = ModelCard(name='m', preset='published', architecture={'options': {'width': 32}}, targets=['electronic'])
    found = train_settings(NOT_GIVEN | {'epochs': 2}, card)
    assert (found.preset, found.options) == ('published', {'width': 32})
    given = train_settings(NOT_GIVEN | {'settings': settings_file({'preset': 'goectp'})}, card)
    assert (given.preset, given.options) == ('goectp', {})


@pytest.mark.parametrize(('values', 'name'), [({'epochs': 0}, 'epochs'), ({'speed': 1}, 'speed'), ([1], 'json')])
def test_invalid_settings_are_named(settings_file, values, name):
    with pytest.raises(FormatError, match=name):
        train_settings(NOT_GIVEN | {'settings': settings_file(values)})


def test_options_for_settings_have_the_names_of_the_fields():
    defaults = {parameter.name: parameter.default for parameter in train.params}
    options = set(defaults) & set(TrainSettings.model_fields)
    assert {'epochs', 'batch_size', 'learning_rate', 'members', 'patience', 'keep', 'precision', 'seed'} <= options
    # an option that is not given leaves the setting to the file
    assert not [name for name in options if defaults[name]]


def test_a_split_of_the_dataset_without_rows_that_failed_gates():
    data = tiny.some_dataset(24)
    column = np.array(['train'] * 20 + ['validation'] * 2 + ['test'] * 2)
    failed = np.array([''] * 23 + ['electronic_range'])
    given = Dataset(data.crystals, data.electronic, data.ionic, failed_gates=failed, splits={'mine': column})
    description, parts = split_dataset(given, 'mine', None, 0)
    assert description == 'mine'
    assert [len(parts[part]) for part in ('train', 'validation')] == [20, 2]
    assert len(parts['test']) == int(given.trainable[22:].sum())
    with pytest.raises(FormatError, match='other'):
        split_dataset(given, 'other', None, 0)


def test_a_random_split_depends_on_the_seed_alone():
    data = tiny.some_dataset(30)
    description, first = split_dataset(data, None, None, 4)
    assert '4' in description
    assert [len(first[part]) for part in ('train', 'validation', 'test')] == [24, 3, 3]
    assert split_dataset(data, None, None, 4)[1]['test'].crystals.ids.tolist() == first['test'].crystals.ids.tolist()
    assert split_dataset(data, None, None, 5)[1]['test'].crystals.ids.tolist() != first['test'].crystals.ids.tolist()


def test_few_rows_are_not_split():
    _, parts = split_dataset(tiny.some_dataset(6), None, None, 0)
    assert [len(parts[part]) for part in ('train', 'validation', 'test')] == [6, 0, 0]


def test_functionals_of_rows_that_state_none():
    data = tiny.some_dataset(4)
    assert with_functional(data, None)[1] == 'unknown'
    named, functionals = with_functional(data, 'PBEsol')
    assert functionals == 'PBEsol'
    assert named.functional.tolist() == ['PBEsol'] * 4
    mixed = Dataset(data.crystals, data.electronic, data.ionic, functional=np.array(['PBE', 'unknown', 'PBE', 'PBE']))
    assert with_functional(mixed, 'PBEsol')[1] == 'PBE, PBEsol'
