"""Finished calculations in folders: which program, and which file is which part of it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import NamedTuple

from aiida_goectp.core.crystals.entries import clean_text
from aiida_goectp.core.dfpt import phonopy_set as phonopy
from aiida_goectp.core.dfpt.espresso_files import GROUND_STATE
from aiida_goectp.core.dfpt.espresso_response import MATRIX, OUTPUT, TENSORS
from aiida_goectp.core.dfpt.vasp_files import INCAR, OUTCAR, VASPRUN
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('Calculation', 'Program', 'SourceFile', 'find_calculations')

_HEAD = 4096
"""bytes of a file by which it is recognised"""
_MARKS = {
    OUTPUT: (b'Program PHONON',),
    MATRIX: (b'Dynamical matrix file', b'<GEOMETRY_INFO>'),  # text, XML
    TENSORS: (b'<EF_TENSORS>',),
    GROUND_STATE: (b'<qes:espresso',),
}
"""part of a calculation of Quantum ESPRESSO → texts, one of which is at the beginning of its file, whatever the name"""
_GAMMA = re.compile(
    rb'q = \( +-?0\.0+ +-?0\.0+ +-?0\.0+ \)|<DYNAMICAL_MAT_\.1>\s*<Q_POINT>(\s+-?0\.0+(E[+-]?0+)?){3}\s*</Q_POINT>'
)
_VASPRUN = re.compile(r'vasprun.*\.xml(\.gz)?')
_PHONOPY = (*phonopy.PARAMETERS, *phonopy.UNIT_CELLS, *phonopy.SUPERCELLS, *phonopy.FORCES, phonopy.BORN)


class Program(str, Enum):
    """Program that made a calculation."""

    VASP = 'vasp'
    QUANTUMESPRESSO = 'quantumespresso'
    PHONOPY = 'phonopy'

    __str__ = str.__str__


class SourceFile(NamedTuple):
    """A file of a calculation."""

    name: str
    """relative to the folder of the calculation"""
    read: Callable[[], bytes]
    """returns the content, compressed if the name ends in ``.gz``"""


class Calculation(NamedTuple):
    """A finished calculation."""

    name: str
    """path of its folder below the folder that was given, which becomes the id of the crystal"""
    folder: str
    program: Program
    files: Mapping[str, tuple[SourceFile, ...]]
    """candidates for each part, by the names that the readers of the program use"""


def find_calculations(folders: Sequence[Path], *, recursive: bool = True) -> list[Calculation]:
    """Return the calculations in folders, sorted by path.

    A folder with ``vasprun.xml`` or ``OUTCAR`` is one of VASP; one with the output of ``ph.x``, which is recognised by
    its beginning, one of Quantum ESPRESSO, whose other files may be in subfolders, and that of ``pw.x`` in a
    neighbouring folder; one with ``FORCE_SETS`` or ``FORCE_CONSTANTS``, ``BORN`` or ``phonopy_params.yaml`` is one of
    phonopy. Files may be compressed (``.gz``). Hidden folders and links to folders are not read.

    :param recursive: also those in subfolders
    :raises FormatError: no such folder, or no calculation in one of them
    """
    found: list[Calculation] = []
    for top in folders:
        if not top.is_dir():
            raise FormatError(f'{top}: no such folder')
        tree = {folder: files for folder, files in _walk(top)}
        wanted = list(tree) if recursive else [top]
        before = len(found)
        for folder in wanted:
            found += _of_folder(top, folder, tree[folder])
        found += _espresso(top, tree, wanted)
        if len(found) == before:
            more = '' if recursive or len(tree) == 1 else '; its subfolders are read with --recursive'
            raise FormatError(f'{top}: no calculation of VASP, Quantum ESPRESSO or phonopy{more}')
        found[before:] = sorted(found[before:], key=lambda item: (item.folder, item.program))
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield all folders with their files, both sorted."""
    try:
        items = sorted(item for item in folder.iterdir() if not item.name.startswith('.'))
    except OSError:
        return
    yield folder, [item for item in items if item.is_file()]
    for item in items:
        if item.is_dir() and not item.is_symlink():
            yield from _walk(item)


