"""npz files: equal content gives equal bytes, writing is atomic, hostile files are refused."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import Blocks, NpzFile, check_shape, hash_arrays, read_npz, read_versions, write_npz


class Bomb:
    """Unpickling it raises."""

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


def test_equal_content_gives_equal_bytes(tmp_path, written):
    again = tmp_path / 'again.npz'
    write_npz(again, 'thing', 1, {'a': np.arange(1000.0), 'text': np.array(['ε', 'Ångström'])})
    assert again.read_bytes() == written.read_bytes()


def test_an_existing_file_is_replaced_and_nothing_else_is_left(written):
    write_npz(written, 'thing', 1, {'a': np.zeros(3)})
    assert np.array_equal(read_npz(written, 'thing', 1)['a'], np.zeros(3))
    assert [path.name for path in written.parent.iterdir()] == ['thing.npz']


def test_objects_are_not_written_and_the_old_file_survives(written):
    before = written.read_bytes()
    with pytest.raises(ValueError, match='Object'):
        write_npz(written, 'thing', 1, {'a': np.array([{}, None], dtype=object)})
    assert written.read_bytes() == before


@pytest.mark.parametrize('length', [0, 1, 100, -200, -1])
def test_truncated_files_are_refused(written, length):
    content = written.read_bytes()
    written.write_bytes(content[:length])
    with pytest.raises(FormatError, match=r'thing\.npz: '):
        read_npz(written, 'thing', 1)


def test_a_flipped_byte_is_detected(written):
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
    with pytest.raises(FormatError, match=r'evil\.npz: '):
        read_npz(path, 'thing', 1)


def test_a_pickle_inside_is_refused_and_not_run():
    stream = archive_of({**HEADER, 'a.npy': npy(np.array([Bomb()], dtype=object), allow_pickle=True)})
    with pytest.raises(FormatError, match='safely'):
        read_npz(stream, 'thing', 1)


def test_members_that_are_not_arrays_are_refused():
    with pytest.raises(FormatError, match='safely'):
        read_npz(archive_of({**HEADER, 'a.npy': b'no array at all, only a text'}), 'thing', 1)


@pytest.mark.parametrize('count', [9, 10**14, -1])
def test_headers_that_declare_another_size_are_refused(count):
    """The memory that a header declares is not allocated."""
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, {'descr': '<f8', 'fortran_order': False, 'shape': (count,)})
    with pytest.raises(FormatError, match='safely'):
        read_npz(archive_of({**HEADER, 'a.npy': start.getvalue() + bytes(64)}), 'thing', 1)


def header_of(descr, shape) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    content = text.encode().ljust(117) + b'\n'
    return b'\x93NUMPY\x01\x00' + len(content).to_bytes(2, 'little') + content


@pytest.mark.parametrize(
    'content',
    [
        b'\x93NUMPY\x01\x00\x10\x00{"descr": (((((((',
        b'\x93NUMPY\x01\x00\x10\x00' + b'\x00' * 16,
        b'\x93NUMPY\x01\x00\xff\xff{',
        b'\x93NUMPY\x09\x00\x10\x00{}',
        header_of("'<f8'", '(' * 50),
        header_of("'<f8'", '(True,)'),
        header_of("'<q8'", '(1,)'),
        header_of("[('a', '<f8', (10**9,))]", '(1,)'),
        header_of("'<U0'", '(10**17,)'),
        header_of("'|V0'", '(10**9, 10**9)'),
        header_of("'<f8'", '(10**30, 10**30)'),
        header_of("'|O'", '(1,)'),
    ],
)
def test_damaged_npy_headers_are_one_failure(content):
    with pytest.raises(FormatError, match=r'thing\.npz: .*safely'):
        read_npz(archive_of({**HEADER, 'a.npy': content}), 'thing', 1)


def compressed(members, kind=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        for name, content in members.items():
            archive.writestr(name, content, kind)
    stream.seek(0)
    return stream


def test_archives_that_unpack_to_a_large_multiple_are_refused():
    zeros = npy(np.zeros(10**7))  # 80 MB in less than 100 kB
    with pytest.raises(FormatError, match='76 MiB when unpacked'):
        read_npz(compressed({**HEADER, 'a.npy': zeros}), 'thing', 1)
    with pytest.raises(FormatError, match='compression 14'):
        read_npz(compressed({**HEADER, 'a.npy': npy(1)}, zipfile.ZIP_LZMA), 'thing', 1)


def test_many_texts_are_refused():
    texts = npy(np.zeros(10**6, dtype='U1'))
    with pytest.raises(FormatError, match='1000000 elements of <U1'):
        read_npz(compressed({**HEADER, 'a.npy': texts}), 'thing', 1)


@pytest.mark.parametrize('array', [np.zeros(10**7), np.zeros(10**6, dtype='U1')])
def test_what_is_written_is_read(array, tmp_path):
    """Equal elements compress beyond what a reader accepts: the largest array is stored as it is."""
    write_npz(tmp_path / 'thing.npz', 'thing', 1, {'a': array, 'b': np.arange(3)})
    arrays = read_npz(tmp_path / 'thing.npz', 'thing', 1)
    assert np.array_equal(arrays['a'], array)
    assert np.array_equal(arrays['b'], np.arange(3))


@pytest.mark.parametrize(
    ('members', 'found'),
    [
        ({}, 'format'),
        ({'version.npy': npy(1)}, 'format'),
        ({**HEADER, 'format.npy': npy('aiida-goectp/other')}, "'aiida-goectp/other'"),
        ({**HEADER, 'version.npy': npy(2)}, 'version 2'),
        ({**HEADER, 'version.npy': npy('1')}, 'version 1'),
        ({**HEADER, 'version.npy': npy([1, 1])}, r'version \[1 1\]'),
        ({'format.npy': npy('aiida-goectp/thing')}, 'version -1'),
    ],
)
def test_other_formats_and_versions_are_refused(members, found):
    with pytest.raises(FormatError, match=found):
        read_npz(archive_of(members), 'thing', 1)


def test_several_versions(written):
    version, arrays = read_versions(written, 'thing', (1, 2))
    assert (version, set(arrays)) == (1, {'a', 'text'})
    with pytest.raises(FormatError, match='2, 3'):
        read_versions(written, 'thing', (2, 3))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FormatError, match=r'none\.npz'):
        read_npz(tmp_path / 'none.npz', 'thing', 1)


@pytest.mark.parametrize(
    ('array', 'found'),
    [
        (None, ''),
        (np.zeros((2, 4)), r'\(2, 4\) of float64.*\(any, 3\)'),
        (np.zeros(3), r'\(3,\)'),
        (np.zeros((2, 3), dtype=complex), 'complex128'),
        (np.zeros((2, 3), dtype='U1'), '<U1'),
    ],
)
def test_check_shape_names_array_and_shape(array, found):
    with pytest.raises(FormatError, match=f"x: array 'a'.*{found}"):
        check_shape('x', 'a', array, (None, 3), 'f')


def test_check_shape_returns_the_array():
    array = np.zeros((0, 3), dtype=np.float32)
    assert check_shape('x', 'a', array, (None, 3), 'f') is array


def test_hash_depends_on_content_only():
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


def test_blocks_give_the_bytes_and_the_hash_of_the_whole_array(tmp_path):
    arrays = {
        'a': np.arange(60.0).reshape(10, 2, 3),
        'b': np.array(['', 'ε', 'long text', *'abcdefg']),
        'c': np.array(3),
    }
    blocks = {
        name: array if not array.ndim else Blocks(array.dtype, array.shape, lambda array=array: np.split(array, [3, 9]))
        for name, array in arrays.items()
    }
    for name, content in (('whole', arrays), ('blocks', blocks)):
        write_npz(tmp_path / name, 'thing', 1, content)
    assert (tmp_path / 'whole').read_bytes() == (tmp_path / 'blocks').read_bytes()
    assert hash_arrays(blocks) == hash_arrays(arrays)
    with NpzFile(tmp_path / 'blocks', 'thing', [1]) as file:
        assert file.shapes == {name: array.shape for name, array in arrays.items()}
        reader = file.rows('a')
        reader.skip(4)
        assert (reader.read(3) == arrays['a'][4:7]).all()
        assert (reader.read(3) == arrays['a'][7:]).all()
        with pytest.raises(ValueError, match='0 bytes where 48 were expected'):
            reader.read(1)
        assert (file.array('b') == arrays['b']).all()
        with pytest.raises(FormatError, match='missing'):
            file.rows('d')
    with pytest.raises(FormatError):
        NpzFile(tmp_path / 'blocks', 'other', [1])
    np.savez(tmp_path / 'fortran.npz', format='aiida-goectp/thing', version=1, a=np.asfortranarray(arrays['a'][0]))
    with pytest.raises(FormatError, match='row by row'), NpzFile(tmp_path / 'fortran.npz', 'thing', [1]) as file:
        file.rows('a')
