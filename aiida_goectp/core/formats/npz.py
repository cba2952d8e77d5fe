"""Versioned npz files: arrays with a format name and a version, without pickles.

All tables of the package are such files. Files may be hostile: sizes are checked before memory is allocated, format and
version before any array is used. Arrays take at most 100 times the size of the file plus 64 MiB.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import numpy as np

from aiida_goectp.core.formats.deflate import BlockCompressor, compressing_threads
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.storage import replacing

__all__ = (
    'BLOCK_ROWS',
    'Blocks',
    'NpzContext',
    'NpzFile',
    'RowReader',
    'check_shape',
    'hash_arrays',
    'read_npz',
    'read_versions',
    'reading',
    'unpacked_limit',
    'write_npz',
)

_DATE = (1980, 1, 1, 0, 0, 0)
"""of all members of the archive, so that equal content gives equal bytes"""
_MAX_RATIO, _ALLOWANCE = 100, 64 * 2**20
"""a file may unpack to this multiple of its size plus an allowance in bytes; the writer keeps to it"""
_LEVEL = 1
"""of compression; higher ones take up to twice as long for random digits, of which they save a few percent"""
BLOCK_ROWS = 10_000
"""rows of an array that are read or hashed together"""
_BYTES_A_TEXT = 400
"""unpacked bytes that a file may have for each text: with the ratio above, one text for four bytes of the file"""


class Blocks(NamedTuple):
    """An array that is too large for the memory, as consecutive parts of its first axis."""

    dtype: np.dtype
    """of the whole array; a part of another width is converted"""
    shape: tuple[int, ...]
    """of the whole array"""
    read: Callable[[], Iterable[np.ndarray]]
    """returns the parts, in order; called once for each time that the array is written or hashed"""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def parts(self) -> Iterable[np.ndarray]:
        """Return the parts in the dtype of the whole array, each contiguous."""
        return (np.asarray(part, dtype=self.dtype, order='C') for part in self.read())


def write_npz(
    target: str | Path | IO[bytes], kind: str, version: int, arrays: Mapping[str, np.ndarray | Blocks]
) -> None:
    """Write arrays as a compressed npz of the given kind; equal content gives equal bytes.

    A path is replaced atomically: it contains the old file or the complete new one.

    :param target: path or binary stream
    :param kind: name of the format, such as ``crystals``
    :param version: version of the format
    :param arrays: name → array
    :raises ValueError: an array of Python objects
    :raises StorageError: the file cannot be written
    """
    if isinstance(target, str | Path):
        with replacing(Path(target)) as stream:
            write_npz(stream, kind, version, arrays)
        return
    header = {'format': np.array(f'aiida-goectp/{kind}'), 'version': np.array(version)}
    members: dict[str, np.ndarray | Blocks] = {
        name: array if isinstance(array, Blocks) else np.asarray(array) for name, array in (header | {**arrays}).items()
    }
    start, sizes = target.tell(), _write_archive(target, members)
    stored: set[str] = set()
    while not _fits(sizes, members, target.tell() - start) and len(stored) < len(sizes):
        # nearly all elements are equal: without compression of the largest array, a reader accepts the file
        stored.add(max(set(sizes) - stored, key=lambda name: (members[name].dtype.kind == 'U', sizes[name])))
        target.seek(start)
        target.truncate()
        _write_archive(target, members, stored)


def _write_archive(
    target: IO[bytes], members: Mapping[str, np.ndarray | Blocks], stored: Collection[str] = ()
) -> dict[str, int]:
    """Write an archive of arrays, and return the size of each in bytes.

    :param stored: names of the arrays that are not compressed
    """
    sizes = {}
    with zipfile.ZipFile(target, 'w') as archive, compressing_threads() as threads:
        for name, array in members.items():
            info = zipfile.ZipInfo(f'{name}.npy', _DATE)
            info.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            info.file_size = array.size * array.dtype.itemsize  # decides on 64-bit sizes
            with archive.open(info, 'w') as stream:
                if name not in stored:
                    stream._compressor = BlockCompressor(_LEVEL, threads)  # type: ignore[attr-defined]
                _write_array(stream, array)
            sizes[name] = info.file_size
    return sizes


def _write_array(stream: IO[bytes], array: np.ndarray | Blocks) -> None:
    """Write an array in pieces: the memory for its compressed form does not depend on its size."""
    if isinstance(array, np.ndarray):
        np.lib.format.write_array(stream, array, allow_pickle=False)
        return
    descr = np.lib.format.dtype_to_descr(array.dtype)
    header = {'descr': descr, 'fortran_order': False, 'shape': array.shape}
    np.lib.format.write_array_header_1_0(stream, header)
    for part in array.parts():
        stream.write(part.tobytes())


def _fits(sizes: Mapping[str, int], members: Mapping[str, np.ndarray | Blocks], packed: int) -> bool:
    """Return whether arrays are within what a reader accepts from a file of a size."""
    limit = packed * _MAX_RATIO + _ALLOWANCE
    texts = max((array.size for array in members.values() if array.dtype.kind == 'U'), default=0)
    return sum(sizes.values()) <= limit and texts <= limit // _BYTES_A_TEXT


def read_npz(source: str | Path | IO[bytes], kind: str, version: int, name: str = '') -> dict[str, np.ndarray]:
    """Read an npz of the given kind and version; see :func:`read_versions`.

    :return: name → array, without the header
    """
    return read_versions(source, kind, (version,), name)[1]


def read_versions(
    source: str | Path | IO[bytes], kind: str, versions: Sequence[int], name: str = '', limit: int | None = None
) -> tuple[int, dict[str, np.ndarray]]:
    """Read an npz of the given kind in one of several versions.

    :param source: path or binary stream
    :param versions: versions that are supported, ascending
    :param name: of the file in error messages; the path if not given
    :param limit: bytes to which the file may unpack; that of :func:`unpacked_limit` if not given
    :return: the version, and name → array without the header
    :raises FormatError: no npz file, a pickle inside, another kind or version, a truncated or an oversized file
    """
    label = name or (str(source) if isinstance(source, str | Path) else f'{kind}.npz')
    with reading(label, kind):
        limit = unpacked_limit(source) if limit is None else limit
        with zipfile.ZipFile(source) as archive:
            _check_archive(archive, limit)
            arrays = {item.removesuffix('.npy'): _read_member(archive, item, limit) for item in archive.namelist()}
    return _check_header(arrays, kind, versions, label), arrays


@contextmanager
def reading(label: str, kind: str) -> Iterator[None]:
    """Convert the errors of an npz file that is read within the context to :class:`FormatError`.

    :param label: begins the error messages
    :param kind: name of the format
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FormatError(f'{label}: no such file') from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise FormatError(f'{label}: not a {kind}.npz file, or truncated ({error}); write it again') from error
    except FormatError as error:
        raise FormatError(f'{label}: {error}') from error
    except ValueError as error:
        raise FormatError(f'{label}: contains an array that cannot be read safely ({str(error)[:300]})') from error


