"""What the tests with Quantum ESPRESSO share: pseudopotentials, codes, crystals, and codes that fail on purpose."""

from __future__ import annotations

import json
import os
import shutil
import tarfile

import numpy as np
import pytest

LABEL = 'PseudoDojo/0.4/PBEsol/SR/standard/upf'
ARCHIVE = 'pseudo-dojo-0.4-pbesol-sr-standard-upf.tar.gz'
ELEMENTS = ('Li', 'F', 'Na', 'Cl', 'Mg', 'O', 'Al', 'N', 'P')

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
ROCKSALT = [[0, 0, 0], [0.5, 0.5, 0.5]]

# rough enough to take a second, good enough to fail and to be cured
CHEAP = {
    'relax': False,
    'kpoints_distance': 3.0,
    'scf': {'max_iterations': 1, 'pw': {'parameters': {'SYSTEM': {'ecutwfc': 16, 'ecutrho': 64}}}},
    'ph': {'max_iterations': 1, 'ph': {'parameters': {'INPUTPH': {'tr2_ph': 1e-8}}}},
}


def need_programs():
    """Skip where Quantum ESPRESSO is not installed."""
    for program in ('pw.x', 'ph.x'):
        if shutil.which(program) is None:
            pytest.skip(f'{program} is not in PATH: `aiida-goectp setup dfpt` says how to get it')
    pytest.importorskip('aiida_quantumespresso', reason='needs the extra `quantumespresso`')


def need_family(shared, folder):
    """Install the pseudopotentials that the tests need, once a profile."""
    from aiida_goectp.cli.setup.pseudo_families import install_family, installed_family, read_cutoffs

    archive = shared / 'pseudos' / ARCHIVE
    if not archive.is_file():
        pytest.skip(f'needs {archive}, which is not here')
    family = installed_family(LABEL)
    if family is None:
        with tarfile.open(archive) as packed:
            for element in ELEMENTS:
                (folder / f'{element}.upf').write_bytes(packed.extractfile(f'{element}.upf').read())
        family = install_family(folder, LABEL, read_cutoffs(shared / 'pseudos' / 'cutoffs.json'))
    return family


def crystal(symbols, lattice, sites):
    """Return an unstored structure."""
    from aiida.orm import StructureData

    structure = StructureData(cell=np.asarray(lattice).tolist())
    for symbol, position in zip(symbols, np.asarray(sites) @ np.asarray(lattice), strict=True):
        structure.append_atom(position=position.tolist(), symbols=symbol)
    return structure


def rocksalt(cation, anion, edge, rotation=None):
    """Return a primitive rocksalt cell, turned if a rotation is given."""
    lattice = FCC * edge if rotation is None else FCC * edge @ np.asarray(rotation).T
    return crystal((cation, anion), lattice, ROCKSALT)


def spoilt(folder, program, script):
    """Return a program that spoils its first runs.

    :param script: shell lines that run before the program; ``$run`` counts from 1, ``$program`` is the real one
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


def environment():
    """Return what a job sets before pw.x and ph.x."""
    from aiida_goectp.cli.setup.programs import environment_lines

    return environment_lines()


def notes(dielectric):
    """Return the notes that the remedies left with a response."""
    return ' '.join(dielectric.dielectric.settings.get('notes', []))


def outcome(node):
    """Return a short text of how a work chain ended, for the messages of failing assertions."""
    from aiida.cmdline.utils.common import get_workchain_report

    return json.dumps([node.exit_status, node.exit_message]) + os.linesep + get_workchain_report(node, 'REPORT')
