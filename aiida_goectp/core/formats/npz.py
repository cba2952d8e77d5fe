"""Versioned npz files: flat arrays with a format name and a version, never a pickle.

Every table that passes between the two wings of the package (crystals, predictions, rankings) is such a file. What
comes from outside is hostile: the header is checked first, then names, sizes and shapes, before anything is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

__all__ = ('FormatError', 'check_shape', 'hash_arrays', 'read_npz', 'read_table', 'write_npz')

_Table = TypeVar('_Table')

_DATE = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes
_MAX_BYTES = 32 * 2**30  # a header that promises more than this is refused before memory is taken


class FormatError(ValueError):
    """A file is not what it should be; the message names the file, what is wrong and the remedy."""


def write_npz(target: str | Path | IO[bytes], kind: str, version: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed npz of the given kind; the same content gives the same bytes.

    A path is replaced atomically: a reader sees the old file or the whole new one.

    :param target: path or binary stream
    :param kind: name of the format, e.g. ``crystals``
    :param version: version of the format
    :param arrays: name → array; object arrays are refused
    :raises ValueError: for an array of Python objects
    """
    if isinstance(target, str | Path):
        path = Path(target)
        temporary = path.with_name(path.name + '.writing')
        with temporary.open('wb') as stream:
            write_npz(stream, kind, version, arrays)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        return
    everything = {'format': np.array(f'aiida-goectp/{kind}'), 'version': np.array(version), **arrays}
    with zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
        for name, array in everything.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f'{name}.npy', _DATE), buffer.getvalue(), zipfile.ZIP_DEFLATED)


def read_npz(
    source: str | Path | IO[bytes], kind: str, version: int, older: Collection[int] = ()
) -> dict[str, np.ndarray]:
    """Read an npz of the given kind and version.

    :param source: path or binary stream
    :param older: versions that the caller can read as well; it tells them by the arrays
    :return: name → array, without the header
    :raises FormatError: not an npz, a pickle inside, another kind, a newer version, torn or oversized
    """
    label = str(source) if isinstance(source, str | Path) else getattr(source, 'name', 'the stream')
    try:
        with zipfile.ZipFile(source) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
                raise FormatError(f'{label}: larger than {_MAX_BYTES >> 30} GiB when unpacked; split the file')
            arrays = {name.removesuffix('.npy'): _read_member(archive, name) for name in archive.namelist()}
    except FileNotFoundError as error:
        raise FormatError(f'{label}: no such file') from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise FormatError(f'{label}: not a {kind}.npz of this package, or cut off ({error}); write it anew') from error
    except ValueError as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f'{label}: holds an array that cannot be read safely ({error})') from error
    found = str(arrays.pop('format', ''))
    if found != f'aiida-goectp/{kind}':
        raise FormatError(
            f'{label}: expected a file of format aiida-goectp/{kind}, found {found or "no format name"!r}'
        )
    held = arrays.pop('version', np.array(-1))
    if held.shape != () or held.dtype.kind not in 'iu' or int(held) not in (version, *older):
        raise FormatError(f'{label}: version {held} of the {kind} format; this package reads version {version}')
    return arrays


def read_table(
    make: Callable[..., _Table],
    source: str | Path | IO[bytes],
    kind: str,
    version: int,
    older: Collection[int] = (),
    texts: Collection[str] = (),
) -> _Table:
    """Read a table with settings from an npz of the given kind and version.

    :param make: called with the arrays, the texts and ``settings``, each by its name
    :param texts: names of the arrays that are one text
    :raises FormatError: as :func:`read_npz`, and what ``make`` refuses; the message names the file
    """
    arrays = read_npz(source, kind, version, older)
    label = str(source) if isinstance(source, str | Path) else f'{kind}.npz'
    try:
        settings = json.loads(str(arrays.pop('settings')))
        words = {name: str(arrays.pop(name)) for name in texts}
        return make(**arrays, **words, settings=settings)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise FormatError(f'{label}: a needed array is missing, or an unknown one is there ({error})') from error
    except FormatError as error:
        raise FormatError(f'{label}: {error}') from error


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as stream:  # numpy takes the memory that the header promises before it reads
        magic = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if magic not in read_header:
            raise ValueError(f'{name}: npy version {magic}')
        shape, _, dtype = read_header[magic](stream)
        promised = stream.tell() + math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and promised != archive.getinfo(name).file_size:
        raise ValueError(f'{name}: {promised} bytes promised, {archive.getinfo(name).file_size} there')
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def check_shape(
    label: str, name: str, array: np.ndarray | None, shape: tuple[int | None, ...], kinds: str
) -> np.ndarray:
    """Return the array if it exists with this shape and dtype kind.

    :param shape: expected sizes; ``None`` admits any
    :param kinds: admitted numpy dtype kinds, e.g. ``'f'`` or ``'iu'``
    :raises FormatError: it is missing or differs; the message says how
    """
    if array is None:
        raise FormatError(f'{label}: array {name!r} is missing')
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in kinds:
        wanted = '(' + ', '.join('any' if size is None else str(size) for size in shape) + ')'
        raise FormatError(f'{label}: array {name!r} has shape {array.shape} of {array.dtype}, expected shape {wanted}')
    return array


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Return a hash of named arrays: names, types, shapes and values, whatever the order and the compression.

    :param arrays: name → array, no Python objects
    """
    digest = hashlib.blake2b(digest_size=20)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        # the width of a text column follows its longest entry and says nothing by itself
        dtype = 'U' if array.dtype.kind == 'U' else array.dtype.newbyteorder('<').str
        digest.update(json.dumps([name, dtype, list(array.shape)]).encode())
        if array.dtype.kind == 'U':
            digest.update(json.dumps(array.tolist()).encode())
        else:
            digest.update(array.astype(array.dtype.newbyteorder('<')).tobytes())
    return digest.hexdigest()
