"""What a training is given: settings from file and options, the parts of a split, functionals."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.executable.main import main
from aiida_goectp.core.executable.status import ExecutableError
from aiida_goectp.core.executable.traininputs import name_functional, read_settings, split_dataset
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.learning.settings import TrainSettings
from tests import tiny

NOTHING = {'settings': None, 'width': None, 'layers': None}


@pytest.fixture
def written(tmp_path):
    def write(values):
        path = tmp_path / 'settings.json'
        path.write_text(json.dumps(values))
        return str(path)

    return write


def test_options_override_the_file(written):
    file = written({'epochs': 5, 'batch_size': 16, 'options': {'width': 8, 'bins': 32}})
    found = read_settings(NOTHING | {'settings': file, 'epochs': 7, 'width': 16, 'members': 3, 'seed': None}, None)
    wanted = {'epochs': 7, 'batch_size': 16, 'members': 3, 'options': {'width': 16, 'bins': 32}}
    assert found == TrainSettings(**wanted)
    assert read_settings(NOTHING, None) == TrainSettings()


def test_a_model_to_go_on_from_gives_its_network(written):
    card = ModelCard(name='m', preset='published', architecture={'options': {'width': 32}}, targets=['electronic'])
    initial = SimpleNamespace(card=card)
    found = read_settings(NOTHING | {'epochs': 2}, initial)
    assert (found.preset, found.options) == ('published', {'width': 32})
    own = read_settings(NOTHING | {'settings': written({'preset': 'goectp'})}, initial)
    assert (own.preset, own.options) == ('goectp', {})


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'epochs': 0}, 'settings: epochs: '),
        ({'speed': 1}, 'settings: speed: Extra inputs are not permitted'),
        ([1], 'expected an object of settings'),
    ],
)
def test_what_is_no_setting_is_named(written, values, words):
    with pytest.raises(ExecutableError, match=words):
        read_settings(NOTHING | {'settings': written(values)}, None)


def test_every_setting_that_is_an_option_has_the_name_of_a_field():
    options = {parameter.name for parameter in main.commands['train'].params}
    assert {'epochs', 'batch_size', 'learning_rate', 'members', 'patience', 'keep', 'precision', 'seed'} <= (
        options & set(TrainSettings.model_fields)
    )
    defaults = {item.name: item.default for item in main.commands['train'].params}
    # an option that is not given leaves the setting to the file
    assert not [name for name in options & set(TrainSettings.model_fields) if defaults[name]]


def test_a_split_of_the_dataset_without_its_bad_rows():
    data = tiny.some_dataset(24)
    column = np.array(['train'] * 20 + ['validation'] * 2 + ['test'] * 2)
    bad = np.array([''] * 23 + ['electronic_range'])
    given = Dataset(data.crystals, data.electronic, data.ionic, failed_gates=bad, splits={'mine': column})
    words, parts = split_dataset(given, 'mine', None, 0)
    assert words == 'mine'
    assert [len(parts[part]) for part in ('train', 'validation')] == [20, 2]
    assert len(parts['test']) == int(given.trainable[22:].sum())
    with pytest.raises(FormatError, match="no split 'other'"):
        split_dataset(given, 'other', None, 0)


def test_a_random_split_depends_on_the_seed_alone():
    data = tiny.some_dataset(30)
    words, first = split_dataset(data, None, None, 4)
    assert words == 'random, seed 4'
    assert [len(first[part]) for part in ('train', 'validation', 'test')] == [24, 3, 3]
    assert split_dataset(data, None, None, 4)[1]['test'].crystals.ids.tolist() == first['test'].crystals.ids.tolist()
    assert split_dataset(data, None, None, 5)[1]['test'].crystals.ids.tolist() != first['test'].crystals.ids.tolist()


def test_few_rows_are_all_learnt_from():
    _, parts = split_dataset(tiny.some_dataset(6), None, None, 0)
    assert [len(parts[part]) for part in ('train', 'validation', 'test')] == [6, 0, 0]


def test_functionals():
    data = tiny.some_dataset(4)
    assert name_functional(data, None)[1] == 'unknown'
    named, words = name_functional(data, 'PBEsol')
    assert words == 'PBEsol'
    assert named.functional.tolist() == ['PBEsol'] * 4
    mixed = Dataset(data.crystals, data.electronic, data.ionic, functional=np.array(['PBE', 'unknown', 'PBE', 'PBE']))
    assert name_functional(mixed, 'PBEsol')[1] == 'PBE, PBEsol'
