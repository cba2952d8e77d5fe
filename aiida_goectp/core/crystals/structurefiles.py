"""Readers of POSCAR and extended XYZ files, parsed by ASE; the Cartesian frame of the file is kept."""

from __future__ import annotations

import io
from collections.abc import Iterator

from numpy.linalg import LinAlgError

from aiida_goectp.core.crystals.convert import from_ase
from aiida_goectp.core.crystals.crystalset import Failure
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.crystals.entries import Entry, scalars
from aiida_goectp.core.crystals.validation import CrystalError

__all__ = ('read_extxyz', 'read_poscar')


def read_poscar(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read a VASP POSCAR or CONTCAR; velocities and other blocks after the positions are ignored.

    :param name: file name for messages
    :param stem: stem of the file name, the id
    :param content: content of the file
    """
    from ase.io.vasp import read_vasp_configuration

    text = content.decode('utf-8', errors='replace')
    try:
        _check_poscar(text.splitlines())
        yield Entry(from_ase(read_vasp_configuration(io.StringIO(text)), stem), {}, name)
    except Exception as error:  # ASE raises various errors for damaged files
        yield _failed(stem, name, error, 'unreadable_file', 'not a POSCAR, or cut off')


def _check_poscar(lines: list[str]) -> None:
    """Compare the number of atoms with the number of lines before ASE allocates memory for them."""
    index = next((index for index in (5, 6) if len(lines) > index and _is_number(lines[index].split()[:1])), None)
    if index is None:
        raise CrystalError('unreadable_file', 'not a POSCAR, or cut off: no numbers of atoms on line 6 or 7')
    if index == 5 and not any(word in ATOMIC_NUMBERS for word in lines[0].split()):
        raise CrystalError('unknown_element', 'no chemical symbols; write them on the line before the numbers of atoms')
    count = sum(int(word) for word in lines[index].split('!')[0].split() if _is_number([word]))
    selective = len(lines) > index + 1 and lines[index + 1].strip()[:1].lower() == 's'
    if count > len(lines) - (index + 2 + selective):
        raise CrystalError('unreadable_file', f'cut off: {count} atoms declared, {len(lines)} lines in the file')


def _is_number(words: list[str]) -> bool:
    return bool(words) and words[0].isascii() and words[0].isdigit()


def read_extxyz(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read an extended XYZ file frame by frame; scalars in the comment line become properties.

    :param name: file name for messages
    :param stem: stem of the file name, for ids; ``@0``, ``@1``, … are appended if there are several frames, as in ASE
    :param content: content of the file
    """
    from ase.io.extxyz import read_xyz

    frames, fault = _frames(content.decode('utf-8', errors='replace').splitlines())
    several = len(frames) + bool(fault) > 1
    for number, lines in enumerate(frames):
        label = f'{stem}@{number}' if several else stem
        where = f'{name}, frame {number}'
        try:
            if 'lattice=' not in lines[1].lower().replace(' ', ''):
                raise CrystalError('bad_lattice', 'no Lattice="ax ay az bx …" in the comment line; it is required')
            atoms = next(iter(read_xyz(io.StringIO('\n'.join(lines) + '\n'), index=0)))
            yield Entry(from_ase(atoms, label), scalars(atoms.info), where)
        except Exception as error:  # as above
            yield _failed(label, where, error, 'unreadable_row', 'not a frame of extended XYZ')
    if fault:
        label = f'{stem}@{len(frames)}' if several else stem
        yield Entry(Failure(label, 'unreadable_file', fault), {}, f'{name}, frame {len(frames)}')


def _frames(lines: list[str]) -> tuple[list[list[str]], str]:
    """Return the lines of each complete frame, and the fault of the rest of the file, empty if there is none."""
    frames: list[list[str]] = []
    start = 0
    while start < len(lines):
        head = lines[start].strip()
        if not head:
            start += 1
            continue
        if not _is_number([head]):
            return frames, f'line {start + 1}: expected a number of atoms, found {head!r:.40}; the rest is not read'
        stop = start + 2 + int(head)
        if stop > len(lines):
            return frames, f'cut off: {head} atoms declared on line {start + 1}, {len(lines)} lines in the file'
        frames.append(lines[start:stop])
        start = stop
    return frames, '' if frames else 'the file is empty'


def _failed(label: str, where: str, error: Exception, code: str, text: str) -> Entry:
    """Return the failure for an error of ASE; ``code`` and ``text`` if the error has no known meaning."""
    if isinstance(error, CrystalError):
        return Entry(Failure(label, error.code, str(error)), {}, where)
    if isinstance(error, LinAlgError):
        return Entry(Failure(label, 'bad_lattice', 'the lattice has no volume, or is not finite'), {}, where)
    symbol = error.args[0] if isinstance(error, KeyError) and error.args else None
    if isinstance(symbol, str) and symbol.isalpha() and symbol not in ATOMIC_NUMBERS:
        return Entry(Failure(label, 'unknown_element', f'{symbol!r:.40} is not a chemical element'), {}, where)
    message = f'{text} ({type(error).__name__}: {error}); fetch the file again'
    return Entry(Failure(label, code, message), {}, where)
