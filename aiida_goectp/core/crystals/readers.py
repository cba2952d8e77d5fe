"""Readers of structure files of all supported formats into one ``CrystalSet``.

======================================== ==========================================================================
file name                                format
======================================== ==========================================================================
``*.npz``                                crystal set of this package
``*.jsonl``                              JSON lines with lattice, species, frac_coords and properties
``*.cif``                                CIF; the frame is ASE's: a along x, b in the xy plane
``*.vasp``, ``*.poscar``, ``POSCAR*``,   VASP structure
``CONTCAR*``
``*.xyz``, ``*.extxyz``                  extended XYZ with one or many frames
``*.json``                               pymatgen: structures, computed entries, lists and dictionaries of them, any
                                         object that contains structures; or a database of ASE
``*.pymatgen.jsonl``                     objects of pymatgen that contain structures, one a line, as
                                         ``aiida-goectp fetch materials-project`` downloads them
``*.optimade.jsonl``                     entries of OPTIMADE, as ``aiida-goectp fetch optimade`` downloads them
``*.db``, ``*.traj``                     ASE: database (SQLite), trajectory
``phonopy.yaml``, ``phonopy_*.yaml``,    phonopy: primitive cell, or unit cell without one
``*.phonopy.yaml``
``pw.in``, ``*.pw.in``, ``*.pwi``        Quantum ESPRESSO input, any ``ibrav`` except −13
``geometry.in``, ``*.geometry.in``,      FHI-aims geometry
``geometry.in.next_step``
======================================== ==========================================================================

All of them may be compressed (``.gz``). A row that cannot be read or is not a valid crystal becomes a failure of the
set. Its code is ``unreadable_file``, ``empty_file``, ``unreadable_row``, ``unreadable_property``, ``unknown_format``,
``partial_occupancy``, ``composition_mismatch``, ``symmetry_mismatch``, ``not_periodic`` or one of
:func:`aiida_goectp.core.crystals.validation.check_crystal`.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.cif import read_cif
from aiida_goectp.core.crystals.crystalset import CrystalSet, Failure
from aiida_goectp.core.crystals.entries import Entry, collect
from aiida_goectp.core.crystals.jsonlines import read_jsonlines
from aiida_goectp.core.crystals.programs.ase_sqlite import read_ase_database
from aiida_goectp.core.crystals.programs.ase_trajectory import read_trajectory
from aiida_goectp.core.crystals.programs.inputs import read_aims, read_pw
from aiida_goectp.core.crystals.programs.optimade_entries import read_optimade
from aiida_goectp.core.crystals.programs.phonopy_yaml import read_phonopy
from aiida_goectp.core.crystals.programs.structure_json import read_structure_json, read_structure_lines
from aiida_goectp.core.crystals.structurefiles import read_extxyz, read_poscar
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.storage import RUN_ENDINGS

__all__ = (
    'SUFFIXES',
    'LeftOut',
    'LeftOutFile',
    'Listing',
    'entry_name',
    'list_structures',
    'needs_folder',
    'read_bytes',
    'read_contents',
    'read_structures',
    'unpack',
)

_MAX_RATIO, _ALLOWANCE = 100, 64 * 2**20
"""a gzip file may unpack to this multiple of its size plus an allowance in bytes; real tables stay below 20"""

_CHUNK = 2**20

_MAX_FAILURES = 10_000
"""rows of one file that may fail, besides ten for each crystal that was read; the rest of the file is not read then"""


class LeftOut(Enum):
    """Why a file or folder is not read."""

    UNKNOWN_KIND = 'unknown_kind'
    HIDDEN = 'hidden'
    SUBFOLDER = 'subfolder'
    RUN_FILE = 'run_file'
    SAME_CRYSTAL = 'same_crystal'


class LeftOutFile(NamedTuple):
    """A file or folder that is not read."""

    path: Path
    reason: LeftOut


class Listing(NamedTuple):
    """Files of a folder."""

    files: tuple[Path, ...]
    """structure files"""
    left_out: tuple[LeftOutFile, ...]


_Reader = Callable[[str, str, bytes], Iterator[Entry]]


class _RowProperties(Mapping[str, Any]):
    """Properties of one row: a view, since a dictionary would take ten times the memory of the columns."""

    __slots__ = ('_columns', '_row')

    def __init__(self, columns: Mapping[str, np.ndarray], row: int) -> None:
        self._columns, self._row = columns, row

    def __getitem__(self, name: str) -> Any:
        return self._columns[name][self._row].item()

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def _read_crystals(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    try:
        crystals = CrystalSet.load(io.BytesIO(content))
    except FormatError as error:
        text = str(error).removeprefix('crystals.npz: ')
        yield Entry(Failure(stem, 'unreadable_file', text), {}, name)
        return
    for row, crystal in enumerate(crystals):
        yield Entry(crystal, _RowProperties(crystals.properties, row), f'{name}, row {row}')
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
    '.optimade.jsonl': read_optimade,
    '.pymatgen.jsonl': read_structure_lines,
    '.json': read_structure_json,
    '.db': read_ase_database,
    '.traj': read_trajectory,
    '.phonopy.yaml': read_phonopy,
    '.pw.in': read_pw,
    '.pwi': read_pw,
    '.geometry.in': read_aims,
}

_NAMED: dict[str, _Reader] = {
    r'(POSCAR|CONTCAR)': read_poscar,
    r'phonopy(_\w+)?\.ya?ml': read_phonopy,
    r'pw\.in': read_pw,
    r'geometry\.in(\.next_step)?': read_aims,
}
"""names of files that all crystals share → reader"""

_ONE_CRYSTAL = (
    (r'CONTCAR', r'POSCAR'),
    (r'geometry\.in\.next_step', r'geometry\.in'),
    (r'phonopy(_\w+)?\.ya?ml',),
)
"""names of files of one crystal in a folder, the last state of a run first: the first one with content is read"""

_BARE = re.compile(rf'({"|".join(_NAMED)})(\.gz)?', re.IGNORECASE)

_OF_A_RUN = re.compile(rf'({"|".join(map(re.escape, RUN_ENDINGS))})(\.old\d*)?$|\.writing$')
"""names of files that goectp writes beside its output, possibly within the folder that it reads"""

SUFFIXES = tuple(_READERS)
"""suffixes of supported files, in addition to the names that all crystals share"""

_KNOWN = (
    f'{", ".join(SUFFIXES)}, POSCAR*, CONTCAR*, phonopy.yaml, phonopy_*.yaml, pw.in, geometry.in, each with or without '
    '.gz'
)
_REMEDY = 'Convert others with `ase convert FILE NEW.extxyz`; of a VASP run, give its CONTCAR'


def read_structures(paths: Sequence[str | Path], recursive: bool = False) -> CrystalSet:
    """Read structure files and folders of structure files into one set, in the given order.

    Files of a folder are read sorted by name, without hidden files, files of other formats, and the status, lock and
    partial files of a run of goectp. The id of a crystal is
    the stem of its file, the name of the folder for files called POSCAR, CONTCAR, pw.in and the like, with ``@0``,
    ``@1``, … if the file contains several (the number of the row in a database of ASE), or the ``id`` of a JSON line,
    of a frame of extended XYZ or of an object of pymatgen; repeated ids get ``#2``, ``#3``, …. Scalars of JSON lines,
    of extended XYZ frames, of trajectories, beside structures of pymatgen and in key-value pairs of ASE become property
    columns.

    :param paths: files and folders
    :param recursive: also the files in subfolders
    :raises FormatError: a path that does not exist, a folder without structure files, or no valid crystal at all
    """
    files = [file for path in paths for file in list_structures(Path(path), recursive).files]
    crystals = read_contents((entry_name(file), _content(file)) for file in files)
    if not len(crystals):
        listed = ''.join(f'\n  {failure.code}: {failure.message}' for failure in crystals.failures[:5])
        more = len(crystals.failures) - 5
        raise FormatError(
            f'{", ".join(map(str, paths)) or "no path given"}: not one crystal could be read; at least one complete '
            f'structure is required{listed or f" ({_KNOWN})"}' + (f'\n  … and {more} more failures' if more > 0 else '')
        )
    return crystals


def read_contents(files: Iterable[tuple[str, bytes | Failure]]) -> CrystalSet:
    """Read the contents of several files into one set, possibly without crystals; the name determines the format.

    :param files: (file name, content), or (file name, failure to read the file)
    """
    return collect(entry for name, content in files for entry in _entries(name, content))


def read_bytes(name: str, content: bytes) -> CrystalSet:
    """Read the content of one file into a set; see :func:`read_contents`."""
    return read_contents([(name, content)])


def list_structures(path: Path, recursive: bool = False) -> Listing:
    """Return the structure files of a folder sorted by name, and what is left out; a file is returned itself.

    :param recursive: also those in subfolders; links to folders are not followed
    :raises FormatError: the path does not exist, or is a folder without structure files
    """
    if path.is_file():
        return Listing((path,), ())
    if not path.is_dir():
        raise FormatError(f'{path}: no such file or folder')
    listing = _list_folder(path, recursive)
    if not listing.files:
        folders = sum(item.reason is LeftOut.SUBFOLDER for item in listing.left_out)
        more = f'; it has {folders} subfolders, read them with --recursive' if folders else ''
        raise FormatError(f'{path}: no structure file in this folder; supported are {_KNOWN}{more}. {_REMEDY}')
    return listing


def _list_folder(path: Path, recursive: bool) -> Listing:
    files: list[Path] = []
    left_out: list[LeftOutFile] = []
    for item in sorted(path.iterdir()):
        if item.name.startswith('.'):
            left_out.append(LeftOutFile(item, LeftOut.HIDDEN))
        elif item.is_dir() and (not recursive or item.is_symlink()):
            left_out.append(LeftOutFile(item, LeftOut.SUBFOLDER))
        elif item.is_dir():
            inner = _list_folder(item, recursive)
            files += inner.files
            left_out += inner.left_out
        elif item.is_file() and _OF_A_RUN.search(item.name):
            left_out.append(LeftOutFile(item, LeftOut.RUN_FILE))
        elif item.is_file() and _reader(item.name)[0] is not None:
            files.append(item)
        else:
            left_out.append(LeftOutFile(item, LeftOut.UNKNOWN_KIND))
    repeated = _repeated([item for item in files if item.parent == path])
    left_out += [LeftOutFile(item, LeftOut.SAME_CRYSTAL) for item in repeated]
    return Listing(tuple(item for item in files if item not in repeated), tuple(left_out))


def _repeated(files: list[Path]) -> list[Path]:
    """Return the files of a folder of which another one has the same crystal, or its state at the end of the run."""
    found: list[Path] = []
    for patterns in _ONE_CRYSTAL:
        ranked = sorted(
            (rank, item)
            for item in files
            for rank, pattern in enumerate(patterns)
            if re.fullmatch(rf'({pattern})(\.gz)?', item.name, re.IGNORECASE)
        )
        first = next((item for _, item in ranked if item.stat().st_size), None)
        found += [item for _, item in ranked if first not in (None, item)]
    return found


def needs_folder(name: str) -> bool:
    """Return whether all crystals share the name of the file, such as POSCAR: the id is the name of its folder."""
    return _BARE.fullmatch(name) is not None


def entry_name(path: Path) -> str:
    """Return the name under which a file is read: its path, with the name of the folder if the id needs it."""
    if not needs_folder(path.name) or path.parent.name not in ('', '..'):
        return str(path)
    return f'{path.resolve().parent.name}/{path.name}'


def _content(path: Path) -> bytes | Failure:
    try:
        return path.read_bytes()
    except OSError as error:
        return Failure(path.name, 'unreadable_file', f'cannot be read ({error.strerror})')


def _reader(name: str) -> tuple[_Reader | None, str]:
    """Return the reader for a file of this name (None: unknown format), and the stem of the name."""
    base = PurePath(name).name
    plain = re.sub(r'\.gz$', '', base, flags=re.IGNORECASE)
    for pattern, reader in _NAMED.items():
        if re.fullmatch(pattern, plain, re.IGNORECASE):
            return reader, PurePath(name).parent.name or plain
    suffixes = [suffix for suffix in SUFFIXES if plain.lower().endswith(suffix) and len(plain) > len(suffix)]
    if suffixes:
        suffix = max(suffixes, key=len)
        return _READERS[suffix], plain[: -len(suffix)]
    if re.match(r'(POSCAR|CONTCAR)', plain):
        return read_poscar, plain
    return None, plain


def _entries(name: str, content: bytes | Failure) -> Iterator[Entry]:
    reader, stem = _reader(name)
    if isinstance(content, Failure):
        yield Entry(content, {}, name)
    elif reader is None:
        message = f'unknown format; supported are {_KNOWN}. {_REMEDY}'
        yield Entry(Failure(stem, 'unknown_format', message), {}, name)
    else:
        try:
            plain = unpack(content) if name.lower().endswith('.gz') else content
        except ValueError as error:
            yield Entry(Failure(stem, 'unreadable_file', f'{error}; fetch the file again'), {}, name)
            return
        if not plain[:1024].strip() and not plain.strip():
            yield Entry(Failure(stem, 'empty_file', 'the file is empty; export it again'), {}, name)
            return
        yield from _limited(reader(name, stem, plain), stem, name)


def _limited(entries: Iterator[Entry], stem: str, name: str) -> Iterator[Entry]:
    """Yield the entries of a file until nearly all of many have failed: each failure takes memory."""
    room = _MAX_FAILURES
    for entry in entries:
        yield entry
        room += -1 if isinstance(entry.row, Failure) else 10
        if room < 0:
            text = f'more than {_MAX_FAILURES} rows failed; the rest of the file is not read'
            yield Entry(Failure(stem, 'unreadable_file', text), {}, name)
            return


def unpack(content: bytes) -> bytes:
    """Return the uncompressed content of a gzip file of one or more members.

    :raises ValueError: not a gzip file, damaged, cut off, or larger than 100 times its size plus 64 MiB
    """
    pieces, size, limit = [], 0, _MAX_RATIO * len(content) + _ALLOWANCE
    rest = content
    while rest:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            while rest and not unpacker.eof:
                pieces.append(unpacker.decompress(rest, _CHUNK))
                rest, size = unpacker.unconsumed_tail, size + len(pieces[-1])
                if size > limit:
                    raise ValueError(f'larger than {limit >> 20} MiB when unpacked, {_MAX_RATIO} times the file')
        except zlib.error as error:
            raise ValueError(f'not a gzip file, or damaged ({error})') from error
        if not unpacker.eof:
            raise ValueError('the gzip stream is cut off')
        rest = unpacker.unused_data.lstrip(b'\0')
    return b''.join(pieces)
