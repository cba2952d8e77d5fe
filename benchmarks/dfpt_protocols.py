"""Cost and convergence of the protocols of ``goectp.dfpt.quantumespresso``.

Runs ``pw.x`` and ``ph.x`` without AiiDA on textbook crystals at their measured lattice constants, with the parameters
of the work chain, and prints one line for each run::

    python benchmarks/dfpt_protocols.py --pseudos FOLDER --cutoffs cutoffs.json --output lines.jsonl LiF MgO

Runs whose line is in the output are not repeated. Times are CPU seconds of one core as printed by the programs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import yaml

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dfpt.espresso_response import dielectric_from_quantumespresso
from aiida_goectp.workflows.dfpt.quantumespresso.orientation import special_points
from aiida_goectp.workflows.protocols import mixin

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
ROCKSALT, ZINCBLENDE = [[0] * 3, [0.5] * 3], [[0] * 3, [0.25] * 3]
CRYSTALS = {
    'LiF': (4.010, ROCKSALT, ('Li', 'F')),
    'MgO': (4.212, ROCKSALT, ('Mg', 'O')),
    'NaCl': (5.595, ROCKSALT, ('Na', 'Cl')),
    'C': (3.567, ZINCBLENDE, ('C', 'C')),
    'BN': (3.616, ZINCBLENDE, ('B', 'N')),
    'Si': (5.431, ZINCBLENDE, ('Si', 'Si')),
    'AlP': (5.467, ZINCBLENDE, ('Al', 'P')),
    'SiC': (4.360, ZINCBLENDE, ('Si', 'C')),
}
NUMBERS = {'Li': 3, 'B': 5, 'C': 6, 'N': 7, 'O': 8, 'F': 9, 'Na': 11, 'Mg': 12, 'Al': 13, 'Si': 14, 'P': 15, 'Cl': 17}
MASSES = {'Li': 6.94, 'B': 10.81, 'C': 12.011, 'N': 14.007, 'O': 15.999, 'F': 18.998, 'Na': 22.99, 'Mg': 24.305}
MASSES |= {'Al': 26.982, 'Si': 28.085, 'P': 30.974, 'Cl': 35.45}


def protocol_inputs(name: str, step: float | None) -> dict:
    """Return the inputs of a protocol, with another distance between k points if given."""
    content = yaml.safe_load((Path(mixin.__file__).parent / 'dfpt_quantumespresso.yaml').read_text())
    inputs = mixin.merge(content['default_inputs'], content['protocols'][name])
    return inputs if step is None else mixin.merge(inputs, {'kpoints_distance': step})


def namelist(name: str, values: dict) -> str:
    """Return a Fortran namelist."""
    text = {True: '.true.', False: '.false.'}
    rows = [f' {key} = {text[v] if isinstance(v, bool) else repr(v)}' for key, v in values.items()]
    return '\n'.join([f'&{name}', *rows, '/', ''])


def run(name: str, protocol: str, step: float | None, pseudos: Path, cutoffs: dict) -> dict:
    """Run one crystal with one protocol and return its results."""
    edge, sites, symbols = CRYSTALS[name]
    crystal = Crystal(name, FCC * edge, np.array([NUMBERS[s] for s in symbols]), np.array(sites, dtype=float))
    inputs = protocol_inputs(protocol, step)
    mesh, offset = special_points(crystal, inputs['kpoints_distance'])
    table = cutoffs[inputs['stringency']]
    wave = max(table[s]['cutoff_wfc'] for s in symbols)
    density = max(table[s]['cutoff_rho'] for s in symbols)
    parameters = inputs['scf']['pw']['parameters']
    control = {**parameters['CONTROL'], 'prefix': 'aiida', 'outdir': './out', 'pseudo_dir': str(pseudos)}
    kinds = list(dict.fromkeys(symbols))
    electrons = sum(valence(pseudos / f'{s}.upf') for s in symbols)
    system = {'ibrav': 0, 'nat': 2, 'ntyp': len(kinds), 'ecutwfc': wave, 'ecutrho': density}
    system |= {'occupations': 'fixed', 'nbnd': round(electrons) // 2 + 2}
    cards = ['ATOMIC_SPECIES', *(f'{s} {MASSES[s]} {s}.upf' for s in kinds), 'K_POINTS automatic']
    cards += [' '.join(map(str, [*mesh, *(int(2 * x) for x in offset)])), 'CELL_PARAMETERS angstrom']
    cards += [' '.join(f'{x:.10f}' for x in row) for row in crystal.lattice] + ['ATOMIC_POSITIONS crystal']
    cards += [f'{s} {x} {y} {z}' for s, (x, y, z) in zip(symbols, sites, strict=True)]
    text = namelist('CONTROL', control) + namelist('SYSTEM', system) + namelist('ELECTRONS', parameters['ELECTRONS'])
    response = {**inputs['ph']['ph']['parameters']['INPUTPH'], 'epsil': True, 'trans': True, 'ldisp': True}
    response |= {'nq1': 1, 'nq2': 1, 'nq3': 1, 'prefix': 'aiida', 'outdir': './out'}
    response['fildyn'] = 'DYN_MAT/dynamical-matrix-'
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / 'DYN_MAT').mkdir()
        (work / 'pw.in').write_text(text + '\n'.join(cards) + '\n')
        (work / 'ph.in').write_text(namelist('INPUTPH', response))
        outputs = [execute(program, work) for program in ('pw', 'ph')]
        files = {
            'DYN_MAT/dynamical-matrix-1': (work / 'DYN_MAT' / 'dynamical-matrix-1').read_text(),
            'tensors.xml': (work / 'out' / '_ph0' / 'aiida.phsave' / 'tensors.xml').read_text(),
        }
    result = dielectric_from_quantumespresso(crystal, files, gap=0, forces=None, ground_state={}, settings={})
    return {
        'crystal': name,
        'protocol': protocol,
        'step': inputs['kpoints_distance'],
        'mesh': mesh,
        'cutoff': wave,
        'points': int(re.search(r'number of k points= *(\d+)', outputs[0]).group(1)),
        'seconds': round(sum(cpu_seconds(text) for text in outputs), 1),
        'electronic': round(float(np.trace(result.electronic)) / 3, 4),
        'total': round(float(np.trace(result.total)) / 3, 4),
        'born': round(float(result.born_charges[0, 0, 0]), 4),
        'optical': round(float(result.frequencies[-1]), 3),
    }


def valence(path: Path) -> float:
    """Return the valence of a pseudopotential."""
    return float(re.search(r'z_valence="\s*([\d.E+]+)"', path.read_text()).group(1))


def execute(program: str, work: Path) -> str:
    """Run a program on one core and return its output."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMPI_ALLOW_RUN_AS_ROOT': '1'}
    environment['OMPI_ALLOW_RUN_AS_ROOT_CONFIRM'] = '1'
    command = [f'{program}.x', '-in', f'{program}.in']
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if 'JOB DONE' not in done.stdout:
        raise RuntimeError(f'{program}.x failed:\n{done.stdout[-2000:]}')
    return done.stdout


