"""The container of every table: same content same bytes, atomic, and no hostile file gets past it."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest

from aiida_goectp.core.formats.npz import FormatError, check_shape, read_npz, write_npz


class Bomb:
    """Unpickling it would raise: the tests would see it."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was run')",))


def archive_of(members: dict[str, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    stream.seek(0)
    return stream


def npy(array, allow_pickle=False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=allow_pickle)
    return stream.getvalue()


HEADER = {'format.npy': npy('aiida-goectp/thing'), 'version.npy': npy(1)}


@pytest.fixture
def written(tmp_path):
    path = tmp_path / 'thing.npz'
    write_npz(path, 'thing', 1, {'a': np.arange(1000.0), 'text': np.array(['ε', 'Ångström'])})
    return path


def test_round_trip(written):
    arrays = read_npz(written, 'thing', 1)
    assert set(arrays) == {'a', 'text'}
    assert np.array_equal(arrays['a'], np.arange(1000.0))
    assert arrays['text'].tolist() == ['ε', 'Ångström']


def test_same_content_gives_the_same_bytes(tmp_path, written):
    again = tmp_path / 'again.npz'
    write_npz(again, 'thing', 1, {'a': np.arange(1000.0), 'text': np.array(['ε', 'Ångström'])})
    assert again.read_bytes() == written.read_bytes()


def test_an_existing_file_is_replaced_and_nothing_else_is_left(written):
    write_npz(written, 'thing', 1, {'a': np.zeros(3)})
    assert np.array_equal(read_npz(written, 'thing', 1)['a'], np.zeros(3))
    assert [path.name for path in written.parent.iterdir()] == ['thing.npz']


def test_objects_are_not_written_and_the_old_file_survives(written):
    before = written.read_bytes()
    with pytest.raises(ValueError, match='Object arrays cannot be saved'):
        write_npz(written, 'thing', 1, {'a': np.array([{}, None], dtype=object)})
    assert written.read_bytes() == before


@pytest.mark.parametrize('length', [0, 1, 100, -200, -1])
def test_a_cut_off_file_is_named(written, length):
    content = written.read_bytes()
    written.write_bytes(content[:length])
    with pytest.raises(FormatError, match=r'thing\.npz.*(not a thing\.npz|cut off)'):
        read_npz(written, 'thing', 1)


def test_a_flipped_byte_is_noticed(written):
    content = bytearray(written.read_bytes())
    with zipfile.ZipFile(written) as archive:
        info = archive.getinfo('a.npy')
    content[info.header_offset + 30 + len('a.npy') + info.compress_size // 2] ^= 0xFF
    written.write_bytes(content)
    with pytest.raises(FormatError):
        read_npz(written, 'thing', 1)


def test_a_plain_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / 'evil.npz'
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FormatError, match='not a thing'):
        read_npz(path, 'thing', 1)


def test_a_pickle_inside_is_refused_and_not_run():
    stream = archive_of({**HEADER, 'a.npy': npy(np.array([Bomb()], dtype=object), allow_pickle=True)})
    with pytest.raises(FormatError, match='cannot be read safely'):
        read_npz(stream, 'thing', 1)


def test_members_that_are_no_arrays_are_refused():
    with pytest.raises(FormatError, match='cannot be read safely'):
        read_npz(archive_of({**HEADER, 'a.npy': b'no array at all, only a text'}), 'thing', 1)


@pytest.mark.parametrize('count', [9, 10**14, -1])
def test_a_header_that_promises_another_size(count):
    """The memory of a promised petabyte is not asked for."""
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, {'descr': '<f8', 'fortran_order': False, 'shape': (count,)})
    with pytest.raises(FormatError, match='cannot be read safely'):
        read_npz(archive_of({**HEADER, 'a.npy': start.getvalue() + bytes(64)}), 'thing', 1)


@pytest.mark.parametrize(
    ('members', 'message'),
    [
        ({}, 'no format name'),
        ({'version.npy': npy(1)}, 'no format name'),
        ({**HEADER, 'format.npy': npy('aiida-goectp/other')}, "found 'aiida-goectp/other'"),
        ({**HEADER, 'version.npy': npy(2)}, 'version 2 of the thing format; this package reads version 1'),
        ({**HEADER, 'version.npy': npy('1')}, 'version 1 of the thing format'),
        ({**HEADER, 'version.npy': npy([1, 1])}, r'version \[1 1\]'),
        ({'format.npy': npy('aiida-goectp/thing')}, 'version -1'),
    ],
)
def test_another_kind_or_version(members, message):
    with pytest.raises(FormatError, match=message):
        read_npz(archive_of(members), 'thing', 1)


def test_no_such_file(tmp_path):
    with pytest.raises(FormatError, match='no such file'):
        read_npz(tmp_path / 'none.npz', 'thing', 1)


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        (None, "x: array 'a' is missing"),
        (np.zeros((2, 4)), r'has shape \(2, 4\) of float64, expected shape \(any, 3\)'),
        (np.zeros(3), r'has shape \(3,\)'),
        (np.zeros((2, 3), dtype=complex), 'complex128'),
        (np.zeros((2, 3), dtype='U1'), '<U1'),
    ],
)
def test_check_shape_says_what_is_wrong(array, message):
    with pytest.raises(FormatError, match=message):
        check_shape('x', 'a', array, (None, 3), 'f')


def test_check_shape_passes_what_fits():
    array = np.zeros((0, 3), dtype=np.float32)
    assert check_shape('x', 'a', array, (None, 3), 'f') is array
