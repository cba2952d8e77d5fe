"""Read the inputs of VASP, and refuse what VASP refuses."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.io import read


class Refusal(Exception):
    """What VASP prints before it stops."""


class Inputs(NamedTuple):
    incar: dict
    lattice: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    symbols: list
    poscar: str
    kpoints: np.ndarray  # divisions
    titles: list  # of the potentials
    enmax: list  # eV

    @property
    def functional(self):
        return {'PS': 'PBEsol', 'PE': 'PBE', '': 'PBE'}.get(str(self.incar.get('GGA', '')).upper())

    @property
    def stage(self):
        if self.incar.get('LEPSILON'):
            return 'dfpt'
        return 'relax' if self.incar.get('NSW', 0) > 0 and self.incar.get('IBRION', -1) in (1, 2, 3) else 'static'


def read_inputs(folder: Path) -> Inputs:
    """Inputs in a folder.

    :raises Refusal: with the words of VASP
    """
    for name in ('INCAR', 'POSCAR', 'KPOINTS', 'POTCAR'):
        if not (folder / name).is_file():
            raise Refusal(f'forrtl: severe (29): file not found, unit 14, file {folder}/{name}')
    poscar = (folder / 'POSCAR').read_text()
    atoms = read(io.StringIO(poscar), format='vasp')
    potcar = (folder / 'POTCAR').read_text()
    titles = re.findall(r'TITEL *= *(.+)', potcar)
    enmax = [float(value) for value in re.findall(r'ENMAX *= *([0-9.]+)', potcar)]
    incar = _incar((folder / 'INCAR').read_text())
    divisions = np.array((folder / 'KPOINTS').read_text().splitlines()[3].split()[:3], dtype=int)
    inputs = Inputs(
        incar,
        atoms.cell.array,
        atoms.numbers,
        atoms.get_scaled_positions(wrap=False),
        atoms.get_chemical_symbols(),
        poscar,
        divisions,
        titles,
        enmax,
    )
    _check(inputs)
    return inputs


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


def _check(inputs):
    order = []
    for symbol in inputs.symbols:
        if not order or order[-1] != symbol:
            order.append(symbol)
    elements = [title.split()[1].split('_')[0] for title in inputs.titles]
    if elements != order:
        raise Refusal(f'ERROR: the type information on POSCAR and POTCAR are incompatible: {order} and {elements}')
    response = inputs.incar.get('LEPSILON') or inputs.incar.get('IBRION') in (7, 8)
    if response and any(inputs.incar.get(tag, 1) != 1 for tag in ('NCORE', 'NPAR')):
        raise Refusal(
            'VASP internal routines have requested a change of the k-point set. Unfortunately, this is only possible '
            'if NPAR=number of nodes. Please remove the tag NPAR from the INCAR file and restart the calculations.'
        )
    moments = inputs.incar.get('MAGMOM')
    if moments is not None and inputs.incar.get('ISPIN', 1) == 1:
        raise Refusal("Error reading item 'MAGMOM' from file INCAR")
    if isinstance(moments, str) and '*' not in moments and len(moments.split()) != len(inputs.symbols):
        raise Refusal(f"Error reading item 'MAGMOM' from file INCAR: {len(moments.split())} values")
