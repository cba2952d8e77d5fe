"""JSON files with structures: objects of pymatgen, also one a line, and databases of ASE."""

from __future__ import annotations

from collections.abc import Iterator

from aiida_goectp.core.crystals.crystalset import Failure
from aiida_goectp.core.crystals.entries import Entry, failed
from aiida_goectp.core.crystals.jsonlines import numbered_lines
from aiida_goectp.core.crystals.programs.ase_rows import is_ase_json, read_ase_json
from aiida_goectp.core.crystals.programs.pymatgen_json import read_structures_of
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json

__all__ = ('read_structure_json', 'read_structure_lines')


def read_structure_json(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read all structures of a JSON file.

    :param name: file name for messages
    :param stem: stem of the file name, for ids
    :param content: content of the file
    """
    try:
        document = parse_json(content, 'the file')
    except FormatError as error:
        yield Entry(Failure(stem, 'unreadable_file', str(error)), {}, name)
        return
    found = False
    for entry in (read_ase_json if is_ase_json(document) else read_structures_of)(name, stem, document):
        found = True
        yield entry
    if not found:
        text = 'no structure: expected objects of pymatgen that contain structures, or a database of ASE'
        yield Entry(Failure(stem, 'unreadable_file', text), {}, name)


def read_structure_lines(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read JSON lines, each an object of pymatgen that contains structures, such as a summary of the Materials Project.

    :param name: file name for messages
    :param stem: stem of the file name, for ids
    :param content: content of the file
    """
    for number, label, line in numbered_lines(stem, content):
        where = f'{name}, line {number}'
        try:
            entries = list(read_structures_of(where, label, parse_json(line, 'the line')))
            if not entries:
                raise FormatError('no structure: expected an object of pymatgen that contains structures')
        except FormatError as error:
            yield failed(label, where, CrystalError('unreadable_row', str(error)), '', '')
        else:
            yield from entries
