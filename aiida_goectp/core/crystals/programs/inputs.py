"""Crystals from input files of Quantum ESPRESSO (``pw.x``) and FHI-aims, parsed by ASE; the Cartesian frame is kept.

ASE is given only what defines the crystal, and its guesses are checked before.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aiida_goectp.core.crystals.convert import from_ase
from aiida_goectp.core.crystals.entries import Entry, decoded, failed
from aiida_goectp.core.crystals.programs.pw_lattice import pw_lattice
from aiida_goectp.core.crystals.validation import CrystalError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ('read_aims', 'read_pw')

_COUNT = re.compile(r'^[^!\'"]*\b(nat|ntyp)\s*=\s*(\d{1,9})', re.IGNORECASE | re.MULTILINE)
_AIMS = ('lattice_vector', 'atom', 'atom_frac')
"""keywords of FHI-aims that define the crystal"""


def read_pw(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read an input of ``pw.x``, with the card CELL_PARAMETERS (``ibrav = 0``) or another Bravais lattice.

    :param name: file name for messages
    :param stem: the id
    """
    from ase.io.espresso import read_espresso_in

    try:
        text = decoded(content)
        _check_counts(text)
        atoms = _atoms_of_lattice(text)
        yield Entry(from_ase(read_espresso_in(io.StringIO(text)) if atoms is None else atoms, stem), {}, name)
    except Exception as error:  # ASE has no error class of its own for damaged files
        yield failed(stem, name, error, 'unreadable_file', 'not an input of pw.x, or cut off')


def _check_counts(text: str) -> None:
    """Check the announced numbers, for which ASE would reserve memory, against the length of the file."""
    lines = text.count('\n') + 1
    for key, number in _COUNT.findall(text):
        if int(number) > lines:
            raise CrystalError('unreadable_file', f'cut off: {key} = {number}, {lines} lines in the file')


def _atoms_of_lattice(text: str) -> Atoms | None:
    """Return the structure of an input with ``ibrav`` ≠ 0, which ASE does not read; None for ``ibrav = 0``.

    :raises CrystalError: no lattice, or positions of inequivalent atoms only
    """
    from ase import Atoms
    from ase.io.espresso import get_atomic_positions, label_to_symbol, read_fortran_namelist

    sections, cards = read_fortran_namelist(io.StringIO(text))
    system = {str(key).lower(): value for key, value in sections.get('system', {}).items()}
    if system.get('space_group', 0) != 0:
        raise CrystalError('unreadable_file', 'space_group is not read; give all atoms, and ibrav or CELL_PARAMETERS')
    if 'ibrav' not in system:
        raise CrystalError('unreadable_file', 'no ibrav in &SYSTEM')
    if system['ibrav'] == 0:
        return None
    lattice, a = pw_lattice(system)
    if any(card.upper().startswith('CELL_PARAMETERS') for card in cards):
        raise CrystalError('unreadable_file', f'ibrav = {system["ibrav"]} and CELL_PARAMETERS; give one of them')
    rows = get_atomic_positions(cards, n_atoms=system['nat'], cell=lattice, alat=a)
    return Atoms([label_to_symbol(row[0]) for row in rows], [row[1] for row in rows], cell=lattice, pbc=True)


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
