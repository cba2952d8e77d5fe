"""The dataset node and its attributes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.data.dataset import DatasetData
from tests import tiny

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def data():
    whole = tiny.some_dataset(20)
    gates = np.array(['', 'insulating', 'ionic_ok', *[''] * 17])
    functional = np.array(['PBE'] * 5 + ['PBEsol'] * 15)
    charges = np.full((len(whole.crystals.atomic_numbers), 3, 3), np.nan)
    charges[:3] = np.eye(3)  # all atoms of the first crystal, one of the second
    return replace(whole, failed_gates=gates, functional=functional, born_charges=charges).with_split('mine', seed=4)


def test_round_trip_and_summary(data):
    node = load_node(DatasetData(data).store().pk)
    back = node.dataset
    assert back.content_hash == data.content_hash
    np.testing.assert_array_equal(back.born_charges, data.born_charges)
    assert back.failed_gates.tolist() == data.failed_gates.tolist()
    assert back.splits['mine'].tolist() == data.splits['mine'].tolist()
    assert back.split_settings == {'mine': {'kind': 'random', 'seed': 4, 'fractions': [0.8, 0.1, 0.1]}}
    get = node.base.attributes.get
    assert (len(node), get('trainable'), get('electronic'), get('ionic'), get('born_charges')) == (20, 19, 19, 14, 1)
    assert get('functionals') == {'PBE': 5, 'PBEsol': 15}
    assert node.splits == {'mine': {'train': 15, 'validation': 2, 'test': 2}}
    assert {'O', 'Sr', 'Ti'} <= set(get('elements'))


def test_every_column_is_content(data):
    reference = DatasetData(data).content_hash
    assert DatasetData(data.take(range(20))).content_hash == reference
    changes = (
        {'functional': np.full(20, 'PBE')},
        {'origin': np.full(20, 'somewhere')},
        {'failed_gates': np.full(20, '')},
        {'born_charges': data.born_charges * 2},
        {'splits': {}, 'split_settings': {}},
        {'split_settings': {'mine': {'kind': 'given'}}},
        {'ionic': data.electronic},
    )
    hashes = {DatasetData(replace(data, **change)).content_hash for change in changes}
    assert len(hashes) == len(changes)
    assert reference not in hashes


def test_attributes_of_another_dataset_are_refused(data):
    node = DatasetData(data)
    node.base.attributes.set('trainable', 20)
    with pytest.raises(ValidationError, match="'trainable'"):
        node.store()


def test_a_dataset_without_labels_is_a_node():
    node = DatasetData(Dataset(tiny.some_crystals(3))).store()
    assert node.base.attributes.get('trainable') == 0
    assert node.splits == {}
