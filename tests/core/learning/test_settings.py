"""Settings of a training."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from aiida_goectp.core.formats.model_card import read_card, resolve_model, shipped_models
from aiida_goectp.core.learning.settings import PUBLISHED_RECIPE, TrainSettings

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
    assert all(found.functionals[0] == 'PBEsol' for found in settings)
