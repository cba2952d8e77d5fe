"""The cell of a ``phonopy.yaml`` or ``phonopy_disp.yaml``: the primitive cell, or the unit cell without one.

Only the sections that contain it are parsed, so that displacements and supercells take no memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.convert import from_lists
from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.entries import Entry, decoded, failed
from aiida_goectp.core.crystals.programs.units import BOHR
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.yaml_input import read_yaml

__all__ = ('read_phonopy',)

_CELLS = ('primitive_cell', 'unit_cell')
_LENGTHS = {'angstrom': 1.0, 'au': BOHR}
"""unit of length of the program whose forces phonopy uses → Å"""


def read_phonopy(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read the cell of a file of phonopy, in its Cartesian frame.

    :param name: file name for messages
    :param stem: the id
    """
    try:
        yield Entry(_crystal(stem, decoded(content)), {}, name)
    except CrystalError as error:
        yield failed(stem, name, error, error.code, '')
    except FormatError as error:
        yield failed(stem, name, CrystalError('unreadable_file', str(error)), '', '')


def _crystal(stem: str, text: str) -> Crystal:
    cell = next((found for key in _CELLS if (found := _section(text, key)) is not None), None)
    if not isinstance(cell, dict) or not isinstance(points := cell.get('points'), list):
        raise CrystalError(
            'unreadable_file', f'no {" or ".join(_CELLS)} with lattice and points; expected a file of phonopy'
        )
    for number, point in enumerate(points, start=1):
        if not isinstance(point, dict) or not {'symbol', 'coordinates'} <= point.keys():
            raise CrystalError('unreadable_file', f'point {number} lacks symbol or coordinates')
    species, positions = [point['symbol'] for point in points], [point['coordinates'] for point in points]
    crystal = from_lists(stem, cell.get('lattice'), species, positions)
    return crystal._replace(lattice=np.array(crystal.lattice) * _unit(text))


def _unit(text: str) -> float:
    """Return the unit of length in Å.

    :raises CrystalError: an unknown unit, or none for another program than VASP
    """
    units, program = _section(text, 'physical_unit'), _section(text, 'phonopy')
    length = units.get('length') if isinstance(units, dict) else None
    calculator = program.get('calculator', 'vasp') if isinstance(program, dict) else 'vasp'
    if length is None and calculator == 'vasp':
        return 1.0
    if not isinstance(length, str) or length.lower() not in _LENGTHS:
        known = ', '.join(_LENGTHS)
        raise CrystalError(
            'unreadable_file', f'unit of length {length!r:.40} of calculator {calculator!r:.40}; known are {known}'
        )
    return _LENGTHS[length.lower()]


def _section(text: str, key: str) -> Any:
    """Return a section of the document: the line ``key:`` and the indented lines below it. None without it.

    :raises FormatError: not plain YAML, with aliases, or too large
    """
    found = re.search(rf'^{key}:[ \t]*(?:#[^\n]*)?$', text, re.MULTILINE)
    if found is None:
        return None
    start = stop = found.end() + 1
    while stop < len(text) and text[stop] in ' \t-#\r\n':
        stop = text.find('\n', stop) + 1 or len(text)
    return read_yaml(text[start:stop], key)[1]
