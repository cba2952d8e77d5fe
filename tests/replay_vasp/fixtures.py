"""Fixtures for tests with the replay: its code, dummy potentials, rows of the tables.

Import them with ``from tests.replay_vasp.fixtures import *``.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from aiida import orm

from tests.rows import PHONONDB, read_rows

__all__ = ('potcar_family', 'replay_code', 'replayed')

FAMILY = 'replay'
_LABELS = itertools.count(1)

POTCAR = """  PAW_PBE {symbol} 01Jan2000
   4.00000000000000
 parameters from PSCTR are:
   VRHFIN ={element}: none
   LEXCH  = PE
   EATOM  =   100.0000 eV,    7.3500 Ry

   TITEL  = PAW_PBE {symbol} 01Jan2000
   LULTRA =        F    use ultrasoft PP ?
   POMASS =   10.000; ZVAL   =    4.000    mass and valenz
   ENMAX  =  400.000; ENMIN  =  300.000 eV
   END of PSCTR-controll parameters
   dummy for tests
 End of Dataset
"""


@pytest.fixture
def replay_code(aiida_profile, aiida_code_installed, aiida_localhost, tmp_path):
    """Return a function that makes a code with the faults of :mod:`.faults`: ``replay_code('walltime*2')``."""
    root = Path(__file__).resolve().parents[2]

    def make(faults='', seconds=0.0):
        number = next(_LABELS)
        state = tmp_path / f'state-{number}'
        state.mkdir()
        script = tmp_path / f'vasp-{number}'
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.replay_vasp "$@"\n')
        script.chmod(0o755)
        settings = {
            'PYTHONPATH': root,
            'GOECTP_REPLAY_FAULTS': faults,
            'GOECTP_REPLAY_STATE': state,
            'GOECTP_REPLAY_SECONDS': seconds,
        }
        lines = '\n'.join(f"export {name}='{value}'" for name, value in settings.items())
        return aiida_code_installed(
            label=f'vasp-{number}',
            default_calc_job_plugin='vasp.vasp',
            filepath_executable=str(script),
            prepend_text=lines,
        )

    return make


@pytest.fixture(scope='module')
def potcar_family(empty_profile, tmp_path_factory):
    """Return a function that uploads dummies, ``potcar_family('Mg_pv', 'O')``, and returns the name of the family."""
    from aiida_vasp.data.potcar import PotcarData

    uploaded = set()

    def upload(*symbols):
        if symbols in uploaded:
            return FAMILY
        uploaded.add(symbols)
        folder = tmp_path_factory.mktemp('potentials')
        for symbol in symbols:
            path = folder / symbol / 'POTCAR'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(POTCAR.format(symbol=symbol, element=symbol.split('_')[0]))
        PotcarData.upload_potcar_family(str(folder), FAMILY, 'dummies for tests', stop_if_existing=False)
        return FAMILY

    return upload


@pytest.fixture(scope='session')
def replayed():
    """Return a function that returns a row of the table of PBEsol: ``replayed('mp-1265')``."""
    return read_rows(PHONONDB).__getitem__


def structure_of(row, rotation=None, transform=None, order=None, shift=(0, 0, 0)):
    """Return the unstored structure of a row, rotated, with another cell, order of the atoms and origin."""
    turn = np.eye(3) if rotation is None else np.asarray(rotation)
    lattice = np.array(row['lattice']) @ turn.T
    positions = (np.array(row['frac_coords']) + np.asarray(shift)) @ lattice
    cell = lattice if transform is None else np.asarray(transform) @ lattice
    structure = orm.StructureData(cell=cell.tolist())
    for atom in range(len(positions)) if order is None else order:
        structure.append_atom(position=positions[atom].tolist(), symbols=row['species'][atom])
    return structure
