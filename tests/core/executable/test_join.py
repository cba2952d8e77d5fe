"""``goectp join``: one committee of separately trained models, whose architectures may differ."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from aiida_goectp.core.formats.model_card import model_hash, read_card
from aiida_goectp.core.learning.predict import predict_crystals
from aiida_goectp.core.network.checkpoint import load_model
from tests import tiny

SMALL = ['--epochs', 1, '--batch-size', 16, '--device', 'cpu', '--threads', 1, '--quiet', '--functional', 'PBEsol']
ROWS = ['--dataset', 'data.npz', '--split', 'mine', '--functional', 'PBEsol']


@pytest.fixture(scope='module')
def trainings(tmp_path_factory):
    """Folder of files that are trained once."""
    return tmp_path_factory.mktemp('trainings')


@pytest.fixture
def trained(goectp, trainings, tmp_path):
    """A committee of two message-passing networks, a perceptron on descriptors, and both joined."""
    data = tiny.some_dataset(48).with_split('mine', 'random', 1, (0.3, 0.65, 0.05))
    data.save(tmp_path / 'data.npz')
    messenger = ['--width', 16, '--layers', 1, '--members', 2, '--output', trainings / 'messenger.safetensors']
    perceptron = ['--preset', 'descriptors', '--width', 8, '--output', trainings / 'perceptron.safetensors']
    if not any(trainings.iterdir()):
        for more in (messenger, [*perceptron, '--seed', 7]):
            goectp('train', 'data.npz', '--split', 'mine', *SMALL, *more)
        files = [trainings / f'{name}.safetensors' for name in ('messenger', 'perceptron', 'joined')]
        goectp('join', *files[:2], *ROWS, '--output', files[2], '--quiet')
    shutil.copytree(trainings, tmp_path, dirs_exist_ok=True)
    return data


@pytest.mark.slow
def test_a_committee_of_different_architectures(goectp, trained, tmp_path):
    texts = ['--name', 'mixed', '--licence', 'CC0', '--threads', 1, '--output', 'both.safetensors']
    result = goectp('join', 'messenger.safetensors', 'perceptron.safetensors', *ROWS, *texts)
    assert 'test electronic: rows' in result.output
    assert 'warning' not in result.output
    card = read_card(tmp_path / 'both.safetensors')
    assert (card.name, card.members, card.preset, card.licence) == ('mixed', 3, 'goectp', 'CC0')
    assert [item['backbone'] for item in card.architectures] == ['icomformer', 'icomformer', 'descriptors']
    assert [item['name'] for item in card.training['joined']] == ['messenger', 'perceptron']
    assert card.training['joined'][1]['settings']['seed'] == 7
    assert set(card.uncertainty) >= {'electronic', 'ionic', 'total', 'unlike_above'}
    # the mean of its three members
    parts = [
        predict_crystals(trained.crystals, tmp_path / f'{name}.safetensors') for name in ('messenger', 'perceptron')
    ]
    both = predict_crystals(trained.crystals, tmp_path / 'both.safetensors')
    expected = (2 * parts[0].electronic + parts[1].electronic) / 3
    assert np.allclose(both.electronic, expected, atol=1e-5)
    output = goectp('info', 'both.safetensors').output
    assert "2 × icomformer {'width': 16" in output
    assert "1 × descriptors {'width': 8" in output


def test_fine_tuning_keeps_the_architecture_of_each_member(goectp, trained, tmp_path):
    more = ['--split', 'mine', *SMALL, '--initial', 'joined.safetensors']
    goectp('train', 'data.npz', *more, '--output', 'tuned.safetensors')
    before, after = load_model(tmp_path / 'joined.safetensors'), load_model(tmp_path / 'tuned.safetensors')
    assert after.card.architectures == before.card.architectures
    assert after.hash != before.hash
    again = goectp('train', 'data.npz', *more, '--width', 16, '--output', 'no.safetensors', status=2)
    assert 'bad_input' in again.output
    assert 'width' in again.output


def test_models_that_cannot_be_members_of_one_committee(goectp, trained, tmp_path):
    tiny.write_model(tmp_path / 'published.safetensors', preset='published', functional='PBEsol')
    tiny.write_model(tmp_path / 'other.safetensors', functional='PBE')
    tiny.write_model(tmp_path / 'ionic.safetensors', targets=('ionic',), functional='PBEsol')
    output = ['--output', 'both.safetensors']
    different = {'published': 'preset', 'other': 'functional', 'ionic': 'targets', 'nothing': 'nothing.safetensors'}
    for name, reason in different.items():
        message = goectp('join', 'messenger.safetensors', f'{name}.safetensors', *ROWS, *output, status=2).output
        assert 'bad_model' in message
        assert reason in message
    for name, reason in {'ionic': 'electronic', 'other': 'PBEsol'}.items():
        message = goectp('join', f'{name}.safetensors', *ROWS, *output, status=2).output
        assert f'bad_model: {name}' in message
        assert reason in message
    assert not (tmp_path / 'both.safetensors').exists()


def test_duplicate_networks_and_too_many(goectp, trained, tmp_path):
    twice = ['messenger.safetensors', 'messenger.safetensors', *ROWS, '--output', 'both.safetensors']
    assert 'duplicate' in goectp('join', *twice, status=2).output
    tiny.write_model(tmp_path / 'crowd.safetensors', members=32, functional='PBEsol')
    again = ['joined.safetensors', 'perceptron.safetensors', *ROWS, '--output', 'both.safetensors']
    assert 'duplicate' in goectp('join', *again, status=2).output
    many = ['messenger.safetensors', 'crowd.safetensors', *ROWS, '--output', 'both.safetensors']
    assert '34 members' in goectp('join', *many, status=2).output


def test_a_warning_of_missing_calibration_and_of_fine_tuned_members(goectp, trained, tmp_path):
    rows = trained.with_split('few', 'random', 1, (0.9, 0.1, 0.0))
    rows.save(tmp_path / 'data.npz')
    output = ['--dataset', 'data.npz', '--split', 'few', '--functional', 'PBEsol', '--output', 'few.safetensors']
    message = goectp('join', 'messenger.safetensors', 'perceptron.safetensors', *output).output
    assert 'warning: 5 validation rows' in message
    assert read_card(tmp_path / 'few.safetensors').uncertainty == {}
    more = ['--initial', 'messenger.safetensors', '--split', 'mine', '--members', 1, '--output', 'tuned.safetensors']
    goectp('train', 'data.npz', *SMALL, *more)
    both = ['perceptron.safetensors', 'tuned.safetensors', *ROWS, '--output', 'both.safetensors']
    assert 'warning: tuned' in goectp('join', *both).output


@pytest.mark.slow
def test_a_warning_of_members_trained_on_other_rows(goectp, trained, tmp_path):
    goectp('train', 'data.npz', *SMALL, '--preset', 'descriptors', '--seed', 3, '--output', 'elsewhere.safetensors')
    output = goectp(
        'join', 'messenger.safetensors', 'elsewhere.safetensors', *ROWS, '--output', 'both.safetensors'
    ).output
    assert 'warning: elsewhere' in output
    # also when the committee is joined to another model
    goectp('train', 'data.npz', '--split', 'mine', *SMALL, '--seed', 9, '--output', 'third.safetensors')
    output = goectp('join', 'both.safetensors', 'third.safetensors', *ROWS, '--output', 'all.safetensors').output
    assert 'warning: elsewhere' in output
    assert 'third' not in output


def test_models_of_two_functionals_need_labels_of_the_first(goectp, trained, tmp_path):
    tiny.write_mixed_model(tmp_path / 'two.safetensors', ['PBE', 'PBEsol'])
    output = goectp('join', 'two.safetensors', *ROWS, '--output', 'both.safetensors', status=2).output
    assert 'bad_model: mixed' in output


def test_the_hash_depends_on_all_architectures(goectp, trained, tmp_path):
    files = ['perceptron.safetensors', 'messenger.safetensors']
    goectp('join', *files, *ROWS, '--output', 'other-order.safetensors', '--quiet')
    hashes = {model_hash(tmp_path / f'{name}.safetensors') for name in ('joined', 'other-order')}
    assert len(hashes) == 2


def test_a_card_with_too_few_architectures(goectp, trained, tmp_path):
    content = (tmp_path / 'joined.safetensors').read_bytes()
    size = int.from_bytes(content[:8], 'little')
    header = json.loads(content[8 : 8 + size])
    card = json.loads(header['__metadata__']['card'])
    card['architectures'].pop()
    header['__metadata__']['card'] = json.dumps(card)
    text = json.dumps(header).encode()
    (tmp_path / 'both.safetensors').write_bytes(len(text).to_bytes(8, 'little') + text + content[8 + size :])
    assert 'bad_model: both.safetensors' in goectp('info', 'both.safetensors', status=2).output
