"""Committees of different architectures: their members are extracted, fine-tuned and joined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aiida_goectp.core.datasets.prototypes import crystal_fingerprints
from aiida_goectp.core.formats.model_card import read_card
from aiida_goectp.core.learning.calibrate import calibrate_committee, trained_on
from aiida_goectp.core.learning.committee import extract_member, join_members, split_members
from aiida_goectp.core.learning.committee_settings import committee_settings
from aiida_goectp.core.learning.errors import TrainingInputError, TrainingInterrupted
from aiida_goectp.core.learning.predict import predict_crystals
from aiida_goectp.core.learning.settings import TrainSettings, settings_like
from aiida_goectp.core.learning.train import Epoch, LabelledGraphs, train_committee
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import load_model, save_model
from aiida_goectp.core.network.preparation import prepare
from tests import tiny


@pytest.fixture(scope='module')
def data():
    tiny.one_thread()
    data = tiny.some_dataset(48).with_split('mine', 'random', 1, (0.3, 0.65, 0.05))
    return replace(data, functional=np.full(len(data), 'PBEsol'))


@pytest.fixture(scope='module')
def mixed(tmp_path_factory):
    """A model file of a message-passing network and a perceptron on descriptors."""
    return tiny.write_mixed_model(tmp_path_factory.mktemp('models') / 'mixed.safetensors', ['PBEsol', 'PBE'])


def test_retraining_in_a_campaign(data, mixed, tmp_path):
    """Each member is fine-tuned from the same member of the parent, with common settings; then they are joined."""
    values = {'epochs': 1, 'batch_size': 16, 'layer_augmentation_copies': 0}
    each, common = committee_settings(values, 3, 2, read_card(mixed))
    assert each[1] | {'seed': 3} == each[0]
    parts = {part: data.part('mine', part) for part in ('train', 'validation', 'test')}
    contents = []
    for place in range(2):
        initial, tuned = tmp_path / f'initial-{place}.safetensors', tmp_path / f'tuned-{place}.safetensors'
        extract_member(mixed.read_bytes(), place, initial)
        parent = load_model(initial)
        assert parent.card.architecture == read_card(mixed).architecture_of(place)
        settings = TrainSettings(**each[place])
        networks = train_committee(parts['train'], parts['validation'], settings, initial=parent)
        save_model(tuned, networks, parent.card.model_copy(update={'architecture': networks[0].architecture}))
        contents.append(tuned.read_bytes())
    path = tmp_path / 'new.safetensors'
    card = {'name': 'new', 'data': 'here', 'functional': 'PBEsol'}
    join_members(contents, parts, TrainSettings(**common), path, **card)
    new = load_model(path)
    assert [network.architecture for network in new.members] == read_card(mixed).architectures
    assert new.card.training['settings']['members'] == 2


def test_joining_does_not_change_the_cached_models(data, tmp_path):
    parts = {part: data.part('mine', part) for part in ('train', 'validation', 'test')}
    settings = TrainSettings(epochs=1, preset='descriptors', options={'width': 8}, functionals=['PBEsol'])
    files = []
    for seed in range(2):
        few = {**parts, 'train': parts['train'].take(range(seed, 10))}
        networks = train_committee(few['train'], None, settings.model_copy(update={'seed': seed}))
        networks, card = calibrate_committee(networks, few, settings, name='one', data='', functional='PBEsol')
        path = tmp_path / f'{seed}.safetensors'
        save_model(path, networks, card, trained_on([], few['train']))
        files.append(path)
    before = predict_crystals(data.crystals, files[0]).average_std
    contents, joined = [path.read_bytes() for path in files], tmp_path / 'x'
    join_members(contents, parts, None, joined, name='', data='', functional='')
    rows = parts['train'].crystals.take(range(10))
    assert set(load_model(joined).trained_on.tolist()) == set(crystal_fingerprints(rows).tolist())
    extract_member(joined.read_bytes(), 1, tmp_path / 'y')
    np.testing.assert_array_equal(load_model(tmp_path / 'y').trained_on, load_model(joined).trained_on)
    assert np.isfinite(before).any()
    np.testing.assert_array_equal(predict_crystals(data.crystals, files[0]).average_std, before)


def test_a_joined_committee_has_the_preset_of_its_members(data, tmp_path):
    parts = {part: data.part('mine', part) for part in ('train', 'validation', 'test')}
    files = [tiny.write_model(tmp_path / f'{seed}.safetensors', seed=seed, preset='published') for seed in range(2)]
    contents = [path.read_bytes() for path in files]
    output = tmp_path / 'joined.safetensors'
    card = join_members(contents, parts, TrainSettings(members=2), output, name='', data='', functional='')
    assert card.preset == read_card(output).preset == 'published'


def test_a_training_is_resumed_in_a_member_of_another_architecture(data, mixed, tmp_path):
    initial, rows = load_model(mixed), data.part('mine', 'train')
    settings = TrainSettings(
        **settings_like({'epochs': 2, 'batch_size': 16, 'layer_augmentation_copies': 0}, initial.card)
    )
    whole = train_committee(rows, None, settings, initial=initial)
    lines: list[Epoch] = []
    options = {'initial': initial, 'state_file': tmp_path / 'state', 'report': lines.append}
    with pytest.raises(TrainingInterrupted):
        train_committee(rows, None, settings, stop=lambda: len(lines) == 3, **options)
    assert lines[-1].member == 1
    resumed = train_committee(rows, None, settings, **options)
    assert len(lines) == 4
    for one, other in zip(resumed, whole, strict=True):
        for name, weights in one.state_dict().items():
            np.testing.assert_array_equal(weights.numpy(), other.state_dict()[name].numpy(), err_msg=name)


def test_the_first_functional_is_predicted(mixed):
    """Reordering changes which functional is predicted, not the output for each."""
    model, order = load_model(mixed), ['PBE', 'PBEsol']
    for network in model.members:
        torch.nn.init.normal_(network.functional_shift.weight)
    reordered = model.with_functionals(order)
    assert reordered.card.architecture['functionals'] == reordered.card.architectures[1]['functionals'] == order
    assert [network.architecture for network in reordered.members] == reordered.card.architectures
    batch = GraphBatch.from_arrays(prepare(list(tiny.some_crystals(3)), 'goectp'))
    second = torch.ones(3, dtype=torch.int64)
    for before, after in zip(model.members, reordered.members, strict=True):
        assert before.functionals == order[::-1]
        torch.testing.assert_close(after(batch), before(batch, functional=second))
        torch.testing.assert_close(after(batch, functional=second), before(batch))
        assert not torch.allclose(after(batch), before(batch))
    for other in ([], ['PBE'], ['PBE', 'r2SCAN'], order[::-1]):
        assert model.with_functionals(other) is model


def test_labels_with_dft_u_are_trained_together(data):
    """A campaign with DFT+U gives labels of several names, which one training takes as one functional."""
    rows = data.part('mine', 'train')
    names = np.where(np.arange(len(rows)) % 2, 'PBEsol', 'PBEsol+U(Fe-d 5.3)')
    rows = replace(rows, functional=names)
    for functionals, indices in ((['PBEsol+U'], {0}), (['PBEsol', 'PBEsol+U'], {0, 1})):
        settings = TrainSettings(preset='descriptors', functionals=functionals)
        assert set(LabelledGraphs.from_dataset(rows, settings).functional.tolist()) == indices
    for functionals in ([], ['PBEsol']):
        with pytest.raises(TrainingInputError, match='functionals'):
            LabelledGraphs.from_dataset(rows, TrainSettings(preset='descriptors', functionals=functionals))
    other = replace(rows, functional=np.where(np.arange(len(rows)) % 2, 'PBEsol+U(Fe-d 4)', names))
    with pytest.raises(TrainingInputError, match='one protocol'):
        LabelledGraphs.from_dataset(other, TrainSettings(preset='descriptors', functionals=['PBEsol+U']))


def test_training_on_the_second_functional_predicts_it(data, mixed):
    initial = load_model(mixed)
    rows = replace(data.part('mine', 'train'), functional=np.full(len(data.part('mine', 'train')), 'PBE'))
    values = {'epochs': 1, 'batch_size': 16, 'layer_augmentation_copies': 0}
    tuned = train_committee(rows, None, TrainSettings(**settings_like(values, initial.card, ['PBE'])), initial=initial)
    for network in tuned:
        assert network.functionals == ['PBE', 'PBEsol']
        shift = network.functional_shift.weight.detach()
        assert shift[0].abs().max() > 0
        assert shift[1].abs().max() == 0  # it has no labels
    with pytest.raises(TrainingInputError, match='functionals'):
        train_committee(rows, None, TrainSettings(**values, options={}, functionals=['PBE']), initial=initial)


def test_options_that_some_member_does_not_have(mixed):
    card = read_card(mixed)
    assert card.differing_options({'width': 8}) == []
    assert card.differing_options({'wdith': 8}) == ['wdith']
    assert card.differing_options({'layers': 1}) == ['layers']  # two in the perceptron
    assert card.differing_options({'bins': 16}) == ['bins']  # which has none


def test_members_are_counted_modulo_their_number(mixed, tmp_path):
    extract_member(mixed.read_bytes(), 3, tmp_path / 'one.safetensors')
    assert read_card(tmp_path / 'one.safetensors').architecture['backbone'] == 'descriptors'


def test_networks_that_differ_from_the_card_are_not_saved(mixed, tmp_path):
    model = load_model(mixed)
    with pytest.raises(ValueError, match='model card'):
        save_model(tmp_path / 'no.safetensors', model.members[::-1], model.card)
    assert not (tmp_path / 'no.safetensors').exists()


def test_a_committee_is_split_into_its_members(mixed, tmp_path):
    contents = split_members(mixed.read_bytes())
    assert len(contents) == read_card(mixed).members
    for member, content in enumerate(contents):
        extract_member(mixed.read_bytes(), member, tmp_path / 'one.safetensors')
        assert content == (tmp_path / 'one.safetensors').read_bytes()
