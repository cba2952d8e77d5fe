"""What the columnar nodes have in common."""

import io

import numpy as np
import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.formats.npz import hash_arrays
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.predictions import PredictionsData

pytestmark = pytest.mark.usefixtures('aiida_profile')


def test_hash_of_arrays_depends_on_content_alone():
    arrays = {'a': np.array(['x', 'yy']), 'b': np.arange(3.0)}
    wider = {'b': np.arange(3.0), 'a': np.array(['x', 'yy'], dtype='<U9')}
    assert hash_arrays(arrays) == hash_arrays(wider)
    assert hash_arrays(arrays) == hash_arrays({**arrays, 'b': np.arange(3.0).astype('>f8')})
    for other in (
        {**arrays, 'b': np.arange(3)},
        {**arrays, 'b': np.arange(3.0).reshape(3, 1)},
        {'a': np.array(['xy', 'y']), 'b': np.arange(3.0)},
        {'c': arrays['a'], 'b': arrays['b']},
    ):
        assert hash_arrays(other) != hash_arrays(arrays)


def test_round_trip_through_the_profile(crystal_set, predict_by_hand):
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


def test_a_property_is_content(crystal_set):
    moved = {name: column + 1 for name, column in crystal_set.properties.items()}
    other = CrystalSet(
        crystal_set.lattices,
        crystal_set.atom_offsets,
        crystal_set.atomic_numbers,
        crystal_set.fractional_positions,
        crystal_set.ids,
        moved,
        crystal_set.failures,
    )
    assert CrystalsData(other).content_hash != CrystalsData(crystal_set).content_hash


def test_nothing_is_stored_without_a_table():
    with pytest.raises(ValidationError, match=r'exactly one file, crystals\.npz'):
        CrystalsData().store()


def test_a_summary_of_something_else_is_refused(crystal_set):
    node = CrystalsData(crystal_set)
    node.base.attributes.set('number', 7)
    with pytest.raises(ValidationError, match="'number' does not fit"):
        node.store()


def test_another_format_is_refused(crystal_set, predict_by_hand):
    node = CrystalsData(crystal_set)
    stream = io.BytesIO()
    predict_by_hand(crystal_set).save(stream)
    stream.seek(0)
    node.base.repository.put_object_from_filelike(stream, 'crystals.npz')
    with pytest.raises(ValidationError, match='expected a file of format aiida-goectp/crystals'):
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
