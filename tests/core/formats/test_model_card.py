"""Model files, read without torch."""

from __future__ import annotations

import json
import re
import struct

import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import (
    ModelCard,
    model_hash,
    read_card,
    read_trained_on,
    resolve_model,
    shipped_models,
)


def rewrite(path, target, **changes):
    """Write a model file with another header."""
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


def test_read_card(write_model):
    card = read_card(write_model('mine', functional='PBE', metrics={'test': {}}))
    assert (card.name, card.functional, card.members) == ('mine', 'PBE', 1)
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_hash_covers_what_determines_predictions(write_model):
    reference = model_hash(write_model())
    assert model_hash(write_model(name='other', notes='prose', metrics={'test': 1})) == reference
    assert model_hash(write_model(value=1.0)) != reference
    assert model_hash(write_model(preset='published')) != reference
    assert model_hash(write_model(targets=['ionic', 'electronic'])) != reference
    assert model_hash(write_model(architecture={'width': 2})) != reference


def test_resolve_model(write_model, tmp_path, monkeypatch):
    path = write_model()
    assert resolve_model(path) == path
    for name in shipped_models():
        assert resolve_model(name).name == f'{name}.safetensors'
    monkeypatch.chdir(tmp_path)
    for absent in ('nonesuch', '../nonesuch', '', '/'):
        with pytest.raises(FormatError, match=f'^{re.escape(absent)}: '):
            resolve_model(absent)


CARD = {'name': 'x', 'preset': 'goectp', 'architecture': {}, 'targets': ['total']}


@pytest.mark.parametrize(
    ('changes', 'name'),
    [
        ({'format': 'pt'}, 'card'),
        ({'version': '2'}, 'version 2'),
        ({'card': '{"name": 3'}, 'card: '),
        ({'card': json.dumps(CARD | {'members': 0})}, r'card\.members: '),
        ({'card': json.dumps(CARD | {'unknown': 0})}, r'card\.unknown: '),
        ({'card': json.dumps(CARD | {'architectures': [{}, {}]})}, 'architectures'),
        ({'card': json.dumps(CARD | {'architectures': [{'width': 1}]})}, 'architectures'),
        ({'__metadata__': 'text'}, 'header'),
        ({'weight': 3}, 'header'),
        ({'weight': {'data_offsets': [0, 8]}}, 'header'),
        ({'weight': {'dtype': 'F64', 'shape': [1], 'data_offsets': [-8, 8]}}, 'header'),
        ({'weight': {'dtype': 'F64', 'shape': [2], 'data_offsets': [0, 16]}}, 'weights'),
    ],
)
def test_invalid_headers_are_refused(write_model, tmp_path, changes, name):
    path = rewrite(write_model(), tmp_path / 'bad.safetensors', **changes)
    for read in (read_card, model_hash):
        with pytest.raises(FormatError, match=rf'bad\.safetensors: .*{name}'):
            read(path)


@pytest.mark.parametrize('cut', [0, 5, 8, 60, -1])
def test_truncated_files_are_refused(write_model, tmp_path, cut):
    (tmp_path / 'cut.safetensors').write_bytes(write_model().read_bytes()[:cut])
    with pytest.raises(FormatError, match=r'cut\.safetensors: '):
        read_card(tmp_path / 'cut.safetensors')


def test_header_lengths_beyond_the_file_are_refused(tmp_path):
    (tmp_path / 'huge.safetensors').write_bytes(struct.pack('<Q', 2**62) + b'{}')
    with pytest.raises(FormatError, match=r'huge\.safetensors: '):
        read_card(tmp_path / 'huge.safetensors')


def test_folders_are_refused(tmp_path):
    with pytest.raises(FormatError, match=tmp_path.name):
        read_card(tmp_path)


@pytest.mark.parametrize('name', shipped_models())
def test_shipped_cards_are_complete(name):
    card = read_card(resolve_model(name))
    assert card.licence == 'CC-BY-4.0'
    assert 'Togo' in card.citation
    assert 'Hua' in card.citation
    assert 'PBEsol' in card.functional
    assert len(card.elements) > 80
    assert 'goectp join' in card.notes, 'the command that reproduces the metrics'
    assert 'weaknesses' in card.notes
    judged = card.metrics.get('test') or card.metrics['test of the parent']
    assert {'electronic', 'ionic', 'total', 'coverage_90'} <= set(judged)
    modes = {'lowest_eigenvalue'} if card.preset == 'force_constants' else set()
    assert set(card.uncertainty) == {'electronic', 'ionic', 'total', 'unlike_above'} | modes


@pytest.mark.parametrize('name', shipped_models())
def test_shipped_models_state_the_crystals_of_their_training(name):
    rows = read_card(resolve_model(name)).training['rows']['train']
    numbers = read_trained_on(resolve_model(name))
    assert len(set(numbers.tolist())) == len(numbers)
    assert 0.8 * rows < len(numbers) <= rows  # some rows have the same prototype, or another functional
