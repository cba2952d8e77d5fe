"""Merge of members that were trained in separate jobs."""

import numpy as np
import pytest
from aiida import orm

from aiida_goectp.calculations.models import merge_models
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from tests import tiny

SMALL = {'options': {'width': 8, 'layers': 2, 'bins': 16}, 'batch_size': 8, 'epochs': 1}


@pytest.fixture(scope='module')
def data():
    tiny.one_thread()
    return tiny.some_dataset(24).with_split('mine', 'random', 1)


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """Return a function that trains a model in this process."""
    from aiida_goectp.core.learning.calibrate import calibrate_committee
    from aiida_goectp.core.learning.settings import TrainSettings
    from aiida_goectp.core.learning.train import train_committee
    from aiida_goectp.core.network.checkpoint import save_model

    folder = tmp_path_factory.mktemp('members')

    def train(name, without=None, **settings):
        settings = TrainSettings(**SMALL | settings)
        parts = {part: data.part('mine', part) for part in ('train', 'validation', 'test')}
        if without is not None:
            kept = [row for row, one in enumerate(parts['train'].crystals) if without not in one.atomic_numbers]
            parts['train'] = parts['train'].take(kept)
        networks = train_committee(parts['train'], parts['validation'], settings)
        networks, card = calibrate_committee(networks, parts, settings, name=name, data='here', functional='PBEsol')
        path = folder / f'{name}.safetensors'
        save_model(path, networks, card)
        return path

    return train


def test_committee_equals_that_of_one_job(aiida_profile, data, trained):
    dataset, settings = DatasetData(data), orm.Dict(SMALL | {'members': 2, 'seed': 5})
    members = {f'member_{k:02d}': ModelData(trained(f'm{k}', seed=5 + k)) for k in range(2)}
    card = orm.Dict({'licence': 'CC0'})
    model = merge_models(dataset, orm.Str('mine'), settings, orm.Str('both'), card, **members)
    assert model.creator.process_label == 'merge_models'
    assert (model.card.name, model.card.members, model.card.licence, model.card.notes) == ('both', 2, 'CC0', '')
    assert (model.card.functional, model.card.training['data']) == ('PBEsol', 'here')
    one = ModelData(trained('one', members=2, seed=5))
    assert model.content_hash == one.content_hash
    assert model.card.metrics['test']['electronic'] == pytest.approx(one.card.metrics['test']['electronic'])


def test_the_calibration_of_the_initial_model_is_kept(aiida_profile, data, trained, tmp_path):
    """The validation rows of a small dataset are too few to calibrate on."""
    path = tiny.write_model(tmp_path / 'parent.safetensors', members=2, uncertainty={'unlike_above': 7.0})
    initial, settings = ModelData(path), orm.Dict(SMALL | {'members': 2})
    members = {f'member_{k:02d}': ModelData(trained(f'm{k}', seed=5 + k)) for k in range(2)}
    arguments = {'dataset': DatasetData(data), 'split': orm.Str('mine'), 'settings': settings, **members}
    assert len(data.part('mine', 'validation')) < 30
    assert merge_models(**arguments).card.uncertainty == {}
    model = merge_models(**arguments, initial=initial)
    assert model.card.uncertainty == {'unlike_above': 7.0}
    assert model.creator.inputs.initial.uuid == initial.uuid


def test_members_may_differ_in_elements(aiida_profile, data, trained):
    numbers = data.part('mine', 'train').crystals.atomic_numbers
    rare = int(np.argmin(np.where(np.bincount(numbers) > 0, np.bincount(numbers), len(numbers))))
    members = {'member_00': ModelData(trained('all', seed=1)), 'member_01': ModelData(trained('few', rare, seed=2))}
    assert rare not in members['member_01'].card.elements
    model = merge_models(DatasetData(data), orm.Str('mine'), orm.Dict(SMALL | {'members': 2}), **members)
    assert model.card.elements == members['member_00'].card.elements


def test_invalid_members_are_refused(aiida_profile, data, trained, tmp_path):
    dataset, split = DatasetData(data), orm.Str('mine')
    first = ModelData(trained('first', seed=1))
    with pytest.raises(ValueError, match=r'1 members .*2'):
        merge_models(dataset, split, orm.Dict(SMALL | {'members': 2}), member_00=first)
    other = ModelData(tiny.write_model(tmp_path / 'other.safetensors', functional='PBE'))
    with pytest.raises(ValueError, match='functional'):
        merge_models(dataset, split, orm.Dict(SMALL | {'members': 2}), member_00=first, member_01=other)
