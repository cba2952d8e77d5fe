"""``goectp info``."""

from __future__ import annotations

import json

import pytest

from aiida_goectp.core.formats.model_card import model_hash, shipped_models
from tests import tiny


def test_a_card_as_text_and_as_json(goectp, tmp_path):
    metrics = {'test': {'electronic': {'rows': 7, 'mae': 0.123456, 'functional': 'PBE'}}, 'remark': 'none'}
    path = tiny.write_model(tmp_path / 'm.safetensors', elements=[8, 12], functional='PBEsol', metrics=metrics)
    text = goectp('info', path).output
    for item in (
        'm: preset goectp',
        'electronic, ionic',
        model_hash(path),
        'icomformer',
        'PBEsol',
        'rows 7, mae 0.123',
    ):
        assert item in text
    card = json.loads(goectp('info', path, '--json').output)
    assert card['hash'] == model_hash(path)
    assert card['metrics'] == metrics
    assert card['elements'] == [8, 12]


@pytest.mark.parametrize('functionals', [['PBEsol', 'PBE'], ['PBE', 'PBEsol']])
def test_the_functional_that_a_model_predicts(goectp, tmp_path, functionals):
    path = tiny.write_mixed_model(tmp_path / 'm.safetensors', functionals)
    (line,) = [text for text in goectp('info', path).output.splitlines() if text.startswith('functional')]
    assert line.split()[1].rstrip(',') == functionals[0]
    assert functionals[1] in line


def test_without_a_model_it_lists_the_shipped_models(goectp):
    assert goectp('info').output.split() == list(shipped_models())


@pytest.mark.parametrize('name', shipped_models())
def test_shipped_models_have_complete_cards(goectp, name):
    card = json.loads(goectp('info', name, '--json').output)
    assert card['functional'] != 'unknown'
    assert card['licence']
    assert card['citation']
    # a model trained on all rows quotes the metrics of its parent
    metrics = card['metrics'].get('test') or card['metrics']['test of the parent']
    assert metrics['total']['mae'] > 0
    assert card['training']['rows']['train'] > 1000


@pytest.mark.parametrize('content', [b'', b'\x80\x05nonsense', b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": {"b": 1}}  '])
def test_files_that_are_not_models(goectp, tmp_path, content):
    (tmp_path / 'none.safetensors').write_bytes(content)
    for name in ('none.safetensors', 'absent'):
        assert f'bad_model: {name}' in goectp('info', name, status=2).output
