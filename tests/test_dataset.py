"""Labelled crystals and their files."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from aiida_goectp.dataset import Dataset
from aiida_goectp.npzfile import FormatError, read_npz, write_npz
from tests import tiny


def line(edge=4.0, electronic=2.0, ionic=5.0, **more):
    row = {'lattice': (np.eye(3) * edge).tolist(), 'species': ['Mg', 'O'], 'frac_coords': [[0, 0, 0], [0.5] * 3]}
    labels = {'eps_electronic': (np.eye(3) * electronic).tolist(), 'eps_ionic_fd': (np.eye(3) * ionic).tolist()}
    return {**row, **labels, **more}


def load(folder, lines, name='data.jsonl'):
    text = '\n'.join(item if isinstance(item, str) else json.dumps(item) for item in lines).encode()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith('.gz') else text)
    return Dataset.load(folder / name)


def test_a_file_keeps_everything(tmp_path):
    data = tiny.some_dataset(9)
    data.save(tmp_path / 'data.npz')
    back = Dataset.load(tmp_path / 'data.npz')
    assert back.crystals.hashes.tolist() == data.crystals.hashes.tolist()
    np.testing.assert_array_equal(back.electronic, data.electronic)
    np.testing.assert_array_equal(back.ionic, data.ionic)


def test_rows_by_id(tmp_path):
    data = tiny.some_dataset(6)
    assert data.rows_of(['c4', 'c0']).tolist() == [4, 0]
    taken = data.take([4, 0])
    assert taken.crystals.ids.tolist() == ['c4', 'c0']
    np.testing.assert_array_equal(taken.electronic, data.electronic[[4, 0]])
    assert data.rows_of([]).tolist() == []
    with pytest.raises(FormatError, match='1 ids of the split are not in the dataset: c9'):
        data.rows_of(['c1', 'c9'])


@pytest.mark.parametrize('name', ['data.jsonl', 'data.jsonl.gz'])
def test_json_lines(tmp_path, name):
    skew = [[2.0, 0.2, 0], [0.0, 2.0, 0], [0, 0, 3.0]]
    lines = [
        line(id='a', eps_electronic=skew, formula='MgO'),
        '',
        line(id='b', ionic_ok=False),
        line(id='c', eps_ionic_fd=None),
    ]
    data = load(tmp_path, lines, name)
    assert data.crystals.ids.tolist() == ['a', 'b', 'c']
    np.testing.assert_allclose(data.electronic[0], [[2, 0.1, 0], [0.1, 2, 0], [0, 0, 3]])  # symmetrised
    assert np.isnan(data.ionic).all(axis=(1, 2)).tolist() == [False, True, True]
    assert np.isfinite(data.electronic).all()
    assert data.crystals.properties['formula'].tolist() == ['MgO', '', '']


def test_every_label_stays_with_its_crystal(tmp_path):
    """Ids may be missing or stand twice, and rows between may be no crystals: no label may wander."""
    edges = np.linspace(4, 5, 7)
    lines = [line(edge, electronic=edge) for edge in edges]
    lines[1]['id'] = lines[4]['id'] = 'twice'
    lines[2]['species'] = ['Mg', 'Qq']
    lines.insert(3, '{"cut off')
    data = load(tmp_path, lines)
    assert len(data) == 6
    assert {failure.code for failure in data.crystals.failures} == {'unknown_element', 'unreadable_row'}
    np.testing.assert_allclose(data.electronic[:, 0, 0], data.crystals.lattices[:, 0, 0])
    np.testing.assert_allclose(data.crystals.lattices[:, 0, 0], np.delete(edges, 2))


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        ([line(id='a', eps_electronic=[[1, 2], [3, 4]])], r'row a: eps_electronic has shape \(2, 2\)'),
        ([line(id='a', eps_ionic=[['x'] * 3] * 3)], 'row a: eps_ionic is no table of numbers'),
        ([line(id='a', eps_electronic=None, eps_ionic_fd=None)], 'no row carries a label'),
        (['{'], 'not one crystal could be read; unreadable_row'),
        ([], 'the file is empty'),
    ],
)
def test_bad_lines_are_refused(tmp_path, lines, words):
    with pytest.raises(FormatError, match=words) as caught:
        load(tmp_path, lines)
    assert 'data.jsonl' in str(caught.value)


@pytest.mark.parametrize('content', [b'no gzip', gzip.compress(b'{}' * 999)[:-9]])
def test_a_damaged_archive(tmp_path, content):
    (tmp_path / 'data.jsonl.gz').write_bytes(content)
    with pytest.raises(FormatError, match=r'data\.jsonl\.gz: cannot be read, or cut off'):
        Dataset.load(tmp_path / 'data.jsonl.gz')


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'electronic': np.zeros((8, 3, 3))}, "'electronic' has shape"),
        ({'ionic': None}, "array 'ionic' is missing"),
        ({'crystals': np.zeros(30, np.uint8)}, 'not a crystals.npz'),
        ({'crystals': np.zeros((2, 2))}, "'crystals' has shape"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, change, words):
    path = tmp_path / 'data.npz'
    tiny.some_dataset(9).save(path)
    arrays = {**read_npz(path, 'dataset', 2), **change}
    write_npz(path, 'dataset', 2, {name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(FormatError, match=words):
        Dataset.load(path)


def test_the_labelled_set(shared):
    data = Dataset.load(shared / 'data' / 'phonondb_born.jsonl.gz')
    known = [np.isfinite(labels).all(axis=(1, 2)) for labels in (data.electronic, data.ionic)]
    assert (known[0] & known[1]).sum() == 4119
    np.testing.assert_allclose(data.electronic[0], np.eye(3) * 6.99290513)
