"""Crystals from POSCAR and extended XYZ files, parsed by ASE; the Cartesian frame of the file is kept.

What ASE would guess is checked before it is asked: the species of a POSCAR, and the columns of an extended XYZ frame.
Memory is bounded by a small multiple of the file.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any

from aiida_goectp.core.crystals.convert import from_ase
from aiida_goectp.core.crystals.crystalset import Failure
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.crystals.entries import Entry, clean_text, decoded, decoded_lines, failed, scalars
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.core.formats.names import renamed_properties
from aiida_goectp.core.formats.terminal import printable

__all__ = ('comment_entries', 'read_extxyz', 'read_poscar')

_ISOTOPES = {'D': 'H', 'T': 'H'}
_REAL = re.compile(r'[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?', re.ASCII)

_RESERVED = (
    *('lattice', 'properties', 'pbc', 'occupancy', 'uid', 'virial', 'stress', 'stresses', 'energy', 'energies'),
    *('free_energy', 'forces', 'dipole', 'charges', 'magmom', 'magmoms', 'dielectric_tensor'),
    *('born_effective_charges', 'polarization'),
)
"""keys of a comment line with a meaning of their own: in the format, or as results of a calculator of ASE"""

_UNCHANGED = ('uid', 'uiD', 'uId', 'uID', 'Uid', 'UiD', 'UId', 'UID')
"""keys of a comment line whose values ASE keeps as they are written"""

_JSON = '_JSON '
"""prefix with which ASE marks values in JSON"""


def read_poscar(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read a VASP POSCAR or CONTCAR; velocities and anything else after the positions are ignored.

    :param name: file name for messages
    :param stem: the id
    """
    from ase.io.vasp import read_vasp_configuration

    try:
        lines = _checked_poscar(decoded(content).splitlines())
        yield Entry(from_ase(read_vasp_configuration(io.StringIO('\n'.join(lines) + '\n')), stem), {}, name)
    except Exception as error:  # ASE has no error class of its own for damaged files
        yield failed(stem, name, error, 'unreadable_file', 'not a POSCAR, or cut off')


def _checked_poscar(lines: list[str]) -> list[str]:
    """Return the lines with species that ASE reads: the numbers of atoms fit the file and the symbols.

    A POSCAR of VASP 4 has no line of species. Its title is taken only if it lists one element for each number of atoms.
    """
    place = next((place for place in (5, 6) if len(lines) > place and _is_number(lines[place].split()[:1])), None)
    if place is None:
        raise CrystalError('unreadable_file', 'not a POSCAR, or cut off: no numbers of atoms on line 6 or 7')
    counts = [word for word in re.split('[!#]', lines[place])[0].split() if _is_number([word])]
    row = 0 if place == 5 else 5
    symbols = re.split('[!#]', lines[row])[0].split()
    if place == 6 and len(symbols) != len(counts):
        raise CrystalError(
            'unreadable_file', f'line 6 has {len(symbols)} chemical symbols, line 7 has {len(counts)} numbers of atoms'
        )
    if place == 5 and not (len(symbols) == len(counts) and all(word in ATOMIC_NUMBERS for word in symbols)):
        raise CrystalError(
            'unknown_element',
            f'line 6 has {len(counts)} numbers of atoms, and no line lists as many chemical symbols; write '
            'the symbols on the line before the numbers',
        )
    for word in symbols:
        if re.split('[/_]', _ISOTOPES.get(word, word))[0] not in ATOMIC_NUMBERS:
            raise CrystalError('unknown_element', f'line {row + 1}: {word!r:.40} is not a chemical element')
    selective = len(lines) > place + 1 and lines[place + 1].strip()[:1].lower() == 's'
    announced = sum(map(int, counts))
    if announced > len(lines) - (place + 2 + selective):
        raise CrystalError('unreadable_file', f'cut off: {announced} atoms announced, {len(lines)} lines in the file')
    first = place + 2 + selective
    species = [word for word, count in zip(symbols, counts, strict=True) for _ in range(int(count))]
    _check_rows(lines, first, species, 6 if selective else 3)
    return [*lines[:row], ' '.join(_ISOTOPES.get(word, word) for word in symbols), *lines[row + 1 :]]