def cpu_seconds(text: str) -> float:
    """Return the CPU time in seconds from the last line of the timings of pw.x and ph.x."""
    line = [row for row in text.splitlines() if re.match(r' +(PWSCF|PHONON) +:', row)][-1].split('CPU')[0]
    hours, minutes, seconds = (re.search(rf'([\d.]+) *{unit}', line) for unit in 'hms')
    parts = ((hours, 3600), (minutes, 60), (seconds, 1))
    return sum(float(found.group(1)) * size for found, size in parts if found)


def main() -> None:
    """Run each crystal with each protocol."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('crystals', nargs='*', default=list(CRYSTALS), help=', '.join(CRYSTALS))
    parser.add_argument('--pseudos', type=Path, required=True, help='folder with ELEMENT.upf')
    parser.add_argument('--cutoffs', type=Path, required=True, help='stringency → element → cutoffs in Ry')
    parser.add_argument('--protocols', nargs='+', default=['fast', 'balanced', 'stringent'])
    parser.add_argument('--step', type=float, help='distance between k points instead of that of the protocol, 1/Å')
    parser.add_argument('--output', type=Path, default=Path('dfpt_protocols.jsonl'))
    arguments = parser.parse_args()
    cutoffs = json.loads(arguments.cutoffs.read_text())
    lines = arguments.output.read_text().splitlines() if arguments.output.is_file() else []
    done = {(row['crystal'], row['protocol'], row['step']) for row in map(json.loads, lines)}
    for protocol in arguments.protocols:
        for name in arguments.crystals:
            step = arguments.step or protocol_inputs(protocol, None)['kpoints_distance']
            if (name, protocol, step) in done:
                continue
            line = json.dumps(run(name, protocol, arguments.step, arguments.pseudos.resolve(), cutoffs))
            print(line, flush=True)
            with arguments.output.open('a') as stream:
                stream.write(line + '\n')


if __name__ == '__main__':
    main()
