"""``RetrainWorkChain``: the inputs of the members, failures, and invalid inputs; whole retrainings are in campaigns."""

from dataclasses import replace

import numpy as np
import pytest
from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import run_get_node

from aiida_goectp.calculations.campaign import begin_dataset, grow_dataset, write_history
from aiida_goectp.core.selection.history import History, PickRecord, Round
from aiida_goectp.core.selection.retraining import DecisionCode
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.campaign.retrain import RetrainWorkChain, decision_of
from aiida_goectp.workflows.submit_once import called_by_label
from aiida_goectp.workflows.train import TrainWorkChain
from tests.workflows.campaign import searching
from tests.workflows.test_train import NETWORK


@pytest.fixture(scope='module')
def datasets(empty_profile):
    """The starting dataset of a campaign, and the dataset with two more labels."""
    start = begin_dataset(searching.start_dataset(), orm.Int(0))
    grown = grow_dataset(start, searching.start_dataset([1, 3]), orm.Str('campaign'))['dataset']
    return {'start': start, 'dataset': grown}


@pytest.fixture
def inputs(aiida_code_installed, write_model, datasets):
    """Return the inputs of a retraining on two new labels whose jobs fail."""
    code = aiida_code_installed(label='any', filepath_executable='/bin/true')
    overrides = {
        'goectp': {'settings': searching.TRAINING, 'monitors': {'training': None}, 'device': 'cpu'},
        'max_iterations': 1,
    }
    return {
        **datasets,
        'split': orm.Str('campaign'),
        'model': ModelData.get_or_create(write_model('single', architecture={'options': NETWORK['options']})),
        'retraining': orm.Dict({'folds': 2}),
        'max_trainings': orm.Int(2),
        'train': TrainWorkChain.inputs_from_protocol(code, 'fast', overrides, searching.OPTIONS),
    }


@pytest.fixture(scope='module')
def runs():
    """Outputs and node of the retraining in each mode, which runs once."""
    return {}


@pytest.fixture
def retrain(inputs, runs):
    """Return a function that retrains in a mode."""

    def run(mode):
        if mode not in runs:
            runs[mode] = run_get_node(RetrainWorkChain, **inputs, mode=mode)
        return runs[mode]

    return run


@pytest.mark.parametrize('mode', ['fine-tune', 'scratch'])
def test_inputs_of_the_members(retrain, mode):
    results, node = retrain(mode)
    assert (node.exit_status, results) == (420, {})
    assert 'member_00<' in node.exit_message
    called = called_by_label(node)
    assert called.keys() == {'assign_members', 'member_settings', 'train_committee'}
    committee = called['train_committee']
    assert ('calibrated_model' in committee.inputs) == (mode == 'fine-tune')
    assert committee.inputs.train.goectp.split.value == 'campaign'
    assert committee.inputs.train.goectp.settings['members'] == 2
    held_out = []
    for place in range(2):
        job = called_by_label(committee)[f'member_{place:02d}'].inputs.goectp
        assert job.dataset.uuid == called['assign_members'].outputs.result.uuid
        assert job.split.value == f'campaign.fold-{place}'
        assert job.settings['seed'] == place
        assert ('model' in job) == (mode == 'fine-tune')
        held_out += job.dataset.dataset.part(job.split.value, 'test').crystals.ids.tolist()
    assert sorted(held_out) == ['s1', 's3']


def test_labels_of_another_functional_are_left_out(inputs, datasets):
    labels = datasets['dataset'].dataset
    names = np.where(np.isin(labels.crystals.ids, ['s1', 's4']), 'PBEsol', labels.functional)
    inputs['dataset'] = DatasetData(replace(labels, functional=names)).store()
    results, node = run_get_node(RetrainWorkChain, **inputs)
    assert node.exit_status == 420  # the code does nothing
    assert results['left_out'].get_dict() == {'PBEsol': 2}
    trained = called_by_label(node)['assign_members'].outputs.result.dataset
    assert set(trained.functional.tolist()) == {'PBE'}
    assert len(trained) == len(labels) - 2


def test_a_decision_counts_the_labels_that_enter_the_training(inputs, datasets):
    """Without a retraining of the campaign, they are compared with the starting dataset."""
    picks = [PickRecord(id=name, hash=name, mean=1, value=1, outcome='accepted') for name in ('s1', 's3')]
    history = History(figure_of_merit='total', rounds=(Round(number=1, model_hash='m', picks=tuple(picks)),))
    ctx = AttributeDict({**datasets, 'model': inputs['model'], 'split': 'campaign', 'history': write_history(history)})
    given = AttributeDict({name: inputs[name] for name in ('retraining', 'train')})
    decision, number = decision_of(given, ctx)
    assert (decision.code, number) == (DecisionCode.ENOUGH_ROUNDS, 2)
    labels = datasets['dataset'].dataset
    column = np.where(np.isin(labels.crystals.ids, ['s1', 's3']), 'PBEsol', labels.functional)
    decision, number = decision_of(
        given, AttributeDict({**ctx, 'dataset': DatasetData(replace(labels, functional=column))})
    )
    assert (decision.code, number) == (DecisionCode.NO_NEW_ROW, 0)
    # as trained before, whether or not the model was adopted
    training = AttributeDict({'inputs': AttributeDict({'dataset': datasets['dataset']})})
    decision, number = decision_of(given, AttributeDict({**ctx, 'training': training}))
    assert (decision.code, number) == (DecisionCode.NO_NEW_ROW, 0)
    decision, number = decision_of(AttributeDict({'retraining': inputs['retraining']}), ctx)
    assert (decision.code, number) == (DecisionCode.ENOUGH_ROUNDS, None)


def test_folds_that_exist(inputs, retrain):
    _, before = retrain('fine-tune')
    inputs['start'] = inputs['dataset'] = called_by_label(before)['assign_members'].outputs.result
    assert 'campaign.fold-0' in inputs['dataset'].splits
    _, node = run_get_node(RetrainWorkChain, **inputs)
    assert node.exit_status == 224
    assert 'campaign.fold-0' in node.exit_message


@pytest.mark.parametrize(
    ('change', 'name'),
    [({'mode': 'tune'}, 'mode'), ({'mode': 'fine-tune', 'model': None}, 'mode'), ({'seed': -1}, 'seed')],
)
def test_invalid_inputs(inputs, change, name):
    given = {key: value for key, value in {**inputs, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=name):
        run_get_node(RetrainWorkChain, **given)
