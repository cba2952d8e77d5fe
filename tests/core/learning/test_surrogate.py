"""Networks as the model of a backtest: the same trainings as in a campaign."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aiida_goectp.core.learning.committee import extract_member, join_members
from aiida_goectp.core.learning.errors import TrainingDiverged
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.surrogate import NetworkSurrogate
from aiida_goectp.core.learning.train import train_committee
from aiida_goectp.core.network.checkpoint import load_model, save_model
from aiida_goectp.core.selection import fold_name
from aiida_goectp.core.selection.backtest import Campaign, make_hidden_pool, make_search_task
from aiida_goectp.core.selection.backtest.loop import RoundRecord, first_model
from aiida_goectp.core.selection.folds import add_labels, with_base_split, with_folds
from tests import tiny
from tests.core.selection.backtest.toy import toy_dataset, toy_settings

SETTINGS = TrainSettings(preset='descriptors', options={'width': 8}, epochs=2, layer_augmentation_copies=0)


@pytest.fixture(scope='module')
def folds():
    data = toy_dataset(60)
    start, split = with_base_split(data.take(range(45)), None, 0)
    grown, _ = add_labels(start, data.take(range(45, 60)), split)
    return with_folds(grown, start, split, 2, 0), split


@pytest.fixture(scope='module')
def fitted(folds):
    return NetworkSurrogate(SETTINGS).fit(*folds, 2, None, 4)


def weights(content: bytes, path: Path):
    path.write_bytes(content)
    return [{name: value.numpy() for name, value in one.state_dict().items()} for one in load_model(path).members]


def assert_same(one, other):
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_functional_that_is_predicted(folds, fitted):
    data, split = folds
    names = np.where(np.arange(len(data)) % 2, 'PBE', 'PBEsol')
    settings = SETTINGS.model_copy(update={'functionals': ['PBEsol', 'PBE'], 'epochs': 1})
    assert not fitted.functionals
    assert NetworkSurrogate(settings).fit(replace(data, functional=names), split, 2, None, 4).functionals[0] == 'PBEsol'


def test_each_member_is_trained_without_its_fold_with_its_own_seed(folds, fitted, tmp_path):
    data, split = folds
    expected = []
    for member in range(2):
        settings = SETTINGS.model_copy(update={'seed': 4 + member})
        [network] = train_committee(data.part(fold_name(split, member), 'train'), None, settings)
        expected.append({name: value.numpy() for name, value in network.state_dict().items()})
    assert_same(weights(fitted.model, tmp_path / 'm.safetensors'), expected)
    alone = [weights(content, tmp_path / 'm.safetensors')[0] for content in fitted.members]
    assert_same(alone, expected)


def test_validation_rows_are_used_where_the_settings_keep_the_best_weights(folds, tmp_path):
    data, split = folds
    settings = SETTINGS.model_copy(update={'keep': 'best', 'epochs': 6, 'learning_rate': 0.3})
    settings = TrainSettings.model_validate(settings.model_dump(exclude_unset=True))
    found = NetworkSurrogate(settings).fit(data, split, 1, None, 4)
    fold, own = fold_name(split, 0), settings.model_copy(update={'seed': 4})
    [network] = train_committee(data.part(fold, 'train'), data.part(fold, 'validation'), own)
    expected = {name: value.numpy() for name, value in network.state_dict().items()}
    assert_same(weights(found.model, tmp_path / 'm.safetensors'), [expected])


def test_the_committee_equals_joined_members(folds, fitted, tmp_path):
    data, split = folds
    parts = {part: data.part(split, part) for part in ('train', 'validation', 'test')}
    settings = SETTINGS.model_copy(update={'members': 2, 'seed': 4})
    output = tmp_path / 'joined.safetensors'
    join_members(fitted.members, parts, settings, output, name='joined', data='', functional='PBE')
    model = tmp_path / 'fitted.safetensors'
    model.write_bytes(fitted.model)
    assert load_model(output).hash == load_model(model).hash


def test_fine_tuning_starts_from_the_same_member(folds, fitted, tmp_path):
    data, split = folds
    found = NetworkSurrogate(SETTINGS).fit(data, split, 2, fitted.model, 4)
    expected = []
    for member in range(2):
        extract_member(fitted.model, member, tmp_path / 'one.safetensors')
        settings = SETTINGS.model_copy(update={'seed': 4 + member})
        rows = data.part(fold_name(split, member), 'train')
        [network] = train_committee(rows, None, settings, initial=load_model(tmp_path / 'one.safetensors'))
        expected.append({name: value.numpy() for name, value in network.state_dict().items()})
    assert_same(weights(found.model, tmp_path / 'm.safetensors'), expected)


def test_an_initial_model_gives_its_architecture(folds, tmp_path):
    data, split = folds
    path = tiny.write_model(tmp_path / 'given.safetensors')
    surrogate = NetworkSurrogate(TrainSettings(epochs=1, layer_augmentation_copies=0))
    found = surrogate.fit(data, split, 2, path.read_bytes(), 0)
    path.write_bytes(found.model)
    assert load_model(path).card.architecture['options']['width'] == 16


def test_an_initial_committee_of_different_architectures(folds, tmp_path):
    path = tiny.write_mixed_model(tmp_path / 'given.safetensors')
    given = load_model(path).card
    found = NetworkSurrogate(TrainSettings(epochs=1, layer_augmentation_copies=0)).fit(*folds, 2, path.read_bytes(), 0)
    path.write_bytes(found.model)
    assert load_model(path).card.architectures == given.architectures


def test_the_seed_of_the_settings_takes_precedence(folds, fitted, tmp_path):
    given = NetworkSurrogate(SETTINGS.model_copy(update={'seed': 4}))
    found = given.fit(*folds, 2, None, 99)
    assert_same(*(weights(item.model, tmp_path / 'm.safetensors') for item in (found, fitted)))


def test_predictions_of_committee_and_member(folds, fitted):
    surrogate, crystals = NetworkSurrogate(SETTINGS), folds[0].crystals
    committee = surrogate.predict(fitted.model, crystals)
    members = [surrogate.predict(member, crystals) for member in fitted.members]
    np.testing.assert_allclose(committee.total, (members[0].total + members[1].total) / 2, rtol=1e-5)
    assert np.isfinite(committee.average_std).all()
    assert len({committee.model_hash, *(member.model_hash for member in members)}) == 3
    assert surrogate.predict(fitted.model, crystals.take([])).model_hash == committee.model_hash


def test_a_campaign_is_reproducible():
    settings = toy_settings(budget=16, seeds=1)
    runs = []
    for _ in range(2):
        task, surrogate = (
            make_search_task(make_hidden_pool(toy_dataset(), settings), settings, 0),
            NetworkSurrogate(SETTINGS),
        )
        campaign = Campaign(task, surrogate, settings, 'greedy', 0, first_model(task, surrogate, settings, 0))
        lines = []
        while isinstance(line := campaign.advance(), RoundRecord):
            lines.append(line)
        runs.append(lines)
    assert runs[0] == runs[1]
    assert [line.labels for line in runs[0]] == [8, 16]


def test_a_training_that_diverges_is_a_value_error(folds):
    settings = SETTINGS.model_copy(update={'learning_rate': 1e30, 'gradient_clip_norm': None, 'epochs': 5})
    with pytest.raises(TrainingDiverged):
        NetworkSurrogate(settings).fit(*folds, 2, None, 0)


def test_saved_models_are_model_files(fitted, tmp_path):
    path = tmp_path / 'model.safetensors'
    path.write_bytes(fitted.model)
    model = load_model(path)
    save_model(path, model.members, model.card)
    assert load_model(path).hash == model.hash
