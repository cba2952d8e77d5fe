"""Storing, caching and validation of all table nodes."""

import io

import numpy as np
import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.predictions import PredictionsData

pytestmark = pytest.mark.usefixtures('aiida_profile')


def test_round_trip(crystal_set, predict_by_hand):
    node = load_node(CrystalsData(crystal_set).store().pk)
    assert list(node.crystals.ids) == list(crystal_set.ids)
    assert list(node.crystals.hashes) == list(crystal_set.hashes)
    assert node.crystals.failures == crystal_set.failures
    predictions = predict_by_hand(crystal_set, failed=[2])
    node = load_node(PredictionsData(predictions).store().pk)
    np.testing.assert_array_equal(node.predictions.electronic, predictions.electronic)
    assert node.base.attributes.get('failed') == 1
    assert node.model_hash == 'a' * 40
    assert len(node) == 6


def test_equal_content_has_one_caching_hash(crystal_set):
    first, second = CrystalsData(crystal_set).store(), CrystalsData(crystal_set)
    second.label = 'another name'
    second.store()
    assert first.base.caching.get_hash() == second.base.caching.get_hash()
    other = CrystalsData(crystal_set.take(range(5), keep_failures=True)).store()
    assert other.base.caching.get_hash() != first.base.caching.get_hash()


def test_property_columns_are_content(crystal_set):
    moved = {name: column + 1 for name, column in crystal_set.properties.items()}
    other = CrystalSet(
        crystal_set.lattices,
        crystal_set.atom_offsets,
        crystal_set.atomic_numbers,
        crystal_set.fractional_positions,
        crystal_set.ids,
        moved,
        failures=crystal_set.failures,
    )
    assert CrystalsData(other).content_hash != CrystalsData(crystal_set).content_hash


def test_a_node_without_a_table_is_refused():
    with pytest.raises(ValidationError, match=r'crystals\.npz'):
        CrystalsData().store()


def test_attributes_of_another_table_are_refused(crystal_set):
    node = CrystalsData(crystal_set)
    node.base.attributes.set('number', 7)
    with pytest.raises(ValidationError, match="'number'"):
        node.store()


def test_another_format_is_refused(crystal_set, predict_by_hand):
    node = CrystalsData(crystal_set)
    stream = io.BytesIO()
    predict_by_hand(crystal_set).save(stream)
    stream.seek(0)
    node.base.repository.put_object_from_filelike(stream, 'crystals.npz')
    with pytest.raises(ValidationError, match=r'aiida-goectp/crystals.*aiida-goectp/predictions'):
        node.store()


def test_an_empty_table_is_a_node(crystal_set):
    node = CrystalsData(crystal_set.take([], keep_failures=True)).store()
    assert len(node) == 0
    assert bool(node)
    assert node.base.attributes.get('failures') == 1


def test_a_hundred_thousand_crystals_are_one_cheap_node(crystal_set):
    n = 100_000
    rows = np.arange(n) % 6
    counts = crystal_set.atom_counts[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    atoms = np.repeat(crystal_set.atom_offsets[rows] - offsets[:-1], counts) + np.arange(offsets[-1])
    large = CrystalSet(
        crystal_set.lattices[rows],
        offsets,
        crystal_set.atomic_numbers[atoms],
        crystal_set.fractional_positions[atoms],
        np.char.add('c', np.arange(n).astype(str)),
        {'band_gap': crystal_set.properties['band_gap'][rows]},
    )
    node = CrystalsData(large).store()
    assert len(load_node(node.pk)) == n
    assert set(node.base.attributes.all) == {'number', 'atoms', 'failures', 'columns', 'elements', 'content_hash'}
