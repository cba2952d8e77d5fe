"""``goectp join``: models that were trained apart become one committee, of different networks, too."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aiida_goectp.core.formats.model_card import model_hash, read_card
from aiida_goectp.core.learning.predict import predict_crystals
from aiida_goectp.core.network.checkpoint import load_model
from tests import tiny

SMALL = ['--epochs', 1, '--batch-size', 16, '--device', 'cpu', '--threads', 1, '--quiet', '--functional', 'PBEsol']
ROWS = ['--dataset', 'data.npz', '--split', 'mine', '--functional', 'PBEsol']


@pytest.fixture
def trained(goectp, tmp_path):
    """A committee of two messengers, and a network on fixed numbers."""
    data = tiny.some_dataset(48).with_split('mine', 'random', 1, (0.3, 0.65, 0.05))
    data.save(tmp_path / 'data.npz')
    messages = ['--width', 16, '--layers', 1, '--members', 2, '--output', 'messages.safetensors']
    numbers = ['--preset', 'descriptors', '--width', 8, '--output', 'numbers.safetensors', '--seed', 7]
    for more in (messages, numbers):
        goectp('train', 'data.npz', '--split', 'mine', *SMALL, *more)
    return data


def test_a_committee_of_different_networks(goectp, trained, tmp_path):
    prose = ['--name', 'mixed', '--licence', 'CC0', '--threads', 1, '--output', 'both.safetensors']
    result = goectp('join', 'messages.safetensors', 'numbers.safetensors', *ROWS, *prose)
    assert 'test electronic: rows' in result.output
    assert 'warning' not in result.output
    card = read_card(tmp_path / 'both.safetensors')
    assert (card.name, card.members, card.preset, card.licence) == ('mixed', 3, 'goectp', 'CC0')
    assert [item['backbone'] for item in card.architectures] == ['icomformer', 'icomformer', 'descriptors']
    assert [item['name'] for item in card.training['joined']] == ['messages', 'numbers']
    assert card.training['joined'][1]['settings']['seed'] == 7
    assert set(card.uncertainty) >= {'electronic', 'ionic', 'total', 'unlike_above'}
    # it says the mean of what its three members say
    parts = [predict_crystals(trained.crystals, tmp_path / f'{name}.safetensors') for name in ('messages', 'numbers')]
    both = predict_crystals(trained.crystals, tmp_path / 'both.safetensors')
    expected = (2 * parts[0].electronic + parts[1].electronic) / 3
    assert np.allclose(both.electronic, expected, atol=1e-5)
    told = goectp('info', 'both.safetensors').output
    assert "backbone    2 × icomformer {'width': 16" in told
    assert "backbone    1 × descriptors {'width': 8" in told


def test_each_member_is_fine_tuned_as_what_it_is(goectp, trained, tmp_path):
    goectp('join', 'messages.safetensors', 'numbers.safetensors', *ROWS, '--output', 'both.safetensors', '--quiet')
    more = ['--split', 'mine', *SMALL, '--initial', 'both.safetensors']
    goectp('train', 'data.npz', *more, '--output', 'tuned.safetensors')
    before, after = load_model(tmp_path / 'both.safetensors'), load_model(tmp_path / 'tuned.safetensors')
    assert after.card.architectures == before.card.architectures
    assert after.hash != before.hash
    again = goectp('train', 'data.npz', *more, '--width', 16, '--output', 'no.safetensors', status=2)
    assert 'has another architecture' in again.output
    assert '(width)' in again.output


def test_what_makes_no_committee(goectp, trained, tmp_path):
    tiny.write_model(tmp_path / 'published.safetensors', preset='published', functional='PBEsol')
    tiny.write_model(tmp_path / 'other.safetensors', functional='PBE')
    tiny.write_model(tmp_path / 'ionic.safetensors', targets=('ionic',), functional='PBEsol')
    output = ['--output', 'both.safetensors']
    for name, message in {
        'published': 'must not differ in the way in which they see a crystal',
        'other': 'must not differ in functional',
        'ionic': 'must not differ in targets',
        'nothing': 'no such model file',
    }.items():
        said = goectp('join', 'messages.safetensors', f'{name}.safetensors', *ROWS, *output, status=2).output
        assert message in said
    assert 'needs electronic and ionic' in goectp('join', 'ionic.safetensors', *ROWS, *output, status=2).output
    assert (
        'of PBE, and those of the dataset are of PBEsol'
        in goectp('join', 'other.safetensors', *ROWS, *output, status=2).output
    )
    assert not (tmp_path / 'both.safetensors').exists()


def test_the_same_model_twice_and_too_many(goectp, trained, tmp_path):
    twice = ['messages.safetensors', 'messages.safetensors', *ROWS, '--output', 'both.safetensors']
    assert 'given twice' in goectp('join', *twice, status=2).output
    tiny.write_model(tmp_path / 'crowd.safetensors', members=32, functional='PBEsol')
    joined = ['messages.safetensors', 'numbers.safetensors', *ROWS, '--output', 'three.safetensors', '--quiet']
    goectp('join', *joined)
    again = ['three.safetensors', 'numbers.safetensors', *ROWS, '--output', 'both.safetensors']
    assert 'given twice' in goectp('join', *again, status=2).output
    many = ['messages.safetensors', 'crowd.safetensors', *ROWS, '--output', 'both.safetensors']
    assert 'a committee has 32 members at most' in goectp('join', *many, status=2).output


def test_what_a_committee_does_not_know_is_said(goectp, trained, tmp_path):
    rows = trained.with_split('few', 'random', 1, (0.9, 0.1, 0.0))
    rows.save(tmp_path / 'data.npz')
    output = ['--dataset', 'data.npz', '--split', 'few', '--functional', 'PBEsol', '--output', 'few.safetensors']
    said = goectp('join', 'messages.safetensors', 'numbers.safetensors', *output).output
    assert 'states no calibrated uncertainty' in said
    assert read_card(tmp_path / 'few.safetensors').uncertainty == {}
    more = ['--initial', 'messages.safetensors', '--split', 'mine', '--members', 1, '--output', 'tuned.safetensors']
    goectp('train', 'data.npz', *SMALL, *more)
    both = ['numbers.safetensors', 'tuned.safetensors', *ROWS, '--output', 'both.safetensors']
    assert 'tuned goes on from a model that learnt from other rows' in goectp('join', *both).output


def test_a_member_that_learnt_from_other_rows(goectp, trained, tmp_path):
    goectp('train', 'data.npz', *SMALL, '--preset', 'descriptors', '--seed', 3, '--output', 'elsewhere.safetensors')
    said = goectp('join', 'messages.safetensors', 'elsewhere.safetensors', *ROWS, '--output', 'both.safetensors')
    assert 'elsewhere has learnt from other rows than part train' in said.output
    # nor is it forgotten when the committee joins another
    goectp('train', 'data.npz', '--split', 'mine', *SMALL, '--seed', 9, '--output', 'third.safetensors')
    said = goectp('join', 'both.safetensors', 'third.safetensors', *ROWS, '--output', 'all.safetensors').output
    assert 'elsewhere has learnt from other rows than part train' in said
    assert 'third has' not in said


def test_models_of_two_functionals_need_labels_of_the_first(goectp, trained, tmp_path):
    tiny.write_mixed_model(tmp_path / 'two.safetensors', ['PBE', 'PBEsol'])
    said = goectp('join', 'two.safetensors', *ROWS, '--output', 'both.safetensors', status=2).output
    assert 'mixed: predicts PBE, and the dataset has no label of it' in said


def test_the_hash_knows_every_architecture(goectp, trained, tmp_path):
    for order in (('messages', 'numbers'), ('numbers', 'messages')):
        files = [f'{name}.safetensors' for name in order]
        goectp('join', *files, *ROWS, '--output', f'{order[0]}-first.safetensors', '--quiet')
    hashes = {model_hash(tmp_path / f'{name}-first.safetensors') for name in ('messages', 'numbers')}
    assert len(hashes) == 2


def test_a_card_that_contradicts_itself(goectp, trained, tmp_path):
    goectp('join', 'messages.safetensors', 'numbers.safetensors', *ROWS, '--output', 'both.safetensors', '--quiet')
    content = (tmp_path / 'both.safetensors').read_bytes()
    size = int.from_bytes(content[:8], 'little')
    header = json.loads(content[8 : 8 + size])
    card = json.loads(header['__metadata__']['card'])
    card['architectures'].pop()
    header['__metadata__']['card'] = json.dumps(card)
    text = json.dumps(header).encode()
    (tmp_path / 'both.safetensors').write_bytes(len(text).to_bytes(8, 'little') + text + content[8 + size :])
    assert '2 for 3 members' in goectp('info', 'both.safetensors', status=2).output
