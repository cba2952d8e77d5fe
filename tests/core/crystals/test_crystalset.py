"""``CrystalSet``: round trip, hashes, rows, and invalid files."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.core.crystals import Crystal, CrystalSet, Failure
from aiida_goectp.core.crystals.crystalset import CrystalFile
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import write_npz

from .builders import crystals, rocksalt


@pytest.fixture
def crystal_set():
    rows = [rocksalt('a'), rocksalt('b', 5.64, (11, 17)), Crystal('c', np.eye(3) * 3, np.array([84]), np.zeros((1, 3)))]
    properties = {'band_gap': [7.8, np.nan, 0.0], 'n': [1, 2, 3], 'ok': [True, False, True], 'name': ['ε', '', 'Po']}
    return CrystalSet.from_crystals(rows, properties, [Failure('d', 'bad_lattice', 'flat, “really”')])


def equal(first: CrystalSet, second: CrystalSet) -> bool:
    names = ('lattices', 'atom_offsets', 'atomic_numbers', 'fractional_positions', 'ids')
    return (
        all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)
        and first.failures == second.failures
        and set(first.properties) == set(second.properties)
        and all(
            np.array_equal(column, second.properties[name], equal_nan=column.dtype.kind == 'f')
            for name, column in first.properties.items()
        )
    )


def test_round_trip(crystal_set, tmp_path):
    crystal_set.save(tmp_path / 'crystals.npz')
    again = CrystalSet.load(tmp_path / 'crystals.npz')
    assert equal(crystal_set, again)
    assert {name: column.dtype.kind for name, column in again.properties.items()} == {
        'band_gap': 'f',
        'n': 'i',
        'ok': 'b',
        'name': 'U',
    }
    assert again.hashes.tolist() == crystal_set.hashes.tolist()


def test_bytes_do_not_depend_on_the_order_of_properties(crystal_set):
    first, second = io.BytesIO(), io.BytesIO()
    crystal_set.save(first)
    reversed_properties = dict(reversed(crystal_set.properties.items()))
    CrystalSet.from_crystals(crystal_set, reversed_properties, crystal_set.failures).save(second)
    assert first.getvalue() == second.getvalue()


def test_round_trip_of_an_empty_set(tmp_path):
    empty = CrystalSet.from_crystals([], {'band_gap': []}, [Failure('a', 'no_atoms', 'none')])
    empty.save(tmp_path / 'crystals.npz')
    again = CrystalSet.load(tmp_path / 'crystals.npz')
    assert len(again) == 0
    assert again.failures == empty.failures
    assert again.hashes.shape == (0,)


def test_rows(crystal_set):
    assert len(crystal_set) == 3
    assert crystal_set.atom_counts.tolist() == [2, 2, 1]
    assert [row.id for row in crystal_set] == ['a', 'b', 'c']
    assert crystal_set[1].atomic_numbers.tolist() == [11, 17]
    assert np.array_equal(crystal_set[2].lattice, np.eye(3) * 3)


def test_take(crystal_set):
    taken = crystal_set.take([2, 0])
    assert taken.ids.tolist() == ['c', 'a']
    assert taken.hashes.tolist() == crystal_set.hashes[[2, 0]].tolist()
    assert taken.properties['name'].tolist() == ['Po', 'ε']
    assert taken.failures == ()
    assert crystal_set.take([], keep_failures=True).failures == crystal_set.failures
    assert len(crystal_set.take([])) == 0


@given(st.lists(crystals(), min_size=1, max_size=5), st.randoms())
def test_take_equals_a_set_of_the_reordered_crystals(rows, random):
    named = [row._replace(id=str(number)) for number, row in enumerate(rows)]
    order = list(range(len(named)))
    random.shuffle(order)
    joined = CrystalSet.from_crystals([named[row] for row in order])
    assert equal(CrystalSet.from_crystals(named).take(order), joined)


@given(crystals())
def test_the_hash_depends_neither_on_id_properties_nor_rounding(crystal):
    alone = CrystalSet.from_crystals([crystal]).hashes[0]
    other = CrystalSet.from_crystals([rocksalt('first'), crystal._replace(id='other name')], {'gap': [1.0, 2.0]})
    assert other.hashes[1] == alone
    rounded_differently = crystal._replace(
        lattice=crystal.lattice * (1 + 1e-15), fractional_positions=crystal.fractional_positions.astype(np.longdouble)
    )
    rounded = np.round(crystal.lattice * 1e8) / 1e8
    if np.abs(np.abs(crystal.lattice * 1e8 % 1) - 0.5).min() > 1e-3:  # else rounding is ambiguous
        assert CrystalSet.from_crystals([rounded_differently]).hashes[0] == alone
        assert CrystalSet.from_crystals([crystal._replace(lattice=rounded)]).hashes[0] == alone


@given(crystals(), st.integers(0, 8), st.sampled_from([1e-6, -1e-6, 1.0]))
def test_the_hash_depends_on_every_number(crystal, place, change):
    before = CrystalSet.from_crystals([crystal]).hashes[0]
    lattice = crystal.lattice.copy()
    lattice.flat[place] += change
    positions = crystal.fractional_positions.copy()
    positions.flat[place % positions.size] += change
    numbers = crystal.atomic_numbers.copy()
    numbers[place % len(numbers)] = numbers[place % len(numbers)] % 118 + 1
    for changed in (
        crystal._replace(lattice=lattice),
        crystal._replace(fractional_positions=positions),
        crystal._replace(atomic_numbers=numbers),
    ):
        assert CrystalSet.from_crystals([changed]).hashes[0] != before


def test_the_hash_does_not_depend_on_the_sign_of_zero():
    crystal = rocksalt()
    minus = crystal._replace(lattice=np.where(crystal.lattice == 0, -0.0, crystal.lattice))
    assert CrystalSet.from_crystals([crystal]).hashes[0] == CrystalSet.from_crystals([minus]).hashes[0]


def test_an_empty_id_is_refused():
    with pytest.raises(FormatError, match='empty id in row 1'):
        CrystalSet.from_crystals([rocksalt(), rocksalt()._replace(id='')])


def test_a_duplicate_id_is_refused():
    with pytest.raises(FormatError, match="'MgO'"):
        CrystalSet.from_crystals([rocksalt(), rocksalt()])


def test_a_property_of_another_length_is_refused():
    with pytest.raises(FormatError, match=r'gap.*\(2,\)'):
        CrystalSet.from_crystals([rocksalt()], {'gap': [1.0, 2.0]})


def arrays_of(crystals: CrystalSet) -> dict[str, np.ndarray]:
    stream = io.BytesIO()
    crystals.save(stream)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if name not in ('format', 'version')}


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('lattices', lambda a: a[:2], "'ids'|'lattices'"),
        ('lattices', lambda a: a.astype('<c16'), 'complex128'),
        ('lattices', lambda a: a.reshape(9, 3), r'\(9, 3\)'),
        ('fractional_positions', lambda a: a[:, :2], r"'fractional_positions'.*\(5, 3\)"),
        ('fractional_positions', lambda a: a.astype(str), "'fractional_positions'"),
        ('atomic_numbers', lambda a: a.astype(float), "'atomic_numbers'"),
        ('atomic_numbers', lambda a: a[:-1], r"'fractional_positions'.*\(4, 3\)"),
        ('atom_offsets', lambda a: a[::-1].copy(), 'atom_offsets'),
        ('atom_offsets', lambda a: np.array([0, 4, 2, 5]), 'atom_offsets'),
        ('atom_offsets', lambda a: np.array([0, 2, 4, 10**12]), 'atom_offsets'),
        ('atom_offsets', lambda a: np.array([-2, 2, 4, 5]), 'atom_offsets'),
        ('atom_offsets', lambda a: a[:-1], 'atom_offsets'),
        ('ids', lambda a: a[:1], "'ids'|'lattices'"),
        ('ids', lambda a: np.array(['a', 'a', 'b']), "'a'"),
        ('ids', lambda a: np.arange(3), "'ids'"),
        ('failures', lambda a: a[:, :2], "'failures'"),
        ('failures', lambda a: np.array([['d', '', 'flat']]), "'failures'"),
        ('failures', lambda a: np.array([['d', 'bad_lattice', '']]), "'failures'"),
        ('property:n', lambda a: a[:2], "'property.n'"),
        ('property:n', lambda a: a.astype('M8[s]'), "'property.n'"),
        *((name, None, f"'{name}'") for name in ('lattices', 'atom_offsets', 'ids', 'failures')),
    ],
)
def test_files_with_invalid_arrays_are_refused(crystal_set, tmp_path, name, change, message):
    arrays = arrays_of(crystal_set)
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change(arrays[name])
    path = tmp_path / 'wrong.npz'
    write_npz(path, 'crystals', 1, arrays)
    with pytest.raises(FormatError, match=message) as caught:
        CrystalSet.load(path)
    assert str(path) in str(caught.value)


def test_other_kinds_versions_and_pickles_are_refused(crystal_set, tmp_path):
    arrays = arrays_of(crystal_set)
    path = tmp_path / 'x.npz'
    write_npz(path, 'predictions', 1, arrays)
    with pytest.raises(FormatError, match='predictions'):
        CrystalSet.load(path)
    write_npz(path, 'crystals', 2, arrays)
    with pytest.raises(FormatError, match='version 2'):
        CrystalSet.load(path)
    np.savez(path, **arrays)
    with pytest.raises(FormatError, match=r'x\.npz'):
        CrystalSet.load(path)
    np.savez(path, **(arrays | {'lattices': np.array([{}], dtype=object)}))
    with pytest.raises(FormatError, match=r'x\.npz'):
        CrystalSet.load(path)
    path.write_bytes(pickle.dumps(arrays))
    with pytest.raises(FormatError, match=r'x\.npz'):
        CrystalSet.load(path)


def test_a_truncated_file_is_refused_at_any_length(crystal_set):
    stream = io.BytesIO()
    crystal_set.save(stream)
    content = stream.getvalue()
    for length in range(0, len(content), 97):
        with pytest.raises(FormatError):
            CrystalSet.load(io.BytesIO(content[:length]))


def test_unknown_arrays_are_ignored(crystal_set):
    stream = io.BytesIO()
    crystal_set.save(stream)
    with zipfile.ZipFile(stream, 'a') as archive:
        extra = io.BytesIO()
        np.lib.format.write_array(extra, np.zeros(2))
        archive.writestr('more.npy', extra.getvalue())
    stream.seek(0)
    assert equal(CrystalSet.load(stream), crystal_set)


@pytest.mark.parametrize('size', [1, 2, 7])
def test_a_file_is_read_in_blocks(crystal_set, tmp_path, size):
    crystal_set.save(tmp_path / 'crystals.npz')
    with CrystalFile(tmp_path / 'crystals.npz') as rows:
        assert len(rows) == 3
        assert rows.failures() == crystal_set.failures
        assert {name: column.dtype.kind for name, column in rows.empty_properties().items()} == {
            name: column.dtype.kind for name, column in crystal_set.properties.items()
        }
        blocks = list(rows.blocks(size=size))
        assert [len(block) for block in blocks] == [min(size, 3 - first) for first in range(0, 3, size)]
        for first, block in zip(range(0, 3, size), blocks, strict=True):
            assert equal(block, crystal_set.take(range(first, min(first + size, 3))))
        assert equal(rows.rows(1, 3), crystal_set.take([1, 2]))
        assert equal(rows.take([2, 0]), crystal_set.take([2, 0]))
        assert len(rows.take([])) == 0


@pytest.mark.parametrize(
    'changed',
    [
        {'atom_offsets': np.array([0, 2, 1, 5])},
        {'atom_offsets': np.array([0, 2, 4, 6])},
        {'lattices': np.zeros((2, 3, 3))},
        {'property:n': np.arange(5)},
    ],
)
def test_a_file_whose_columns_do_not_fit_is_refused(crystal_set, tmp_path, changed):
    write_npz(tmp_path / 'crystals.npz', 'crystals', 1, crystal_set.arrays() | changed)
    with pytest.raises(FormatError):
        CrystalFile(tmp_path / 'crystals.npz')


def test_hashes_do_not_depend_on_the_other_rows(crystal_set):
    shifted = crystal_set.take([2, 1, 0])
    assert shifted.hashes.tolist() == crystal_set.hashes[::-1].tolist()
    alone = [CrystalSet.from_crystals([crystal]).hashes[0] for crystal in crystal_set]
    assert crystal_set.hashes.tolist() == alone
