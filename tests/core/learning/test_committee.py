"""A committee of different networks: its members are taken out, fine-tuned and joined as what each of them is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aiida_goectp.core.formats.model_card import read_card
from aiida_goectp.core.learning.calibrate import calibrate_committee
from aiida_goectp.core.learning.committee import extract_member, join_members
from aiida_goectp.core.learning.committee_settings import committee_settings
from aiida_goectp.core.learning.predict import predict_crystals
from aiida_goectp.core.learning.settings import TrainSettings, settings_like
from aiida_goectp.core.learning.train import Epoch, TrainingInterrupted, train_committee
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
    """A model file of one network that passes messages, and one on fixed numbers."""
    return tiny.write_mixed_model(tmp_path_factory.mktemp('models') / 'mixed.safetensors', ['PBEsol', 'PBE'])


def test_a_round_of_a_campaign(data, mixed, tmp_path):
    """Each member goes on from the parent's of its kind, under settings that all of them share; then they are one."""
    wanted = {'epochs': 1, 'batch_size': 16, 'stretches': 0}
    alone, together = committee_settings(wanted, 3, 2, read_card(mixed))
    assert alone[1] | {'seed': 3} == alone[0]
    parts = {part: data.part('mine', part) for part in ('train', 'validation', 'test')}
    contents = []
    for place in range(2):
        begun, tuned = tmp_path / f'begun-{place}.safetensors', tmp_path / f'tuned-{place}.safetensors'
        extract_member(mixed.read_bytes(), place, begun)
        parent = load_model(begun)
        assert parent.card.architecture == read_card(mixed).architecture_of(place)
        settings = TrainSettings(**alone[place])
        networks = train_committee(parts['train'], parts['validation'], settings, initial=parent)
        card = parent.card.model_copy(update={'architecture': networks[0].architecture})
        save_model(tuned, networks, card)
        contents.append(tuned.read_bytes())
    path = tmp_path / 'new.safetensors'
    prose = {'name': 'new', 'data': 'here', 'functional': 'PBEsol'}
    join_members(contents, parts, TrainSettings(**together), path, **prose)
    new = load_model(path)
    assert [network.architecture for network in new.members] == read_card(mixed).architectures
    assert new.card.training['settings']['members'] == 2


def test_joining_leaves_the_models_alone(data, tmp_path):
    """A daemon keeps models loaded: what one says of its errors must not depend on the committees it has joined."""
    parts = {part: data.part('mine', part) for part in ('train', 'validation', 'test')}
    settings = TrainSettings(epochs=1, preset='descriptors', options={'width': 8}, functionals=['PBEsol'])
    files = []
    for seed in range(2):
        few = {**parts, 'train': parts['train'].take(range(seed, 10))}
        networks = train_committee(few['train'], None, settings.model_copy(update={'seed': seed}))
        networks, card = calibrate_committee(networks, few, settings, name='one', data='', functional='PBEsol')
        path = tmp_path / f'{seed}.safetensors'
        save_model(path, networks, card)
        files.append(path)
    before = predict_crystals(data.crystals, files[0]).average_std
    join_members([path.read_bytes() for path in files], parts, None, tmp_path / 'x', name='', data='', functional='')
    assert np.isfinite(before).any()
    np.testing.assert_array_equal(predict_crystals(data.crystals, files[0]).average_std, before)


def test_settings_that_leave_the_rest_to_the_model(data, tmp_path):
    """Members of a fine-tuned published network are shown crystals in its way, whatever the settings do not say."""
    parts = {part: data.part('mine', part) for part in ('train', 'validation', 'test')}
    files = [tiny.write_model(tmp_path / f'{seed}.safetensors', seed=seed, preset='published') for seed in range(2)]
    contents = [path.read_bytes() for path in files]
    output = tmp_path / 'joined.safetensors'
    told = join_members(contents, parts, TrainSettings(members=2), output, name='', data='', functional='')
    assert told.preset == read_card(output).preset == 'published'


def test_a_training_killed_in_a_later_member_goes_on(data, mixed, tmp_path):
    """The state file holds a network of another kind than the first."""
    initial, rows = load_model(mixed), data.part('mine', 'train')
    settings = TrainSettings(**settings_like({'epochs': 2, 'batch_size': 16, 'stretches': 0}, initial.card))
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


def test_the_functional_to_predict_first(mixed):
    """In another order the networks say the same of each functional, and the first is what is predicted."""
    model, told = load_model(mixed), ['PBE', 'PBEsol']
    for network in model.members:
        torch.nn.init.normal_(network.functional_shift.weight)
    turned = model.with_functionals(told)
    assert turned.card.architecture['functionals'] == turned.card.architectures[1]['functionals'] == told
    assert [network.architecture for network in turned.members] == turned.card.architectures
    batch = GraphBatch.from_arrays(prepare(list(tiny.some_crystals(3)), 'goectp'))
    second = torch.ones(3, dtype=torch.int64)
    for before, after in zip(model.members, turned.members, strict=True):
        assert before.functionals == told[::-1]
        torch.testing.assert_close(after(batch), before(batch, functional=second))
        torch.testing.assert_close(after(batch, functional=second), before(batch))
        assert not torch.allclose(after(batch), before(batch))
    for other in ([], ['PBE'], ['PBE', 'r2SCAN'], told[::-1]):
        assert model.with_functionals(other) is model


def test_labels_of_the_second_functional_teach_what_is_predicted(data, mixed):
    initial = load_model(mixed)
    rows = replace(data.part('mine', 'train'), functional=np.full(len(data.part('mine', 'train')), 'PBE'))
    values = {'epochs': 1, 'batch_size': 16, 'stretches': 0}
    tuned = train_committee(rows, None, TrainSettings(**settings_like(values, initial.card, ['PBE'])), initial=initial)
    for network in tuned:
        assert network.functionals == ['PBE', 'PBEsol']
        shift = network.functional_shift.weight.detach()
        assert shift[0].abs().max() > 0
        assert shift[1].abs().max() == 0  # no label of it was seen
    with pytest.raises(ValueError, match=r'\(functionals\)'):
        train_committee(rows, None, TrainSettings(**values, options={}, functionals=['PBE']), initial=initial)


def test_an_option_that_some_member_does_not_have(mixed):
    card = read_card(mixed)
    assert card.other_options({'width': 8}) == []
    assert card.other_options({'wdith': 8}) == ['wdith']
    assert card.other_options({'layers': 1}) == ['layers']  # two in the network on fixed numbers
    assert card.other_options({'bins': 16}) == ['bins']  # which has none


def test_a_place_beyond_the_last_begins_again(mixed, tmp_path):
    extract_member(mixed.read_bytes(), 3, tmp_path / 'one.safetensors')
    assert read_card(tmp_path / 'one.safetensors').architecture['backbone'] == 'descriptors'


def test_networks_that_the_card_does_not_speak_of(mixed, tmp_path):
    model = load_model(mixed)
    with pytest.raises(ValueError, match='the card speaks of 2 networks'):
        save_model(tmp_path / 'no.safetensors', model.members[::-1], model.card)
    assert not (tmp_path / 'no.safetensors').exists()
