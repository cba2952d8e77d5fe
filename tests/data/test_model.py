"""The model node: stored once, checked, cached by its weights."""

import pickle

import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import model_hash
from aiida_goectp.data.model import ModelData

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


def test_equal_models_are_stored_once(write_model):
    first = ModelData.get_or_create(write_model('one'))
    assert ModelData.get_or_create(write_model('one')).pk == first.pk
    assert ModelData.get_or_create(write_model('one', value=1.0)).pk != first.pk
    # the name does not count
    assert ModelData.get_or_create(write_model('another-name')).pk == first.pk


def test_card_file_and_hash_come_back(write_model):
    path = write_model('one', elements=[8, 12], functional='PBEsol')
    node = load_node(ModelData.get_or_create(path).pk)
    assert node.card.name == node.label == 'one'
    assert node.card.elements == [8, 12]
    assert node.content == path.read_bytes()
    assert node.content_hash == model_hash(path)
    with node.as_path() as copy:
        assert model_hash(copy) == node.content_hash


def test_caching_depends_on_the_weights(write_model):
    first = ModelData(write_model('one')).store()
    renamed = ModelData(write_model('two')).store()
    other = ModelData(write_model('one', value=2.0)).store()
    assert renamed.base.caching.get_hash() == first.base.caching.get_hash()
    assert other.base.caching.get_hash() != first.base.caching.get_hash()


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / 'model.pt'
    path.write_bytes(pickle.dumps({'weights': list(range(100))}))
    with pytest.raises(FormatError, match=r'model\.pt: '):
        ModelData.get_or_create(path)


def test_an_unknown_name_lists_the_shipped_models():
    with pytest.raises(FormatError, match=r'no-such-model.*goectp'):
        ModelData.get_or_create('no-such-model')


def test_attributes_of_another_model_are_refused(write_model):
    node = ModelData(write_model('one'))
    node.base.attributes.set('content_hash', '0' * 40)
    with pytest.raises(ValidationError, match="'content_hash'"):
        node.store()
    with pytest.raises(ValidationError, match=r'model\.safetensors'):
        ModelData().store()


def test_metrics_with_many_digits_can_be_stored(write_model):
    node = ModelData(write_model('digits', metrics={'test': {'total': {'mae': 1 / 3 + 1e-16, 'rows': 3}}})).store()
    assert node.card.metrics['test']['total']['mae'] == pytest.approx(1 / 3)
