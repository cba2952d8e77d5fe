"""Reader of crystals as JSON lines: one object a line with ``lattice``, ``species`` and ``frac_coords``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from aiida_goectp.core.crystals.convert import from_lists
from aiida_goectp.core.crystals.crystalset import Crystal, Failure
from aiida_goectp.core.crystals.entries import Entry, clean_text, scalars
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.core.formats.json_input import load_json

__all__ = ('CRYSTAL_FIELDS', 'numbered_lines', 'read_jsonlines')

CRYSTAL_FIELDS = ('id', 'lattice', 'species', 'frac_coords')
"""entries of a line that are no properties"""


def read_jsonlines(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read JSON lines.

    Each object contains ``lattice`` (rows a, b, c in Å), ``species`` (symbols), ``frac_coords`` and optionally ``id``;
    the default id, also in place of an empty one, is the stem of the file with the index of the row. Other numbers,
    booleans and strings become properties; arrays are not read.

    :param name: file name for messages
    :param stem: stem of the file name, for ids
    :param content: content of the file
    """
    for number, label, line in numbered_lines(stem, content):
        try:
            data = load_json(line)
        except (ValueError, RecursionError) as error:
            yield _failed(label, 'unreadable_row', name, number, f'not a JSON object, or cut off ({error})')
            continue
        if isinstance(data, dict) and isinstance(data.get('id'), str | int):
            label = clean_text(str(data['id'])) or label
        try:
            yield Entry(_crystal(label, data), scalars(data, CRYSTAL_FIELDS), f'{name}, line {number}')
        except CrystalError as error:
            yield _failed(label, error.code, name, number, str(error))
        except RecursionError:
            yield _failed(label, 'unreadable_row', name, number, 'nested too deeply')


def numbered_lines(stem: str, content: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Yield number, default id and content of each line that is not blank.

    :param stem: stem of the file name; the ids are ``STEM@0``, ``STEM@1`` …
    """
    row = 0
    for number, line in enumerate(io.BytesIO(content), start=1):
        if line.strip():
            yield number, f'{stem}@{row}', line
            row += 1


def _failed(label: str, code: str, name: str, line: int, text: str) -> Entry:
    return Entry(Failure(label, code, text), {}, f'{name}, line {line}')


def _crystal(label: str, data: Any) -> Crystal:
    if not isinstance(data, dict):
        raise CrystalError('unreadable_row', 'expected a JSON object with lattice, species and frac_coords')
    missing = [key for key in CRYSTAL_FIELDS[1:] if key not in data]
    if missing:
        raise CrystalError(
            'unreadable_row', f'missing {", ".join(missing)}; required are {", ".join(CRYSTAL_FIELDS[1:])}'
        )
    species = data['species']
    if not isinstance(species, list):
        raise CrystalError('unreadable_row', 'species is not a list of chemical symbols')
    return from_lists(label, data['lattice'], species, data['frac_coords'])
