"""Executable in place of VASP."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from tests.replay_vasp.faults import next_fault
from tests.replay_vasp.inputs import InputError, read_inputs
from tests.replay_vasp.library import composition, find
from tests.replay_vasp.outputs import TIMING, VERSION, outcar, vasprun

SYMMETRY = ' POSMAP internal error: symmetry equivalent atom not found,           2 3'
KPOINTS = ' VASP internal routines have requested a change of the k-point set. Unfortunately, this is not possible'
CRITICAL = ' BRMIX: very serious problems\n the old and the new charge density differ'
SCHEDULER = {
    'walltime': 'slurmstepd: error: *** JOB 1 ON node1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***',
    'memory': 'slurmstepd: error: Detected 1 oom_kill event in StepId=1.0. Some of the tasks have been OOM Killed.',
}


def main() -> int:
    """Run in the working folder; return the exit status."""
    folder = Path.cwd()
    time.sleep(float(os.environ.get('GOECTP_REPLAY_SECONDS', '0')))
    try:
        inputs = read_inputs(folder)
    except InputError as error:
        return _refuse(folder, str(error))
    counts = composition(inputs.symbols)
    formula = ''.join(f'{symbol}{number if number > 1 else ""}' for symbol, number in sorted(counts.items()))
    fault = next_fault(inputs.stage, formula, inputs.incar.get('IBRION') == 8)
    if fault == 'dead':
        return 1
    print(f' vasp.{VERSION} replay\n POSCAR found, {len(inputs.symbols)} ions of {formula}', flush=True)
    if fault in ('symmetry', 'kpoints'):
        return _stop(folder, SYMMETRY if fault == 'symmetry' else KPOINTS)
    answer = find(inputs.lattice, inputs.numbers, inputs.positions, inputs.functional)
    if answer is None:
        return _refuse(folder, f'no published tensor of {formula} with the functional {inputs.functional}')
    print(f' replays {answer.id}', flush=True)
    if fault == 'zero_ionic':
        answer = answer._replace(ionic=np.zeros((3, 3)))
    if fault == 'critical':
        print(CRITICAL, flush=True)
    shown = answer if inputs.stage == 'dfpt' and fault not in ('no_dielectrics', 'electronic') else None
    forces = np.zeros((len(inputs.symbols), 3))
    if fault == 'forces':
        forces[0], forces[-1] = [0.2, 0, 0], [-0.2, 0, 0]
    log = outcar(inputs, shown, fault, forces, answer.gap)
    xml = vasprun(inputs, shown, fault, forces, answer.gap)
    (folder / 'CONTCAR').write_text('')
    if fault in ('walltime', 'memory', 'killed'):
        return _die(folder, fault, log, xml)
    if fault == 'truncated':
        xml = xml[: xml.index('<varray name="epsilon" >')]
    (folder / 'OUTCAR').write_text(log + TIMING)
    (folder / 'vasprun.xml').write_text(xml)
    (folder / 'CONTCAR').write_text(inputs.poscar)
    return 0


def _stop(folder: Path, message: str) -> int:
    """Stop before the first iteration, as VASP does if its set-up fails."""
    print(message, flush=True)
    (folder / 'OUTCAR').write_text(f' vasp.{VERSION} replay (build none) complex\n\n{message}\n')
    (folder / 'vasprun.xml').write_text('<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <incar>\n')
    (folder / 'CONTCAR').write_text('')
    return 1


def _refuse(folder: Path, message: str) -> int:
    """Stop with the box in which VASP 6 states the reason."""
    edge = ' ' + '-' * 77
    lines = [f'|     {message[start : start + 70]:<70} |' for start in range(0, len(message), 70)]
    box = [edge, '|           EEEEEEE  RRRRRR   RRRRRR   OOOOOOO  RRRRRR      ###     |', '|', *lines, '|']
    box += ['|       ---->  I REFUSE TO CONTINUE WITH THIS SICK JOB ... BYE!!! <----       |', edge]
    return _stop(folder, '\n'.join(box))


def _die(folder: Path, fault: str, log: str, xml: str) -> int:
    """Leave files that are cut off within the first loop, as a killed run does."""
    (folder / 'OUTCAR').write_text(log[: log.index('Iteration    1(   6)') + 30])
    half = xml.index('<scstep>') + 3 * len('<scstep><time name="total">    1.50    1.50</time>')
    (folder / 'vasprun.xml').write_text(xml[:half])
    if fault in SCHEDULER:
        print(SCHEDULER[fault], file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


if __name__ == '__main__':
    sys.exit(main())
