"""Crystals from POSCAR and extended XYZ files, parsed by ASE; the Cartesian frame of the file is kept."""

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
    """Read a VASP POSCAR or CONTCAR; velocities and what else follows the positions are not looked at.

    :param name: file name for messages
    :param stem: the id
    """
    from ase.io.vasp import read_vasp_configuration

    text = content.decode('utf-8', errors='replace')
    try:
        _check_poscar(text.splitlines())
        yield Entry(from_ase(read_vasp_configuration(io.StringIO(text)), stem), {}, name)
    except Exception as error:  # ASE raises whatever a torn file makes of it
        yield _failed(stem, name, error, 'unreadable_file', 'not a POSCAR, or cut off')


def _check_poscar(lines: list[str]) -> None:
    """Compare the number of atoms with the number of lines before memory is taken for them."""
    place = next((place for place in (5, 6) if len(lines) > place and _is_number(lines[place].split()[:1])), None)
    if place is None:
        raise CrystalError('unreadable_file', 'not a POSCAR, or cut off: no numbers of atoms on line 6 or 7')
    if place == 5 and not any(word in ATOMIC_NUMBERS for word in lines[0].split()):
        raise CrystalError('unknown_element', 'no chemical symbols; write them on the line before the numbers of atoms')
    announced = sum(int(word) for word in lines[place].split('!')[0].split() if _is_number([word]))
    selective = len(lines) > place + 1 and lines[place + 1].strip()[:1].lower() == 's'
    if announced > len(lines) - (place + 2 + selective):
        raise CrystalError('unreadable_file', f'cut off: {announced} atoms announced, {len(lines)} lines in the file')


def _is_number(words: list[str]) -> bool:
    return bool(words) and words[0].isascii() and words[0].isdigit()


def read_extxyz(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read an extended XYZ file frame by frame; the scalars of a comment line become properties.

    :param name: file name for messages
    :param stem: for ids; ``@0``, ``@1``, … are appended if there are several frames, as ASE counts them
    """
    from ase.io.extxyz import read_xyz

    frames, torn = _frames(content.decode('utf-8', errors='replace').splitlines())
    several = len(frames) + bool(torn) > 1
    for number, lines in enumerate(frames):
        label = f'{stem}@{number}' if several else stem
        where = f'{name}, frame {number}'
        try:
            if 'lattice=' not in lines[1].lower().replace(' ', ''):
                raise CrystalError('bad_lattice', 'no Lattice="ax ay az bx …" in the comment line; a crystal needs one')
            atoms = next(iter(read_xyz(io.StringIO('\n'.join(lines) + '\n'), index=0)))
            yield Entry(from_ase(atoms, label), scalars(atoms.info), where)
        except Exception as error:  # as above
            yield _failed(label, where, error, 'unreadable_row', 'not a frame of extended XYZ')
    if torn:
        label = f'{stem}@{len(frames)}' if several else stem
        yield Entry(Failure(label, 'unreadable_file', torn), {}, f'{name}, frame {len(frames)}')


def _frames(lines: list[str]) -> tuple[list[list[str]], str]:
    """Return the lines of each whole frame, and what is wrong with the rest of the file, if anything is."""
    frames: list[list[str]] = []
    start = 0
    while start < len(lines):
        head = lines[start].strip()
        if not head:
            start += 1
            continue
        if not _is_number([head]):
            return frames, f'line {start + 1} should be a number of atoms, found {head!r:.40}; what follows is not read'
        stop = start + 2 + int(head)
        if stop > len(lines):
            return frames, f'cut off: {head} atoms announced on line {start + 1}, {len(lines)} lines in the file'
        frames.append(lines[start:stop])
        start = stop
    return frames, '' if frames else 'the file is empty'


def _failed(label: str, where: str, error: Exception, code: str, text: str) -> Entry:
    if isinstance(error, CrystalError):
        return Entry(Failure(label, error.code, str(error)), {}, where)
    if isinstance(error, LinAlgError):
        return Entry(Failure(label, 'bad_lattice', 'the lattice spans no volume, or is not finite'), {}, where)
    symbol = error.args[0] if isinstance(error, KeyError) and error.args else None
    if isinstance(symbol, str) and symbol.isalpha() and symbol not in ATOMIC_NUMBERS:
        return Entry(Failure(label, 'unknown_element', f'{symbol!r:.40} is no chemical element'), {}, where)
    message = f'{text} ({type(error).__name__}: {error}); fetch the file again'
    return Entry(Failure(label, code, message), {}, where)
