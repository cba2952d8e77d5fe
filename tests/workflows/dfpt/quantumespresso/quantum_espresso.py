"""What the tests with Quantum ESPRESSO share: crystals, rough settings, and programs that fail on request."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np

LABEL = 'PseudoDojo/0.4/PBEsol/SR/standard/upf'
ARCHIVE = 'pseudo-dojo-0.4-pbesol-sr-standard-upf.tar.gz'
ELEMENTS = ('Li', 'F', 'Na', 'Cl', 'Mg', 'O', 'Al', 'N', 'P')
GENERATED, LIGHT = 'goectp-ld1', ('Li', 'F', 'Al')

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
ROCKSALT = [[0, 0, 0], [0.5, 0.5, 0.5]]

# A run takes about a second; its numbers mean nothing.
CHEAP = {
    'relax': False,
    'kpoints_distance': 3.0,
    'scf': {'max_iterations': 1, 'pw': {'parameters': {'SYSTEM': {'ecutwfc': 16, 'ecutrho': 64}}}},
    'ph': {'max_iterations': 1, 'ph': {'parameters': {'INPUTPH': {'tr2_ph': 1e-8}}}},
}


def crystal(symbols, lattice, sites):
    """Return an unstored structure."""
    from aiida.orm import StructureData

    structure = StructureData(cell=np.asarray(lattice).tolist())
    for symbol, position in zip(symbols, np.asarray(sites) @ np.asarray(lattice), strict=True):
        structure.append_atom(position=position.tolist(), symbols=symbol)
    return structure


def rocksalt(cation, anion, edge, rotation=None):
    """Return a primitive rocksalt cell, rotated if a rotation is given."""
    lattice = FCC * edge if rotation is None else FCC * edge @ np.asarray(rotation).T
    return crystal((cation, anion), lattice, ROCKSALT)


def wrapper(folder, program, script):
    """Return a program that runs shell lines first.

    :param script: ``$run`` counts the runs from 1, ``$program`` is the real program
    """
    path = folder / program
    path.write_text(
        '#!/bin/sh\n'
        f'echo x >> {folder}/{program}.runs\n'
        f'run=$(wc -l < {folder}/{program}.runs)\n'
        f'program={shutil.which(program)}\n'
        f'{script}\n'
        'exec $program "$@"\n'
    )
    path.chmod(0o755)
    return path


def notes(dielectric):
    """Return the notes of the error handlers in the settings of a response, as one text."""
    return ' '.join(dielectric.dielectric.settings.get('notes', []))


def outcome(node):
    """Return how a work chain ended, for the messages of failing assertions."""
    from aiida.cmdline.utils.common import get_workchain_report

    return json.dumps([node.exit_status, node.exit_message]) + os.linesep + get_workchain_report(node, 'REPORT')
