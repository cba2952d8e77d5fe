"""Structure files of every kind to one ``CrystalSet``.

======================================== ==========================================================================
file name                                what it is
======================================== ==========================================================================
``*.npz``                                a crystal set of this package
``*.jsonl``                              JSON lines with lattice, species, frac_coords and properties
``*.cif``                                CIF; the frame is ASE's: a along x, b in the xy plane
``*.vasp``, ``*.poscar``, ``POSCAR*``,   VASP structure
``CONTCAR*``
``*.xyz``, ``*.extxyz``                  extended XYZ with one or many frames
======================================== ==========================================================================

Each of them may be compressed (``.gz``). What cannot be read or computed becomes a failure of the set, with a code:
``unreadable_file``, ``unreadable_row``, ``unknown_format``, ``partial_occupancy``, ``composition_mismatch``,
``symmetry_mismatch``, ``not_periodic`` and those of :func:`aiida_goectp.core.crystals.validation.check_crystal`.
"""

from __future__ import annotations

import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from aiida_goectp.core.crystals.cif import read_cif
from aiida_goectp.core.crystals.crystalset import CrystalSet, Failure
from aiida_goectp.core.crystals.entries import Entry, collect
from aiida_goectp.core.crystals.jsonlines import read_jsonlines
from aiida_goectp.core.crystals.structurefiles import read_extxyz, read_poscar
from aiida_goectp.core.formats.npz import FormatError

__all__ = (
    'SUFFIXES',
    'describe_failures',
    'read_bytes',
    'read_contents',
    'read_structures',
    'structure_files',
    'unpacked',
)

_MAX_BYTES = 4 * 2**30
"""a gzip file that unpacks to more is refused"""

_Reader = Callable[[str, str, bytes], Iterator[Entry]]


def _read_crystals(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    try:
        crystals = CrystalSet.load(io.BytesIO(content))
    except FormatError as error:
        text = str(error).removeprefix('the stream: ').removeprefix('crystals.npz: ')
        yield Entry(Failure(stem, 'unreadable_file', text), {}, name)
        return
    columns = {key: column.tolist() for key, column in crystals.properties.items()}
    for row, crystal in enumerate(crystals):
        yield Entry(crystal, {key: column[row] for key, column in columns.items()}, f'{name}, row {row}')
    for failure in crystals.failures:
        yield Entry(failure, {})


_READERS: dict[str, _Reader] = {
    '.npz': _read_crystals,
    '.jsonl': read_jsonlines,
    '.cif': read_cif,
    '.vasp': read_poscar,
    '.poscar': read_poscar,
    '.xyz': read_extxyz,
    '.extxyz': read_extxyz,
}

SUFFIXES = tuple(_READERS)
"""file name endings that are read, besides names that begin with POSCAR or CONTCAR"""

_KNOWN = f'{", ".join(SUFFIXES)}, POSCAR*, CONTCAR*, each with or without .gz'


def read_structures(paths: Sequence[str | Path]) -> CrystalSet:
    """Read structure files and folders of such files to one set, in the order given.

    A folder is read one level deep, sorted by name; files of other kinds and hidden ones in it are passed over. The id
    of a crystal is the stem of its file, with ``@0``, ``@1``, … for each of many in one file, or the ``id`` of a JSON
    line; an id that stood before gets ``#2``. Scalars of JSON lines and of extended XYZ frames become property columns.

    :raises FormatError: a path that does not exist, a folder without structure files, or not one crystal in all of it
    """
    files = [file for path in paths for file in structure_files(Path(path))]
    crystals = read_contents((str(file), _content(file)) for file in files)
    if not len(crystals):
        shown = ''.join(f'\n  {failure.code}: {failure.message}' for failure in crystals.failures[:5])
        more = len(crystals.failures) - 5
        raise FormatError(
            f'{", ".join(map(str, paths)) or "no path given"}: not one crystal could be read; the input needs at least '
            f'one whole structure ({_KNOWN}){shown}' + (f'\n  … and {more} more failures' if more > 0 else '')
        )
    return crystals


def read_contents(files: Iterable[tuple[str, bytes | Failure]]) -> CrystalSet:
    """Read the contents of several files to one set; the kind of each is told by its name.

    What cannot be read is among the failures; a set without a crystal is possible.

    :param files: (file name, content), or (file name, why there is none)
    """
    return collect(entry for name, content in files for entry in _entries(name, content))


def read_bytes(name: str, content: bytes) -> CrystalSet:
    """Read the content of one file to a set, as :func:`read_contents`."""
    return read_contents([(name, content)])


def describe_failures(failures: Iterable[Failure]) -> str:
    """Return how many failures there are of each code, most frequent first: ``3 bad_lattice, 1 unknown_element``."""
    counts = Counter(failure.code for failure in failures)
    return ', '.join(f'{count} {code}' for code, count in counts.most_common())


def structure_files(path: Path) -> list[Path]:
    """Return the file itself, or the structure files of a folder, one level deep and sorted by name.

    :raises FormatError: no such path, or a folder without structure files
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FormatError(f'{path}: no such file or folder')
    found = sorted(
        item for item in path.iterdir() if item.is_file() and not item.name.startswith('.') and _reader(item.name)[0]
    )
    if not found:
        raise FormatError(f'{path}: no structure file in this folder; looked for {_KNOWN}')
    return found


def _content(path: Path) -> bytes | Failure:
    try:
        return path.read_bytes()
    except OSError as error:
        return Failure(path.name, 'unreadable_file', f'cannot be read ({error.strerror})')


def _reader(name: str) -> tuple[_Reader | None, str]:
    """Return the reader for a file of this name, and the stem of the name."""
    base = PurePath(name).name
    plain = re.sub(r'\.gz$', '', base, flags=re.IGNORECASE)
    suffix = PurePath(plain).suffix.lower()
    if suffix in _READERS:
        return _READERS[suffix], plain[: -len(suffix)]
    if re.match(r'(POSCAR|CONTCAR)', plain):
        return read_poscar, plain
    return None, plain


def _entries(name: str, content: bytes | Failure) -> Iterator[Entry]:
    reader, stem = _reader(name)
    if isinstance(content, Failure):
        yield Entry(content, {}, name)
    elif reader is None:
        yield Entry(Failure(stem, 'unknown_format', f'a file of unknown kind; known are {_KNOWN}'), {}, name)
    else:
        try:
            plain = unpacked(content) if name.lower().endswith('.gz') else content
        except ValueError as error:
            yield Entry(Failure(stem, 'unreadable_file', f'{error}; fetch the file again'), {}, name)
            return
        yield from reader(name, stem, plain)


def unpacked(content: bytes) -> bytes:
    """Return the content of a gzip file of one or several members.

    :raises ValueError: no gzip, damaged, cut off, or larger than 4 GiB
    """
    pieces, size = [], 0
    rest = content
    while rest:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            pieces.append(unpacker.decompress(rest, _MAX_BYTES - size + 1))
        except zlib.error as error:
            raise ValueError(f'not a gzip file, or damaged ({error})') from error
        size += len(pieces[-1])
        if size > _MAX_BYTES:
            raise ValueError(f'larger than {_MAX_BYTES >> 30} GiB when unpacked')
        if not unpacker.eof:
            raise ValueError('the gzip stream is cut off')
        rest = unpacker.unused_data.lstrip(b'\0')
    return b''.join(pieces)
