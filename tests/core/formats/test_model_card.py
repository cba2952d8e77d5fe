"""The model file as it is read without torch."""

from __future__ import annotations

import json
import struct

import pytest

from aiida_goectp.core.formats.model_card import ModelCard, model_hash, read_card, resolve_model, shipped_models
from aiida_goectp.core.formats.npz import FormatError


def rewrite(path, target, **changes):
    """Write a model file anew with another header."""
    content = path.read_bytes()
    length = struct.unpack('<Q', content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    for name, value in changes.items():
        if name in ('format', 'version', 'card'):
            header['__metadata__'][name] = value
        else:
            header[name] = value
    text = json.dumps(header).encode()
    target.write_bytes(struct.pack('<Q', len(text)) + text + content[8 + length :])
    return target


def test_the_card_comes_back(write_model):
    card = read_card(write_model('mine', functional='PBE', metrics={'test': {}}))
    assert (card.name, card.functional, card.members) == ('mine', 'PBE', 1)
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_the_hash_is_that_of_what_decides_the_numbers(write_model):
    reference = model_hash(write_model())
    assert model_hash(write_model(name='other', notes='prose', metrics={'test': 1})) == reference
    assert model_hash(write_model(value=1.0)) != reference
    assert model_hash(write_model(preset='published')) != reference
    assert model_hash(write_model(targets=['ionic', 'electronic'])) != reference
    assert model_hash(write_model(architecture={'width': 2})) != reference


def test_a_model_by_path_or_by_name(write_model, tmp_path, monkeypatch):
    path = write_model()
    assert resolve_model(path) == path
    for name in shipped_models():
        assert resolve_model(name).name == f'{name}.safetensors'
    monkeypatch.chdir(tmp_path)
    for absent in ('nonesuch', '../nonesuch', '', '/'):
        with pytest.raises(FormatError, match='no such model file'):
            resolve_model(absent)


CARD = {'name': 'x', 'preset': 'goectp', 'architecture': {}, 'targets': ['total']}


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'format': 'pt'}, 'not a model of this package'),
        ({'version': '2'}, 'model format version 2; this package reads version 1'),
        ({'card': '{"name": 3'}, 'the model card is broken'),
        ({'card': json.dumps(CARD | {'members': 0})}, 'broken at members'),
        ({'card': json.dumps(CARD | {'surprise': 0})}, 'broken at surprise'),
        ({'__metadata__': 'text'}, 'header is of another form'),
        ({'weight': 3}, 'header is of another form'),
        ({'weight': {'data_offsets': [0, 8]}}, 'header is of another form'),
        ({'weight': {'dtype': 'F64', 'shape': [1], 'data_offsets': [-8, 8]}}, 'header is of another form'),
        ({'weight': {'dtype': 'F64', 'shape': [2], 'data_offsets': [0, 16]}}, 'cut off'),
    ],
)
def test_a_bad_header_is_refused(write_model, tmp_path, changes, words):
    path = rewrite(write_model(), tmp_path / 'bad.safetensors', **changes)
    for read in (read_card, model_hash):
        with pytest.raises(FormatError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize('cut', [0, 5, 8, 60, -1])
def test_a_file_that_is_cut_off_is_refused(write_model, tmp_path, cut):
    (tmp_path / 'cut.safetensors').write_bytes(write_model().read_bytes()[:cut])
    with pytest.raises(FormatError, match='cut off'):
        read_card(tmp_path / 'cut.safetensors')


def test_a_length_beyond_the_file_is_refused_at_once(tmp_path):
    (tmp_path / 'huge.safetensors').write_bytes(struct.pack('<Q', 2**62) + b'{}')
    with pytest.raises(FormatError, match='not a safetensors file'):
        read_card(tmp_path / 'huge.safetensors')


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(FormatError, match='cannot be read'):
        read_card(tmp_path)


@pytest.mark.parametrize('name', shipped_models())
def test_a_shipped_card_says_what_its_user_must_know(name):
    card = read_card(resolve_model(name))
    assert card.licence == 'CC-BY-4.0'
    assert 'Togo' in card.citation
    assert 'Hua' in card.citation
    assert 'PBEsol' in card.functional
    assert len(card.elements) > 80
    assert 'goectp join' in card.notes, 'the command that made its figures'
    assert 'weaknesses' in card.notes
    judged = card.metrics.get('test') or card.metrics['test of the parent']
    assert {'electronic', 'ionic', 'total', 'coverage_90'} <= set(judged)
    assert set(card.uncertainty) == {'electronic', 'ionic', 'total', 'unlike_above'}