def _check_header(arrays: dict[str, np.ndarray], kind: str, versions: Sequence[int], label: str) -> int:
    """Remove format name and version from the arrays of a file, and return the version.

    :param label: begins the error message
    :raises FormatError: another kind or version
    """
    found = str(arrays.pop('format', ''))
    if found != f'aiida-goectp/{kind}':
        raise FormatError(f'{label}: expected format aiida-goectp/{kind}, found {found or "no format name"!r}')
    version = arrays.pop('version', np.array(-1))
    if version.shape != () or version.dtype.kind not in 'iu' or int(version) not in versions:
        supported = ', '.join(map(str, versions))
        raise FormatError(
            f'{label}: unknown version {version} of the {kind} format; supported: {supported}; '
            'read the file with the package version that wrote it'
        )
    return int(version)


def unpacked_limit(source: str | Path | IO[bytes]) -> int:
    """Return the number of bytes to which a file may unpack: 100 times its size, plus 64 MiB."""
    if isinstance(source, str | Path):
        return Path(source).stat().st_size * _MAX_RATIO + _ALLOWANCE
    place = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(place)
    return size * _MAX_RATIO + _ALLOWANCE


def _check_archive(archive: zipfile.ZipFile, limit: int) -> None:
    """Check what an archive declares, before anything is unpacked.

    :raises FormatError: it is too large when unpacked
    :raises ValueError: duplicate names, or another compression than deflate
    """
    members = archive.infolist()
    if (size := sum(info.file_size for info in members)) > limit:
        raise FormatError(
            f'{size >> 20} MiB when unpacked, more than {_MAX_RATIO} times the file and {_ALLOWANCE >> 20} MiB; '
            'damaged or hostile'
        )
    if len({info.filename for info in members}) < len(members):
        raise ValueError('duplicate names')
    if wrong := [info for info in members if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]:
        raise ValueError(f'{wrong[0].filename}: compression {wrong[0].compress_type}')


