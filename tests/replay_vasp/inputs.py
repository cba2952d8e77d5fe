"""Input files of VASP, with the checks that VASP makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS


class InputError(Exception):
    """Message with which VASP stops."""


class Inputs(NamedTuple):
    """Content of the input files."""

    incar: dict[str, Any]
    lattice: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    """fractional"""
    symbols: list[str]
    poscar: str
    titles: list[str]
    """of the potentials"""
    enmax: list[float]
    """eV"""

    @property
    def functional(self) -> str | None:
        """Functional of the tag GGA; None if no table has it."""
        return {'PS': 'PBEsol', 'PE': 'PBE', '': 'PBE'}.get(str(self.incar.get('GGA', '')).upper())

    @property
    def stage(self) -> str:
        """Kind of the calculation: dfpt, relax or static."""
        if self.incar.get('LEPSILON'):
            return 'dfpt'
        return 'relax' if self.incar.get('NSW', 0) > 0 and self.incar.get('IBRION', -1) in (1, 2, 3) else 'static'


def read_inputs(folder: Path) -> Inputs:
    """Read the inputs in a folder.

    :raises InputError: a file is missing, or the files do not fit together
    """
    for name in ('INCAR', 'POSCAR', 'KPOINTS', 'POTCAR'):
        if not (folder / name).is_file():
            raise InputError(f'forrtl: severe (29): file not found, unit 14, file {folder}/{name}')
    poscar = (folder / 'POSCAR').read_text()
    lattice, groups, symbols, positions = _read_poscar(poscar)
    potcar = (folder / 'POTCAR').read_text()
    titles = re.findall(r'TITEL *= *(.+)', potcar)
    enmax = [float(value) for value in re.findall(r'ENMAX *= *([0-9.]+)', potcar)]
    incar = _incar((folder / 'INCAR').read_text())
    numbers = np.array([ATOMIC_NUMBERS[symbol] for symbol in symbols])
    inputs = Inputs(incar, lattice, numbers, positions, symbols, poscar, titles, enmax)
    _check(inputs, groups)
    return inputs


def _read_poscar(text):
    """Read a POSCAR of VASP 5: title, scale, lattice, symbols, counts, kind of the coordinates, coordinates."""
    lines = text.splitlines()
    lattice = float(lines[1]) * np.array([line.split()[:3] for line in lines[2:5]], dtype=float)
    groups = [re.sub(r'\d+$', '', name) for name in lines[5].split()]  # names of kinds, such as Fe1
    counts = [int(count) for count in lines[6].split()]
    symbols = np.repeat(groups, counts).tolist()
    start = 8 if lines[7].strip()[0] in 'Ss' else 7  # selective dynamics
    positions = np.array([line.split()[:3] for line in lines[start + 1 : start + 1 + len(symbols)]], dtype=float)
    if lines[start].strip()[0] in 'CcKk':
        positions = float(lines[1]) * positions @ np.linalg.inv(lattice)
    return lattice, groups, symbols, positions


def _incar(text):
    tags = {}
    for line in text.splitlines():
        if '=' not in line:
            continue
        key, value = (part.strip() for part in line.split('=', 1))
        tags[key.upper()] = _value(value)
    return tags


def _value(text):
    if text.upper().strip('.') in ('TRUE', 'T', 'FALSE', 'F'):
        return text.upper().strip('.').startswith('T')
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _check(inputs, groups):
    elements = [title.split()[1].split('_')[0] for title in inputs.titles]
    if elements != groups:
        raise InputError(f'ERROR: the type information on POSCAR and POTCAR are incompatible: {groups} and {elements}')
    if np.linalg.det(inputs.lattice) < 0:
        raise InputError('ERROR: the triple product of the basis vectors is negative exchange two basis vectors')
    response = inputs.incar.get('LEPSILON') or inputs.incar.get('IBRION') in (7, 8)
    if response and any(inputs.incar.get(tag, 1) != 1 for tag in ('NCORE', 'NPAR')):
        raise InputError(
            'VASP internal routines have requested a change of the k-point set. Unfortunately, this is only possible '
            'if NPAR=number of nodes. Please remove the tag NPAR from the INCAR file and restart the calculations.'
        )
    moments = inputs.incar.get('MAGMOM')
    if moments is not None and inputs.incar.get('ISPIN', 1) == 1:
        raise InputError("Error reading item 'MAGMOM' from file INCAR")
    if isinstance(moments, str) and '*' not in moments and len(moments.split()) != len(inputs.symbols):
        raise InputError(f"Error reading item 'MAGMOM' from file INCAR: {len(moments.split())} values")