def _check_rows(lines: list[str], first: int, species: list[str], columns: int) -> None:
    """Check that a POSCAR has no position after the announced ones, and no other element beside one.

    :param first: place of the first position
    :param species: word of the species of each atom
    :param columns: words of a position, before a comment
    :raises CrystalError: it has
    """
    end = first + len(species)
    following = lines[end].split() if len(lines) > end else []
    if species and len(following) >= 3 and all(_REAL.fullmatch(word) for word in following[:3]):
        raise CrystalError(
            'unreadable_file',
            f'line {end + 1}: a position after the {len(species)} announced atoms; correct their numbers, or write an '
            'empty line before velocities',
        )
    for row, word in enumerate(species, first):
        words = lines[row].split()[columns:]
        beside, own = ' '.join(words[:1]), re.split('[/_]', word)[0]
        flags = set(words[:3]) <= {'T', 'F'}  # without the line Selective dynamics; F is no fluorine
        if beside in ATOMIC_NUMBERS and not flags and beside != _ISOTOPES.get(own, own):
            raise CrystalError('unreadable_file', f'line {row + 1}: {beside} beside an atom of the species {word}')


def _is_number(words: list[str]) -> bool:
    return bool(words) and words[0].isascii() and words[0].isdigit()


def read_extxyz(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read an extended XYZ file frame by frame; the scalars of a comment line become properties.

    The id of a frame is the value of the key ``id`` of its comment line as it is written, such as ``007``.

    :param name: file name for messages
    :param stem: for the other ids; ``@0``, ``@1``, … are appended if there are several frames
    """
    from ase.io.extxyz import read_xyz

    frames = _frames(decoded_lines(content))
    first = list(islice(frames, 2))
    for number, frame in enumerate(chain(first, frames)):
        label = f'{stem}@{number}' if len(first) > 1 else stem
        where = f'{name}, frame {number}'
        if isinstance(frame, str):
            yield Entry(Failure(label, 'unreadable_file', frame), {}, where)
            return
        own = _own_id(frame[1])
        label = own or label
        try:
            atoms = next(iter(read_xyz(io.StringIO('\n'.join(_checked_frame(frame)) + '\n'), index=0)))
            yield Entry(from_ase(atoms, label), scalars(atoms.info, ('id',) if own else ()), where)
        except Exception as error:  # ASE has no error class of its own for damaged files
            yield failed(label, where, error, 'unreadable_row', 'not a frame of extended XYZ')


def _own_id(comment: str) -> str:
    """Return the value of the key ``id`` of a comment line as it is written, an empty text without that key."""
    from ase.io.extxyz import key_val_str_to_dict

    if 'id=' not in comment.replace(' ', ''):
        return ''
    try:
        value = key_val_str_to_dict(comment).get('id')
        if value is not None and not isinstance(value, str):
            # ASE makes numbers and logical values of all entries but that of the key uid, in whatever case
            name = next(name for name in _UNCHANGED if name not in comment)
            value = str(key_val_str_to_dict(re.sub(r'(?<!\S)id(?=\s*=)', name, comment)).get(name, ''))
            value = '' if value.startswith(_JSON) else value
    except Exception:  # ASE has no error class of its own for damaged lines; the frame is refused with its reason
        return ''
    return clean_text(value or '')


def comment_entries(id: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys and values of a comment line of extended XYZ from which :func:`read_extxyz` reads the same values.

    Texts that ASE would read as numbers, logical values or arrays become JSON. Missing values, which the format does
    not have, are left out: NaN and empty texts. A property with a name that the format or ASE gives a meaning of its
    own is called ``property_NAME``.

    :param id: of the crystal
    :param properties: name → number, boolean or text
    """
    reserved = {'id', *(name for name in properties if name.lower() in _RESERVED)}
    values = {'id': id, **renamed_properties(properties, reserved)}
    return {
        printable(name).replace('\\', '\\\\').replace('=', '\\='): _comment_text(value)
        if isinstance(value, str)
        else value
        for name, value in values.items()
        if value != '' and value == value
    }


def _comment_text(value: str) -> str:
    """Return a text as ASE writes it without change, and reads it as the same text."""
    from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict

    text = printable(value).replace('\\', '\\\\')
    marked = value.startswith(_JSON) or not isinstance(
        key_val_str_to_dict(key_val_dict_to_str({'text': text}))['text'], str
    )
    return _JSON + json.dumps(printable(value), ensure_ascii=False).replace('\\', '\\\\') if marked else text


def _checked_frame(lines: list[str]) -> list[str]:
    """Return the lines of a frame whose announced columns exist, with hydrogen for its isotopes.

    ASE takes memory for the announced columns before it reads the first row.
    """
    if 'lattice=' not in lines[1].lower().replace(' ', ''):
        raise CrystalError('bad_lattice', 'no Lattice="ax ay az bx …" in the comment line; a crystal needs one')
    match = re.search(r'\bproperties\s*=\s*["{]?([^\s"}]+)', lines[1], flags=re.IGNORECASE)
    fields = match[1].split(':') if match else ['species', 'S', '1', 'pos', 'R', '3']
    names, widths = fields[::3], fields[2::3]
    if len(fields) % 3 or not all(_is_number([width]) for width in widths):
        raise CrystalError('unreadable_row', f'Properties={match[1] if match else "":.80} is not name:type:columns, …')
    columns, present = sum(int(width[:9]) for width in widths), len(lines[2].split()) if len(lines) > 2 else 0
    if columns > present:
        raise CrystalError('unreadable_row', f'Properties announces {columns} columns, the first row has {present}')
    _check_keys(lines[1])
    lowered = [name.lower() for name in names]
    if 'species' not in lowered:
        return lines
    place = sum(int(width) for width in widths[: lowered.index('species')])
    rows = [row.split() for row in lines[2:]]
    for row in rows:
        if len(row) > place and row[place] in _ISOTOPES:
            row[place] = _ISOTOPES[row[place]]
    if 'z' in lowered:
        other = sum(int(width) for width in widths[: lowered.index('z')])
        for number, row in enumerate(rows):
            if len(row) > max(place, other) and str(ATOMIC_NUMBERS.get(row[place])) != row[other]:
                raise CrystalError('unreadable_row', f'atom {number}: species {row[place]}, atomic number {row[other]}')
    return [*lines[:2], *(' '.join(row) for row in rows)]


def _check_keys(comment: str) -> None:
    """Check that a comment line has no key twice: ASE takes the last value.

    :raises CrystalError: it has
    """
    plain = re.sub(r'"[^"]*"|\'[^\']*\'|\{[^}]*\}|\[[^\]]*\]', '', comment)
    keys = re.findall(r'(?<!\S)([^\s=]+)\s*=', plain)
    keys = [key.lower() if key.lower() in ('lattice', 'properties', 'pbc') else key for key in keys]
    if twice := next((key for place, key in enumerate(keys) if key in keys[:place]), None):
        raise CrystalError('unreadable_row', f'the key {twice!r:.40} occurs twice in the comment line')


def _frames(lines: Iterator[str]) -> Iterator[list[str] | str]:
    """Yield the lines of each complete frame, and at last the fault of the rest of the file if there is one.

    A frame that is followed by another row of an atom has a wrong number of atoms, and belongs to the rest.
    """
    count, frame = 0, None
    for line in lines:
        count += 1
        head = line.strip()
        if not head:
            continue
        if not _is_number([head]):
            if frame is None or len(frame[-1].split()) != len(head.split()):
                yield from [] if frame is None else [frame]
                yield f'line {count}: expected a number of atoms, found {head!r:.40}; the rest is not read'
            else:
                yield f'line {count}: another row {head!r:.40} after the {len(frame) - 2} announced atoms; correct it'
            return
        yield from [] if frame is None else [frame]
        announced = int(head[:9])
        frame = [line, *islice(lines, 1 + announced)]
        count += len(frame) - 1
        if len(frame) < 2 + announced:
            start = count - len(frame) + 1
            yield f'cut off: {head:.20} atoms announced on line {start}, {count} lines in the file'
            return
    yield 'the file is empty' if frame is None else frame
