"""Default inputs of a campaign, with a model to start with and without one."""

import pytest

from aiida_goectp.core.learning.settings import FEW, FEW_LABELS, FORCE_CONSTANT_LABELS
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.campaign.inputs import inputs_from_labels
from aiida_goectp.workflows.campaign.workchain import ActiveLearningWorkChain
from tests.workflows.campaign.searching import some_pool, start_dataset
from tests.workflows.dfpt.table_engine import NAME

RECIPE = FEW_LABELS.model_dump(exclude_unset=True)


@pytest.fixture
def build(aiida_code_installed):
    """Return a function that makes the builder of a campaign by its default protocol."""

    code = aiida_code_installed(filepath_executable='/bin/bash', default_calc_job_plugin='goectp.predict')

    def make(model=None, overrides=None):
        return ActiveLearningWorkChain.get_builder_from_protocol(
            code, some_pool(), start_dataset(), NAME, {'table': {}}, model, overrides=overrides
        )

    return make


def test_without_a_model_the_settings_for_few_labels_are_used(build):
    builder = build()
    settings = builder.train.goectp.settings.get_dict()
    assert {name: settings[name] for name in RECIPE} == RECIPE
    assert settings['members'] == 1
    assert builder.retraining['mode'] == 'scratch'
    assert builder.picking['filters'] == {'unseen_elements': True}


def test_given_model_is_fine_tuned(build, write_model):
    builder = build(ModelData.get_or_create(write_model('search')))
    settings = builder.train.goectp.settings.get_dict()
    assert not {'preset', 'loss_label_exponent'} & set(settings)
    assert builder.retraining['mode'] == 'fine-tune'
    assert not builder.picking.get_dict().get('filters', {}).get('unseen_elements', False)


def test_overrides_take_precedence(build):
    own = {
        'retraining': {'mode': 'fine-tune'},
        'picking': {'filters': {'min_gap': 1.0}},
        'train': {'goectp': {'settings': {'preset': 'goectp', 'epochs': 7}}},
    }
    builder = build(overrides=own)
    settings = builder.train.goectp.settings.get_dict()
    assert (settings['preset'], settings['epochs']) == ('goectp', 7)
    assert not {'batch_size', 'loss_label_exponent'} & set(settings)
    assert builder.retraining['mode'] == 'fine-tune'
    assert builder.picking['filters'] == {'min_gap': 1.0, 'unseen_elements': True}
    # another number of epochs keeps the settings for few labels
    epochs = build(overrides={'train': {'goectp': {'settings': {'epochs': 7}}}}).train.goectp.settings.get_dict()
    assert epochs == {**RECIPE, 'members': 1, 'epochs': 7}


@pytest.mark.parametrize(
    ('rows', 'with_force_constants', 'settings'),
    [
        (FEW, 0, FEW_LABELS),
        (FEW + 1, 0, None),
        (FEW + 1, 300, FORCE_CONSTANT_LABELS),
        (200, 100, FORCE_CONSTANT_LABELS),
        (200, 99, FEW_LABELS),
        (100, 100, FEW_LABELS),
    ],
)
def test_labels_select_the_settings(rows, with_force_constants, settings):
    dataset = start_dataset([0, 2]).clone()
    dataset.base.attributes.set_many({'trainable': rows, 'force_constants': with_force_constants})
    found = inputs_from_labels(dataset, {}).get('train')
    assert found == (settings and {'goectp': {'settings': settings.model_dump(exclude_unset=True)}})
