"""Crystals from input files of Quantum ESPRESSO (``pw.x``) and FHI-aims, parsed by ASE; the Cartesian frame is kept.

ASE is given only what defines the crystal, and its guesses are checked before.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from aiida_goectp.core.crystals.convert import from_ase
from aiida_goectp.core.crystals.entries import Entry, decoded, failed
from aiida_goectp.core.crystals.validation import CrystalError

__all__ = ('read_aims', 'read_pw')

_IBRAV = re.compile(r'^[^!\'"]*\bibrav\s*=\s*([+-]?\d+)', re.IGNORECASE | re.MULTILINE)
_COUNT = re.compile(r'^[^!\'"]*\b(nat|ntyp)\s*=\s*(\d{1,9})', re.IGNORECASE | re.MULTILINE)
_AIMS = ('lattice_vector', 'atom', 'atom_frac')
"""keywords of FHI-aims that define the crystal"""


def read_pw(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read an input of ``pw.x`` with ``ibrav = 0`` and the card CELL_PARAMETERS.

    :param name: file name for messages
    :param stem: the id
    """
    from ase.io.espresso import read_espresso_in

    try:
        text = decoded(content)
        _check_pw(text)
        yield Entry(from_ase(read_espresso_in(io.StringIO(text)), stem), {}, name)
    except Exception as error:  # ASE has no error class of its own for damaged files
        yield failed(stem, name, error, 'unreadable_file', 'not an input of pw.x, or cut off')


def _check_pw(text: str) -> None:
    """Check what ASE would not: the Bravais lattice, and the announced numbers against the length of the file."""
    found = _IBRAV.search(text)
    if found is None or int(found[1]) != 0:
        value = 'no ibrav' if found is None else f'ibrav = {int(found[1])}'
        raise CrystalError('unreadable_file', f'{value}; only ibrav = 0 with CELL_PARAMETERS is read')
    lines = text.count('\n') + 1
    for key, number in _COUNT.findall(text):
        if int(number) > lines:
            raise CrystalError('unreadable_file', f'cut off: {key} = {number}, {lines} lines in the file')


def read_aims(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read a ``geometry.in`` of FHI-aims with three lattice vectors; constraints and moments are ignored.

    :param name: file name for messages
    :param stem: the id
    """
    from ase.io.aims import parse_geometry_lines

    try:
        words = [line.split('#')[0].split() for line in decoded(content).splitlines()]
        lines = [' '.join(line) for line in words if line and line[0] in _AIMS]
        vectors = sum(line.startswith('lattice_vector') for line in lines)
        if vectors != 3:
            raise CrystalError('not_periodic', f'{vectors} lattice vectors; a crystal has three')
        if len(lines) == vectors:
            raise CrystalError('no_atoms', 'no line with atom or atom_frac')
        yield Entry(from_ase(parse_geometry_lines(lines), stem), {}, name)
    except Exception as error:  # as above
        yield failed(stem, name, error, 'unreadable_file', 'not a geometry of FHI-aims, or cut off')
