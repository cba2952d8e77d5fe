"""Versioned npz files: arrays with a format name and a version, without pickles.

All tables of the package are such files. Files may be hostile: sizes are checked before memory is allocated, format and
version before any array is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

__all__ = ('FormatError', 'check_shape', 'hash_arrays', 'read_npz', 'read_versions', 'write_npz')

_DATE = (1980, 1, 1, 0, 0, 0)
"""of all members of the archive, so that equal content gives equal bytes"""
_MAX_BYTES = 32 * 2**30
"""of the unpacked file"""


class FormatError(ValueError):
    """Invalid file or settings; the message names the place, the error and the remedy."""


def write_npz(target: str | Path | IO[bytes], kind: str, version: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed npz of the given kind; equal content gives equal bytes.

    A path is replaced atomically: it contains the old file or the complete new one.

    :param target: path or binary stream
    :param kind: name of the format, such as ``crystals``
    :param version: version of the format
    :param arrays: name → array
    :raises ValueError: an array of Python objects
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
    members = {'format': np.array(f'aiida-goectp/{kind}'), 'version': np.array(version), **arrays}
    with zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
        for name, array in members.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f'{name}.npy', _DATE), buffer.getvalue(), zipfile.ZIP_DEFLATED)


def read_npz(source: str | Path | IO[bytes], kind: str, version: int, name: str = '') -> dict[str, np.ndarray]:
    """Read an npz of the given kind and version; see :func:`read_versions`.

    :return: name → array, without the header
    """
    return read_versions(source, kind, (version,), name)[1]


def read_versions(
    source: str | Path | IO[bytes], kind: str, versions: Sequence[int], name: str = ''
) -> tuple[int, dict[str, np.ndarray]]:
    """Read an npz of the given kind in one of several versions.

    :param source: path or binary stream
    :param versions: versions that are supported, ascending
    :param name: of the file in error messages; the path if not given
    :return: the version, and name → array without the header
    :raises FormatError: no npz file, a pickle inside, another kind or version, a truncated or an oversized file
    """
    label = name or (str(source) if isinstance(source, str | Path) else f'{kind}.npz')
    try:
        with zipfile.ZipFile(source) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
                raise FormatError(f'{label}: larger than {_MAX_BYTES >> 30} GiB when unpacked; split the file')
            arrays = {item.removesuffix('.npy'): _read_member(archive, item) for item in archive.namelist()}
    except FileNotFoundError as error:
        raise FormatError(f'{label}: no such file') from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise FormatError(f'{label}: not a {kind}.npz file, or truncated ({error}); write it again') from error
    except ValueError as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f'{label}: contains an array that cannot be read safely ({error})') from error
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
    return int(version), arrays


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as stream:  # numpy allocates the memory that the header declares before it reads
        magic = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if magic not in read_header:
            raise ValueError(f'{name}: npy version {magic}')
        shape, _, dtype = read_header[magic](stream)
        declared = stream.tell() + math.prod(shape) * dtype.itemsize
    size = archive.getinfo(name).file_size
    if not dtype.hasobject and declared != size:
        raise ValueError(f'{name}: {declared} bytes declared, {size} found')
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


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


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Return a hash of the names, dtypes, shapes and values of arrays, independent of their order.

    :param arrays: name → array, without Python objects
    """
    digest = hashlib.blake2b(digest_size=20)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        # the width of a text column depends on its longest entry only
        dtype = 'U' if array.dtype.kind == 'U' else array.dtype.newbyteorder('<').str
        digest.update(json.dumps([name, dtype, list(array.shape)]).encode())
        if array.dtype.kind == 'U':
            digest.update(json.dumps(array.tolist()).encode())
        else:
            digest.update(array.astype(array.dtype.newbyteorder('<')).tobytes())
    return digest.hexdigest()