def _member_header(archive: zipfile.ZipFile, name: str, limit: int) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Return shape, dtype and whether the first index runs fastest, checked against the size of the member.

    :param name: of the member
    :param limit: bytes to which the file may unpack
    :raises ValueError: an invalid header, Python objects, or another size than declared
    """
    with archive.open(name) as stream:  # numpy allocates the memory that the header declares before it reads
        shape, fortran, dtype = _read_header(name, stream)
        count = math.prod(shape)
        declared = stream.tell() + count * dtype.itemsize
    size = archive.getinfo(name).file_size
    if declared != size:
        raise ValueError(f'{name}: {declared} bytes declared, {size} found')
    # elements that take no memory in the file do so later, and a text becomes a Python object
    if (dtype.kind == 'U' or not dtype.itemsize) and count > limit // _BYTES_A_TEXT:
        raise ValueError(f'{name}: {count} elements of {dtype} are too many for the size of the file')
    return shape, dtype, fortran


def _read_member(archive: zipfile.ZipFile, name: str, limit: int) -> np.ndarray:
    _member_header(archive, name, limit)
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _read_header(name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, order and dtype from the header of an array.

    :raises ValueError: an invalid header, or Python objects
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        magic = np.lib.format.read_magic(stream)
        shape, fortran, dtype = readers[magic](stream)
    except Exception as error:  # numpy evaluates the header as a Python literal, which can raise nearly anything
        raise ValueError(f'{name}: invalid npy header ({type(error).__name__}: {error})') from error
    if dtype.hasobject:
        raise ValueError(f'{name}: Python objects')
    return shape, fortran, dtype


def check_shape(
    label: str, name: str, array: np.ndarray | None, shape: tuple[int | None, ...], kinds: str
) -> np.ndarray:
    """Return an array that has the expected shape and dtype kind.

    :param label: begins the error message
    :param name: of the array, for the error message
    :param shape: expected lengths; ``None`` admits any
    :param kinds: admitted numpy dtype kinds, such as ``'f'`` or ``'iu'``
    :raises FormatError: a missing array, or another shape or dtype
    """
    if array is None:
        raise FormatError(f'{label}: array {name!r} is missing')
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in kinds:
        wanted = '(' + ', '.join('any' if size is None else str(size) for size in shape) + ')'
        raise FormatError(f'{label}: array {name!r} has shape {array.shape} of {array.dtype}, expected shape {wanted}')
    return array


def hash_arrays(arrays: Mapping[str, np.ndarray | Blocks]) -> str:
    """Return a hash of the names, dtypes, shapes and values of arrays, independent of their order.

    :param arrays: name → array, without Python objects
    """
    digest = hashlib.blake2b(digest_size=20)
    for name in sorted(arrays):
        array = arrays[name]
        blocks = array if isinstance(array, Blocks) else _in_blocks(np.ascontiguousarray(array))
        # the width of a text column depends on its longest entry only
        dtype = 'U' if blocks.dtype.kind == 'U' else blocks.dtype.newbyteorder('<').str
        digest.update(json.dumps([name, dtype, list(blocks.shape)]).encode())
        if blocks.dtype.kind == 'U':
            _hash_texts(digest, blocks)
        else:
            for part in blocks.parts():
                digest.update(part.astype(part.dtype.newbyteorder('<'), copy=False).tobytes())
    return digest.hexdigest()


def _in_blocks(array: np.ndarray) -> Blocks:
    pieces = [slice(first, first + BLOCK_ROWS) for first in range(0, len(array), BLOCK_ROWS)]
    return Blocks(array.dtype, array.shape, lambda: (array[piece] for piece in pieces))


def _hash_texts(digest: hashlib.blake2b, blocks: Blocks) -> None:
    """Hash the JSON list of texts, of which only a part is in memory."""
    separator = '['
    for part in blocks.parts():
        if len(part):
            digest.update(f'{separator}{json.dumps(part.tolist())[1:-1]}'.encode())
            separator = ', '
    digest.update(b']' if separator == ', ' else b'[]')


class RowReader:
    """Consecutive rows of one array of a file.

    :param stream: of the member, behind its header
    :param shape: of the array
    """

    def __init__(self, stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._stream, self._shape, self._dtype = stream, shape[1:], dtype
        self._row = math.prod(self._shape) * dtype.itemsize

    def skip(self, count: int) -> None:
        """Skip that many rows."""
        self._stream.seek(count * self._row, 1)

    def read(self, count: int) -> np.ndarray:
        """Return the next rows.

        :raises ValueError: the file ends before
        """
        content = self._stream.read(count * self._row)
        if len(content) < count * self._row:
            raise ValueError(f'{len(content)} bytes where {count * self._row} were expected')
        return np.frombuffer(content, dtype=self._dtype, count=count * math.prod(self._shape)).reshape(
            count, *self._shape
        )


_Context = TypeVar('_Context', bound='NpzContext')


class NpzContext:
    """A context that closes the file ``npz`` at its end."""

    npz: NpzFile

    def __enter__(self: _Context) -> _Context:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.npz.close()


class NpzFile(NpzContext):
    """Arrays of an npz file, read one by one or by rows, as a context; checked as by :func:`.read_versions`.

    :param source: path or seekable binary stream
    :param kind: name of the format
    :param versions: versions that are supported
    :param name: of the file in error messages; the path if not given
    :raises FormatError: as by :func:`.read_versions`
    """

    def __init__(self, source: str | Path | IO[bytes], kind: str, versions: Sequence[int], name: str = '') -> None:
        self.kind = kind
        self.label = name or (str(source) if isinstance(source, str | Path) else f'{kind}.npz')
        with reading(self.label, kind):
            self._limit = unpacked_limit(source)
            self._archive = zipfile.ZipFile(source)
            _check_archive(self._archive, self._limit)
            self._headers = {
                item.removesuffix('.npy'): _member_header(self._archive, item, self._limit)
                for item in self._archive.namelist()
            }
        header: dict[str, np.ndarray] = {
            name: self.array(name) for name in ('format', 'version') if name in self._headers
        }
        self.version = _check_header(header, kind, versions, self.label)

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array, without the header."""
        return {name: shape for name, (shape, *_) in self._headers.items() if name not in ('format', 'version')}

    def dtype(self, name: str) -> np.dtype:
        """Return the dtype of an array."""
        return self._headers[name][1]

    def array(self, name: str) -> np.ndarray:
        """Return a whole array.

        :raises FormatError: it is missing or damaged
        """
        if name not in self._headers:
            raise FormatError(f'{self.label}: array {name!r} is missing')
        with reading(self.label, self.kind), self._archive.open(f'{name}.npy') as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)

    def rows(self, name: str) -> RowReader:
        """Return a reader of the rows of an array, at the first one.

        :raises FormatError: it is missing, or stored column by column
        """
        if name not in self._headers:
            raise FormatError(f'{self.label}: array {name!r} is missing')
        shape, dtype, fortran = self._headers[name]
        if not shape or (fortran and len(shape) > 1):
            raise FormatError(f'{self.label}: array {name!r} is not stored row by row; write the file again')
        with reading(self.label, self.kind):
            stream = self._archive.open(f'{name}.npy')
            stream.read(self._archive.getinfo(f'{name}.npy').file_size - math.prod(shape) * dtype.itemsize)
            return RowReader(stream, shape, dtype)
