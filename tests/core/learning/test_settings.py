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
