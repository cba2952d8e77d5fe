"""Nodes of finished VASP jobs without a scheduler: files written by the replay, read by the real parser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine.processes.process import ProcessState
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.schedulers import JobInfo
from ase import Atoms

from tests.replay_vasp.fixtures import POTCAR
from tests.workflows.dfpt.vasp.runs import parse

NAMES = ('INCAR', 'POSCAR', 'KPOINTS', 'POTCAR')


def replay(folder, atoms, incar, fault='', potentials=()):
    """Run the replay in a folder and return its output files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'INCAR').write_text('\n'.join(f'{key.upper()} = {value}' for key, value in incar.items()))
    (folder / 'KPOINTS').write_text('mesh\n0\nGamma\n4 4 4\n0 0 0\n')
    atoms.write(folder / 'POSCAR', format='vasp', direct=True)
    (folder / 'POTCAR').write_text(''.join(POTCAR.format(symbol=name, element=name) for name in potentials))
    state = folder / 'state'
    state.mkdir(exist_ok=True)
    root = Path(__file__).resolve().parents[4]
    environment = {**os.environ, 'PYTHONPATH': str(root), 'GOECTP_REPLAY_FAULTS': fault}
    with (folder / 'vasp_output').open('wb') as stream:
        subprocess.run(
            [sys.executable, '-m', 'tests.replay_vasp'],
            cwd=folder,
            env={**environment, 'GOECTP_REPLAY_STATE': str(state)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name not in NAMES}


def ended_job(computer, files, incar, options=None, seconds=None):
    """Return the node of a finished job with these retrieved files, and outputs and exit status of the real parser.

    :param seconds: wall time reported by the scheduler
    """
    settings = {'parser_settings': {'check_completeness': False}}
    outputs, status, node = parse(computer, files, incar, settings, whole=True, options=options)
    for name, output in outputs.items():
        if name != 'retrieved':
            output.base.links.add_incoming(node, LinkType.CREATE, name)
            output.store()
    if seconds is not None:
        info = JobInfo()
        info.job_id, info.wallclock_time_seconds = '1', seconds
        node.set_last_job_info(info)
    node.set_exit_status(status)
    node.set_exit_message(_message(status, files))
    node.set_process_state(ProcessState.FINISHED)
    node.set_process_label('VaspCalculation')
    node.seal()
    return node


def ended_workchain(status, message='', **outputs):
    """Return the node of a finished work chain with an exit status and outputs."""
    node = orm.WorkChainNode()
    node.store()
    for name, output in outputs.items():
        output.store()
        output.base.links.add_incoming(node, LinkType.RETURN, name)
    node.set_exit_status(status)
    node.set_exit_message(message)
    node.set_process_state(ProcessState.FINISHED)
    node.set_process_label('VaspRelaxWithHandlersWorkChain')
    return node


def instantiate(process, inputs):
    """Return an instance of a process that is not run."""
    return instantiate_process(get_manager().get_runner(), process, **inputs)


def inspect(process, node):
    """Let a restart work chain inspect a finished process; return the exit code, ``None`` if it is accepted."""
    process.ctx.children = [*process.ctx.get('children', []), node]
    process.ctx.iteration = len(process.ctx.children)
    return process.inspect_process()


def _message(status, files):
    if status == 703:
        return f'VASP calculation encountered a critical error: {files["vasp_output"].decode()}'
    return None if status == 0 else f'status {status}'


def crystal(row):
    """Return ASE atoms for a row of a published dataset."""
    return Atoms(row['species'], cell=np.array(row['lattice']), scaled_positions=np.array(row['frac_coords']), pbc=True)
