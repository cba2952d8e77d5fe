"""``goectp info``."""

from __future__ import annotations

import json

import pytest

from aiida_goectp.core.formats.model_card import model_hash, shipped_models
from tests import tiny


def test_a_card_for_eyes_and_for_programs(goectp, tmp_path):
    metrics = {'test': {'electronic': {'rows': 7, 'mae': 0.123456, 'functional': 'PBE'}}, 'remark': 'none'}
    path = tiny.write_model(tmp_path / 'm.safetensors', elements=[8, 12], functional='PBEsol', metrics=metrics)
    text = goectp('info', path).output
    assert text.splitlines()[0] == 'm: preset goectp, targets electronic, ionic, 1 member(s)'
    for words in (model_hash(path), 'icomformer', 'PBEsol', '2 in the training set', 'rows 7, mae 0.123'):
        assert words in text
    assert 'remark: "none"' in text
    card = json.loads(goectp('info', path, '--json').output)
    assert card['hash'] == model_hash(path)
    assert card['metrics'] == metrics
    assert card['elements'] == [8, 12]


def test_without_a_model_it_lists_what_ships(goectp):
    assert goectp('info').output.split() == list(shipped_models())


def test_every_shipped_model_tells_what_it_is(goectp):
    if not shipped_models():
        pytest.skip('no model is shipped with this checkout')
    for name in shipped_models():
        card = json.loads(goectp('info', name, '--json').output)
        assert card['functional'] != 'unknown'
        assert card['licence']
        assert card['citation']
        # what was trained on all rows in the end was tested before that
        judged = card['metrics'].get('test') or card['metrics']['test of the parent']
        assert judged['total']['mae'] > 0
        assert card['training']['rows']['train'] > 1000


@pytest.mark.parametrize('content', [b'', b'\x80\x05nonsense', b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": {"b": 1}}  '])
def test_no_model(goectp, tmp_path, content):
    (tmp_path / 'none.safetensors').write_bytes(content)
    assert 'bad_model: none.safetensors: not a safetensors file' in goectp('info', 'none.safetensors', status=2).output
    assert 'bad_model: absent: no such model file' in goectp('info', 'absent', status=2).output