def _source(folder: Path, file: Path) -> SourceFile:
    name = file.relative_to(folder) if folder in file.parents else Path('..') / file.relative_to(folder.parent)
    return SourceFile(name.as_posix(), partial(Path.read_bytes, file))


def _named(folder: Path, files: Sequence[Path], names: Sequence[str]) -> dict[str, tuple[SourceFile, ...]]:
    """Return the files that have one of the names, plain or compressed."""
    plain = {name: [file for file in files if file.name in (name, f'{name}.gz')] for name in names}
    return {name: tuple(_source(folder, file) for file in found[:1]) for name, found in plain.items() if found}


def _name(top: Path, folder: Path) -> str:
    return clean_text(top.resolve().name if folder == top else folder.relative_to(top).as_posix())


def _of_folder(top: Path, folder: Path, files: Sequence[Path]) -> Iterator[Calculation]:
    """Yield the calculations whose files are all in one folder."""
    vasp = _named(folder, files, (VASPRUN, OUTCAR, INCAR))
    if VASPRUN not in vasp and (others := [file for file in files if _VASPRUN.fullmatch(file.name)]):
        vasp[VASPRUN] = tuple(_source(folder, file) for file in others)
    if {VASPRUN, OUTCAR} & set(vasp):
        yield Calculation(_name(top, folder), str(folder), Program.VASP, vasp)
    held = _named(folder, files, _PHONOPY)
    if {*phonopy.FORCES, phonopy.BORN, phonopy.PARAMETERS[0]} & set(held):
        yield Calculation(_name(top, folder), str(folder), Program.PHONOPY, held)


def _espresso(top: Path, tree: Mapping[Path, Sequence[Path]], wanted: Sequence[Path]) -> Iterator[Calculation]:
    """Yield the calculations of Quantum ESPRESSO; each part belongs to the nearest output of ``ph.x`` above it."""
    parts = {folder: found for folder, files in tree.items() if (found := list(_recognised(files)))}
    anchors = [folder for folder, found in parts.items() if any(part == OUTPUT for part, _ in found)]
    groups: dict[Path, list[tuple[str, Path]]] = {anchor: [] for anchor in anchors}
    free: list[tuple[Path, Path]] = []
    for folder, found in parts.items():
        above = next((item for item in (folder, *folder.parents) if item in anchors), None)
        for part, file in found:
            if above is not None:
                groups[above].append((part, file))
            elif part == GROUND_STATE:
                free.append((folder, file))
            else:  # without any output of ph.x; the reader names what is missing
                groups.setdefault(folder, []).append((part, file))
    for anchor, members in groups.items():
        if anchor not in wanted:
            continue
        if not any(part == GROUND_STATE for part, _ in members):
            members += [(GROUND_STATE, file) for folder, file in free if anchor.parent in (folder, *folder.parents)]
        files = {part: tuple(_source(anchor, file) for other, file in members if other == part) for part in _MARKS}
        yield Calculation(
            _name(top, anchor),
            str(anchor),
            Program.QUANTUMESPRESSO,
            {part: found for part, found in files.items() if found},
        )


def _recognised(files: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the parts of a calculation of Quantum ESPRESSO among files."""
    for file in files:
        head = _head(file)
        part = next((part for part, marks in _MARKS.items() if any(mark in head for mark in marks)), None)
        if part is None or (part == GROUND_STATE and '_ph0' in file.parts):
            continue
        if part == MATRIX and not _GAMMA.search(_head(file, 2**20)):
            continue  # at another q point
        yield part, file


def _head(file: Path, size: int = _HEAD) -> bytes:
    """Return the beginning of a file, uncompressed; empty if it cannot be read."""
    try:
        with file.open('rb') as stream:
            head = stream.read(size)
        if not head.startswith(b'\x1f\x8b'):
            return head
        return zlib.decompressobj(wbits=31).decompress(head, size)
    except (OSError, zlib.error):
        return b''
