"""Reading of datasets and split files from outside."""

from __future__ import annotations

import gzip
import io
import json
import re

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.reading import read_dataset, with_split_file
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import write_npz
from tests import tiny
from tests.core.datasets.equivalent_crystals import dataset, low_symmetry, rutile

GOOD = np.diag([6.0, 6.0, 9.0])


def packed(data):
    stream = io.BytesIO()
    data.save(stream)
    return stream.getvalue()


def test_gates_are_applied_to_all_rows():
    rows = (
        (rutile(name='good'), GOOD, GOOD),
        (rutile(2.9, 'rotated'), GOOD[::-1, ::-1], GOOD),
        (rutile(3.0, 'soft'), GOOD, -3 * np.eye(3)),
    )
    data = read_dataset('mine.npz', packed(dataset(*rows, functional='unknown')), 'PBE')
    assert data.failed_gates.tolist() == ['', 'point_group', 'ionic_not_negative']
    assert data.trainable.tolist() == [True, False, True]
    assert np.isnan(data.ionic).all(axis=(1, 2)).tolist() == [False, False, True]
    assert data.origin.tolist() == ['mine.npz'] * 3
    assert data.functional.tolist() == ['PBE'] * 3
    # those that are stated remain
    stated = dataset(*rows, origin=np.array(['a', 'b', 'c']), failed_gates=np.array(['insulating', '', 'ionic_ok']))
    data = read_dataset('mine.npz', packed(stated), 'PBE')
    assert data.failed_gates.tolist() == ['insulating', 'point_group', 'ionic_ok']
    assert data.origin.tolist() == ['a', 'b', 'c']
    assert data.functional.tolist() == ['PBEsol'] * 3
    good = dataset(rows[0], origin=np.array(['a']))
    assert read_dataset('mine.npz', packed(good)).content_hash == good.content_hash


def test_gap_gate_of_a_property_column():
    data = dataset((rutile(), GOOD, GOOD))
    columns = {'band_gap': np.array([0.0])}
    crystals = CrystalSet.from_crystals([rutile()], columns)
    found = read_dataset('t.npz', packed(Dataset(crystals, data.electronic, data.ionic)))
    assert found.failed_gates.tolist() == ['insulating']
    # a gap of another source, beside a label that was computed
    computed = Dataset(crystals, data.electronic, data.ionic, origin=np.array(['10.1000/xyz']))
    assert read_dataset('t.npz', packed(computed)).failed_gates.tolist() == ['']


def test_version_1_is_read(tmp_path):
    old = tiny.some_dataset(6)
    stream = io.BytesIO()
    old.crystals.save(stream)
    arrays = {'crystals': np.frombuffer(stream.getvalue(), np.uint8), 'electronic': old.electronic, 'ionic': old.ionic}
    write_npz(tmp_path / 'old.npz', 'dataset', 1, arrays)
    data = Dataset.load(tmp_path / 'old.npz')
    np.testing.assert_array_equal(data.ionic, old.ionic)
    assert set(data.functional.tolist()) == {'unknown'}
    assert read_dataset('old.npz', (tmp_path / 'old.npz').read_bytes()).origin.tolist() == ['old.npz'] * 6
    write_npz(tmp_path / 'new.npz', 'dataset', 4, arrays)
    with pytest.raises(FormatError, match=r'new\.npz.*version 4'):
        Dataset.load(tmp_path / 'new.npz')


def test_invalid_crystals_become_failures():
    bad = tiny.bad_crystals()
    bad.pop('unknown_element')  # a valid element that the networks do not support
    rows = [low_symmetry('fine'), *bad.values()]
    labels = np.tile(GOOD, (len(rows), 1, 1))
    data = read_dataset('x.npz', packed(Dataset(CrystalSet.from_crystals(rows), labels, labels)))
    assert len(data) == 1
    assert {failure.code for failure in data.crystals.failures} == set(bad)
    with pytest.raises(FormatError, match=r'x\.npz.*not_finite'):
        read_dataset('x.npz', packed(Dataset(CrystalSet.from_crystals(rows[1:]), labels[1:], labels[1:])))


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('data.csv', b''),
        ('data.npz', b'PK nonsense'),
        ('data.npz', b''),
        ('data.jsonl.gz', gzip.compress(b'{}' * 99, mtime=0)[:-9]),
        ('data.jsonl', b'\xff\xfe'),
    ],
)
def test_files_of_other_kinds_are_refused(name, content):
    with pytest.raises(FormatError, match=f'^{re.escape(name)}: '):
        read_dataset(name, content)


def test_crystals_without_labels_are_refused():
    stream = io.BytesIO()
    tiny.some_crystals(3).save(stream)
    with pytest.raises(FormatError, match=r'crystals\.npz: .*aiida-goectp/dataset'):
        read_dataset('crystals.npz', stream.getvalue())


def test_a_file_with_a_pickle_is_refused(tmp_path):
    np.savez(tmp_path / 'evil.npz', format='aiida-goectp/dataset', version=2, crystals=np.array([{}], dtype=object))
    with pytest.raises(FormatError, match=r'evil\.npz: .*safely'):
        read_dataset('evil.npz', (tmp_path / 'evil.npz').read_bytes())


def test_split_file():
    data = tiny.some_dataset(6)
    parts = {'train': ['c1', 'c2', 'c3'], 'validation': [], 'test': ['c4']}
    found = with_split_file(data, 's.json', json.dumps({'splits': {'a': parts, 'b': {'train': ['c0']}}}).encode())
    assert found.splits['a'].tolist() == ['', 'train', 'train', 'train', 'test', '']
    assert found.part('b', 'train').crystals.ids.tolist() == ['c0']
    assert found.split_settings['a'] == {'kind': 'given'}


@pytest.mark.parametrize(
    ('content', 'name'),
    [
        (b'no json', ': '),
        (b'[]', ': '),
        (b'{"splits": {"a": [1]}}', ': '),
        (b'{"splits": {"a": {"train": ["c0", "zz"]}}}', ', split a: .*zz'),
        (b'{"splits": {"a": {"train": ["c0"], "held": ["c1"]}}}', ", split a: .*'held'"),
        (b'[' * 99999, ': '),
    ],
)
def test_invalid_split_files_are_refused(content, name):
    with pytest.raises(FormatError, match=rf'^s\.json{name}'):
        with_split_file(tiny.some_dataset(3), 's.json', content)
