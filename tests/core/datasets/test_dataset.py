"""The dataset, its files and splits, and datasets in JSON lines."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import read_npz, write_npz
from tests import tiny


def line(edge=4.0, electronic=2.0, ionic=5.0, **more):
    row = {'lattice': (np.eye(3) * edge).tolist(), 'species': ['Mg', 'O'], 'frac_coords': [[0, 0, 0], [0.5] * 3]}
    labels = {'eps_electronic': (np.eye(3) * electronic).tolist(), 'eps_ionic_fd': (np.eye(3) * ionic).tolist()}
    return {**row, **labels, **more}


def load(folder, lines, name='data.jsonl'):
    text = '\n'.join(item if isinstance(item, str) else json.dumps(item) for item in lines).encode()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith('.gz') else text)
    return Dataset.load(folder / name)


def full(count=9):
    """Return a dataset in which every column differs between rows."""
    data = tiny.some_dataset(count)
    atoms = np.repeat(np.arange(count), data.crystals.atom_counts)
    names = np.array([f'row {row}' for row in range(count)])
    gates = np.array(['', 'insulating', 'no_imaginary_mode'] * (count // 3))
    charges = atoms[:, None, None] + np.arange(9.0).reshape(3, 3)
    parts = np.array(['train', 'train', 'test'] * (count // 3))
    more = {'functional': names, 'origin': names, 'failed_gates': gates, 'splits': {'mine': parts}}
    return replace(data, born_charges=charges, **more, split_settings={'mine': {'kind': 'given', 'by': 'hand'}})


def test_round_trip(tmp_path):
    data = full()
    data.save(tmp_path / 'data.npz')
    back = Dataset.load(tmp_path / 'data.npz')
    assert back.crystals.hashes.tolist() == data.crystals.hashes.tolist()
    for name in ('electronic', 'ionic', 'born_charges', 'functional', 'origin', 'failed_gates'):
        np.testing.assert_array_equal(getattr(back, name), getattr(data, name))
    assert back.splits['mine'].tolist() == data.splits['mine'].tolist()
    assert back.split_settings == {'mine': {'kind': 'given', 'by': 'hand'}}
    assert back.content_hash == data.content_hash
    back.save(tmp_path / 'again.npz')
    assert (tmp_path / 'again.npz').read_bytes() == (tmp_path / 'data.npz').read_bytes()


def test_take_keeps_rows_together():
    data = full()
    taken = data.take([7, 2, 0])
    assert taken.functional.tolist() == taken.origin.tolist() == ['row 7', 'row 2', 'row 0']
    owner = np.repeat([7, 2, 0], data.crystals.atom_counts[[7, 2, 0]])
    np.testing.assert_array_equal(taken.born_charges[:, 0, 0], owner)
    assert taken.splits['mine'].tolist() == ['train', 'test', 'train']
    assert len(data.take([]).born_charges) == len(data.take([])) == 0


def test_trainable_rows():
    data = full()
    assert data.trainable.tolist() == [True, False, True] * 3
    unlabelled = np.full((9, 3, 3), np.nan)
    assert not Dataset(data.crystals, unlabelled, unlabelled).trainable.any()
    assert np.flatnonzero(replace(data, electronic=unlabelled).trainable).tolist() == [3, 6]
    # a refused row is in no part, even if a given split contains it
    assert data.part('mine', 'train').crystals.ids.tolist() == ['c0', 'c3', 'c6']
    assert data.part('mine', 'test').crystals.ids.tolist() == ['c2', 'c5', 'c8']
    assert len(data.part('mine', 'validation')) == 0
    assert data.with_split('new', fractions=(0.5, 0.25, 0.25)).splits['new'][1::3].tolist() == [''] * 3
    given = data.with_given_split('given', {'train': ['c0', 'c1'], 'test': ['c2']})
    assert given.splits['given'].tolist()[:4] == ['train', '', 'test', '']


def test_a_refused_ionic_part_is_no_label():
    data, gates = full(), np.array(['ionic_not_negative', 'insulating', ''] * 3)
    ionic = np.tile(-50 * np.eye(3), (9, 1, 1))
    found = replace(data, ionic=ionic, failed_gates=gates)
    assert np.isnan(found.ionic).all(axis=(1, 2)).tolist() == [True, False, False] * 3
    assert np.isfinite(ionic).all()


def test_invalid_splits_are_refused():
    data = full()
    for make, name in (
        (lambda: data.part('other', 'train'), "'other'.*mine"),
        (lambda: data.part('mine', 'holdout'), 'holdout'),
        (lambda: data.with_split('mine'), 'mine'),
        (lambda: data.with_split(''), 'name'),
        (lambda: data.with_given_split('x', {'train': ['c0'], 'test': ['nobody']}), 'nobody'),
        (lambda: replace(data, splits={'mine': np.array(['train'])}), 'split:mine'),
    ):
        with pytest.raises(FormatError, match=name):
            make()


def test_columns_that_are_not_given_are_missing():
    data = Dataset(tiny.some_crystals(3))
    assert np.isnan(data.electronic).all()
    assert np.isnan(data.born_charges).all()
    assert (data.functional.tolist(), data.failed_gates.tolist()) == (['unknown'] * 3, [''] * 3)
    assert np.isnan(data.total).all()
    assert data.splits == data.split_settings == {}


def test_rows_by_id(tmp_path):
    data = tiny.some_dataset(6)
    assert data.rows_of(['c4', 'c0']).tolist() == [4, 0]
    taken = data.take([4, 0])
    assert taken.crystals.ids.tolist() == ['c4', 'c0']
    np.testing.assert_array_equal(taken.electronic, data.electronic[[4, 0]])
    assert data.rows_of([]).tolist() == []
    with pytest.raises(FormatError, match='c9'):
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
    """Also if ids are missing or duplicate, and if rows in between are invalid."""
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
    ('lines', 'name'),
    [
        ([line(id='a', eps_electronic=[[1, 2], [3, 4]])], r'row a: eps_electronic.*\(2, 2\)'),
        ([line(id='a', eps_ionic=[['x'] * 3] * 3)], 'row a: eps_ionic'),
        ([line(id='a', eps_electronic=None, eps_ionic_fd=None)], 'eps_electronic'),
        (['{'], 'unreadable_row'),
        ([], 'empty'),
    ],
)
def test_invalid_lines_are_refused(tmp_path, lines, name):
    with pytest.raises(FormatError, match=rf'data\.jsonl.*{name}'):
        load(tmp_path, lines)


@pytest.mark.parametrize('content', [b'no gzip', gzip.compress(b'{}' * 999, mtime=0)[:-9]])
def test_damaged_gzip_files_are_refused(tmp_path, content):
    (tmp_path / 'data.jsonl.gz').write_bytes(content)
    with pytest.raises(FormatError, match=r'data\.jsonl\.gz'):
        Dataset.load(tmp_path / 'data.jsonl.gz')


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        ({'electronic': np.zeros((8, 3, 3))}, 'electronic'),
        ({'ionic': None}, 'ionic'),
        ({'crystals': np.zeros(30, np.uint8)}, 'crystals'),
        ({'born_charges': np.zeros((9, 3, 3))}, 'born_charges'),
        ({'functional': np.array(['PBE'] * 8)}, 'functional'),
        ({'failed_gates': np.zeros(9)}, 'failed_gates'),
        ({'split:mine': np.array(['train'] * 8 + ['holdout'])}, "'mine'.*'holdout'"),
        ({'split:mine': np.zeros(9)}, 'split:mine'),
        ({'split_settings': np.array('[1]')}, 'split_settings'),
        ({'split_settings': np.array('{"mine": 3}')}, 'split_settings'),
        ({'unknown': np.zeros(3)}, 'unknown'),
    ],
)
def test_invalid_files_are_refused(tmp_path, change, name):
    path = tmp_path / 'data.npz'
    tiny.some_dataset(9).save(path)
    arrays = {**read_npz(path, 'dataset', 3), **change}
    write_npz(path, 'dataset', 3, {key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(FormatError, match=rf'data\.npz: .*{name}'):
        Dataset.load(path)


@pytest.mark.slow
def test_published_labels(shared):
    data = Dataset.load(shared / 'data' / 'phonondb_born.jsonl.gz')
    known = [np.isfinite(labels).all(axis=(1, 2)) for labels in (data.electronic, data.ionic)]
    assert (known[0] & known[1]).sum() == 4119
    np.testing.assert_allclose(data.electronic[0], np.eye(3) * 6.99290513)
