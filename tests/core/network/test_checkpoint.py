"""Model files: round trip, content hash, and invalid files."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import (
    ModelCard,
    model_hash,
    read_card,
    read_trained_on,
    shipped_models,
)
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


def test_the_crystals_of_the_training(tmp_path, model_file, crystal_set):
    numbers, path = np.arange(3, dtype=np.uint64), tmp_path / 'known.safetensors'
    save_model(path, _networks(), _card(), numbers)
    np.testing.assert_array_equal(load_model(path).trained_on, numbers)
    assert load_model(model_file).trained_on is None
    assert model_hash(path) == model_hash(model_file)
    many = np.zeros(1_000_001, np.uint64)
    save_model(path, _networks(), _card(), many)
    assert read_trained_on(path) is None  # the header would be too large to be read
    save_model(path, _networks(), _card(), many[:-1])
    assert len(read_trained_on(path)) == 1_000_000


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
        (lambda w, h: h.update(trained_on='no base64'), 'trained_on'),
        (lambda w, h: h.update(trained_on='AAAA'), 'trained_on'),
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


def test_equal_models_give_equal_bytes(tmp_path):
    for name in ('one', 'two'):
        save_model(tmp_path / name, _networks(), _card())
    assert (tmp_path / 'one').read_bytes() == (tmp_path / 'two').read_bytes()
    header = (tmp_path / 'one').read_bytes()[8:]
    assert header.startswith(b'{"__metadata__":{"format":"aiida-goectp/model","version":"1","card":')


def test_every_flipped_bit_is_refused(model_file):
    content = model_file.read_bytes()
    start = 8 + int.from_bytes(content[:8], 'little')
    random = np.random.default_rng(0)
    last = len(content[:start].rstrip()) - 1  # before the padding of the header
    for place in [*random.integers(8, last, 80), *random.integers(start, len(content), 40)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.integers(8)
        model_file.write_bytes(damaged)
        with pytest.raises(FormatError, match=r'tiny\.safetensors'):
            load_model(model_file)
        with pytest.raises(FormatError):
            model_hash(model_file)


def test_a_file_without_checksum_is_read_and_reported_once(model_file, caplog):
    before = model_hash(model_file)
    _rewrite(model_file, lambda weights, header: None)
    for _ in range(2):
        assert load_model(model_file).hash == before
    assert caplog.text.count('no checksum') == 1


def test_shipped_models_have_a_checksum(caplog):
    hashes = {name: load_model(name).hash[:8] for name in shipped_models()}
    assert hashes == {'goectp': 'dcb520b9', 'goectp-frame': '338817fd', 'goectp-small': '3cfd10d8'}
    assert not caplog.text


@pytest.mark.parametrize(
    ('architecture', 'found'),
    [
        ({'options': {'width': 10**12}}, 'width: 1000000000000'),
        ({'options': {'layers': 10**6}}, 'layers: 1000000'),
        ({'options': {'width': 20_000}}, 'weights or more; the file has'),
    ],
)
def test_a_card_with_sizes_beyond_the_file_is_refused_before_memory_is_taken(model_file, architecture, found):
    own = read_card(model_file).architecture
    options = {**own['options'], **architecture['options']}
    _rewrite(model_file, _edit_card(architecture={**own, 'options': options}))
    with pytest.raises(FormatError, match=f'tiny.safetensors.*{found}'):
        load_model(model_file)


def test_more_members_than_the_file_has_are_refused(model_file):
    _rewrite(model_file, _edit_card(members=10**9))
    with pytest.raises(FormatError, match='members: 1000000000'):
        load_model(model_file)
