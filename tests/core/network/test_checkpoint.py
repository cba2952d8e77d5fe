"""Model files: round trip, content hash, and invalid files."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from aiida_goectp.core.formats.model_card import ModelCard, model_hash, read_card
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.network.checkpoint import load_model, save_model
from aiida_goectp.core.network.model import GoeCTP
from tests.core.network.test_exactness import predict

ARCHITECTURE = {'backbone': 'icomformer', 'options': {'width': 8, 'layers': 1, 'bins': 16}, 'head': 'physical'}
TARGETS = ['electronic', 'ionic']


def _networks(count=2):
    networks = []
    for seed in range(count):
        torch.manual_seed(seed)
        networks.append(GoeCTP(ARCHITECTURE, TARGETS).eval())
    return networks


def _card(**changes):
    fields = {'name': 'tiny', 'preset': 'goectp', 'architecture': ARCHITECTURE, 'targets': TARGETS, 'members': 2}
    return ModelCard(**{**fields, **changes})


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / 'tiny.safetensors'
    save_model(path, _networks(), _card())
    return path


def test_round_trip(model_file, crystal_set):
    loaded = load_model(model_file)
    assert loaded.card == _card()
    for written, read in zip(_networks(), loaded.networks, strict=True):
        np.testing.assert_array_equal(
            predict(written, crystal_set, torch.float32), predict(read, crystal_set, torch.float32)
        )


def test_the_hash_depends_on_weights_and_architecture_only(tmp_path, model_file):
    again, renamed = tmp_path / 'b.safetensors', tmp_path / 'c.safetensors'
    save_model(again, _networks(), _card(name='other', notes='other words'))
    assert model_hash(again) == model_hash(model_file)
    other = _networks()
    with torch.no_grad():
        other[1].head.layers[0].bias[0] += 1e-6
    save_model(renamed, other, _card())
    assert model_hash(renamed) != model_hash(model_file)


def test_a_card_of_other_networks_is_not_written(tmp_path):
    with pytest.raises(ValueError, match='3 members'):
        save_model(tmp_path / 'x.safetensors', _networks(), _card(members=3))
    assert not list(tmp_path.iterdir())


def _rewrite(path, change):
    weights = load_file(path)
    header = {'format': 'aiida-goectp/model', 'version': '1', 'card': read_card(path).model_dump_json()}
    change(weights, header)
    save_file(weights, path, metadata=header)


def _edit_card(**changes):
    def change(weights, header):
        header['card'] = json.dumps({**json.loads(header['card']), **changes})

    return change


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w, h: h.update(version='2'), 'version 2'),
        (lambda w, h: h.update(format='other'), ''),
        (lambda w, h: h.update(card='{'), 'card'),
        (_edit_card(preset='newer'), "preset.*'newer'"),
        (_edit_card(architecture={'backbone': 'resnet', 'head': 'physical'}), "backbone.*'resnet'"),
        (_edit_card(members=1), '1.backbone'),
        (_edit_card(unknown_key=1), 'unknown_key'),
        (lambda w, h: w.pop('0.head.layers.0.bias'), '0.head.layers.0.bias'),
    ],
)
def test_invalid_models_are_refused(model_file, change, message):
    _rewrite(model_file, change)
    with pytest.raises(FormatError, match=f'tiny.safetensors.*{message}'):
        load_model(model_file)


def test_pickles_and_truncated_files_are_refused(tmp_path, model_file):
    pickled = tmp_path / 'weights.pt'
    torch.save({'a': torch.zeros(3)}, pickled)
    with pytest.raises(FormatError, match='pickle'):
        load_model(pickled)
    content = model_file.read_bytes()
    model_file.write_bytes(content[:-100])
    with pytest.raises(FormatError, match=r'tiny\.safetensors'):
        load_model(model_file)
    with pytest.raises(FormatError, match='no-such-model'):
        load_model('no-such-model')
