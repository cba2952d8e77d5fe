"""Settings of a training."""

from __future__ import annotations

import inspect

import pytest
from pydantic import ValidationError

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import read_card, resolve_model, shipped_models
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.learning.settings import BACKBONE_OPTIONS, PUBLISHED_RECIPE, TrainSettings
from aiida_goectp.core.network.descriptors import Descriptors
from aiida_goectp.core.network.force_constants.network import ForceConstantNetwork
from aiida_goectp.core.network.icomformer import IComFormer
from aiida_goectp.core.network.model import ARCHITECTURES

FORMER = {
    'average_decay': 0.0,
    'final_learning_rate': 0.01,
    'largest_gradient': None,
    'stretches': 0,
    'taming': 0.0,
    'warm_up': 0,
}


def test_former_names_are_read():
    others = PUBLISHED_RECIPE.model_dump(include={'preset', 'epochs', 'batch_size', 'learning_rate'})
    settings = TrainSettings.model_validate(others | FORMER)
    assert settings == PUBLISHED_RECIPE
    assert not set(FORMER) & set(settings.model_dump())


def test_a_former_name_beside_the_present_one_is_refused():
    with pytest.raises(ValidationError, match='taming'):
        TrainSettings.model_validate({'taming': 0.5, 'loss_label_exponent': 0.5})


@pytest.mark.parametrize('name', shipped_models())
def test_settings_of_shipped_models_are_valid(name):
    training = read_card(resolve_model(name)).training
    records = [training, *training.get('joined', [])]
    settings = [TrainSettings.model_validate(record['settings']) for record in records if 'settings' in record]
    assert settings
    assert all(found.functionals[:1] in ([], ['PBEsol']) for found in settings)


def test_options_of_backbones_are_those_of_their_classes():
    classes = {
        'icomformer': IComFormer.__init__,
        'descriptors': Descriptors.__init__,
        'covariant': ForceConstantNetwork._build,
    }
    assert set(BACKBONE_OPTIONS) == set(ARCHITECTURES)
    for preset, names in BACKBONE_OPTIONS.items():
        arguments = list(inspect.signature(classes[ARCHITECTURES[preset]['backbone']]).parameters)
        assert list(names) == arguments[1:], preset


def test_unknown_options_of_the_backbone_are_refused():
    with pytest.raises(FormatError, match=r"^settings\.options\.widht: unknown option .*'width'"):
        read_settings(TrainSettings, {'options': {'widht': 8}}, 'settings')
    assert TrainSettings(preset='descriptors', options={'dropout': 0.1}).options == {'dropout': 0.1}


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('floor', -0.3),
        ('floor', 0),
        ('floor', 'x'),
        ('scalars', 0),
        ('vectors', 3.0),
        ('layers', 0),
        ('blocks', 1.5),
        ('blocks', True),
        ('envelope', -1),
        ('dropout', 1.0),
    ],
)
def test_invalid_values_of_options_are_refused(name, value):
    with pytest.raises(FormatError, match=rf'^settings\.options\.{name}: '):
        read_settings(TrainSettings, {'preset': 'force_constants', 'options': {name: value}}, 'settings')


def test_force_constants_need_single_precision():
    with pytest.raises(FormatError, match='precision: '):
        read_settings(TrainSettings, {'preset': 'force_constants', 'precision': 'bfloat16'}, 'settings')
