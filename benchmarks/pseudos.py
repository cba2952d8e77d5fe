"""Compare generated pseudopotentials with another table: ε_∞, ε_0 and pressure of small crystals by pw.x and ph.x.

    python benchmarks/pseudos.py --reference FOLDER [--crystals MgO NaCl] [--scratch FOLDER]

FOLDER contains one UPF file for each element, ``Mg.upf``, … Each crystal takes minutes on one core, all of them about
half an hour. Both tables are used with the same lattice constants.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from ase.data import atomic_masses, atomic_numbers

from aiida_goectp.workflows.dfpt.quantumespresso.pseudos import RECIPES, generate

ENVIRONMENT = {'OMP_NUM_THREADS': '1', 'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1'}


class Case(NamedTuple):
    """A crystal: cell in Å, atoms in fractions of it, k mesh, cutoff of the reference table in Ry."""

    cell: list[list[float]]
    atoms: list[tuple[str, tuple[float, float, float]]]
    mesh: str
    cutoff: float


class Result(NamedTuple):
    """ε_∞ and ε_0, each xx and zz, and the pressure in kbar."""

    electronic: tuple[float, float]
    static: tuple[float, float]
    pressure: float


def _cubic(a: float, first: str, second: str, at: float, mesh: str, cutoff: float) -> Case:
    cell = [[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]]
    return Case(cell, [(first, (0, 0, 0)), (second, (at, at, at))], f'{mesh} 1 1 1', cutoff)


def _wurtzite(a: float, c: float, u: float, cutoff: float) -> Case:
    cell = [[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]]
    metal, other = [(1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 0.5)], [(1 / 3, 2 / 3, u), (2 / 3, 1 / 3, u + 0.5)]
    return Case(cell, [*(('Al', x) for x in metal), *(('N', x) for x in other)], '4 4 2 0 0 0', cutoff)


CASES = {
    'MgO': _cubic(4.212, 'Mg', 'O', 0.5, '3 3 3', 84),
    'NaCl': _cubic(5.64, 'Na', 'Cl', 0.5, '3 3 3', 60),
    'LiF': _cubic(4.026, 'Li', 'F', 0.5, '3 3 3', 70),
    'SiC': _cubic(4.358, 'Si', 'C', 0.25, '6 6 6', 60),
    'Si': _cubic(5.43, 'Si', 'Si', 0.25, '8 8 8', 24),
    'BN': _cubic(3.616, 'B', 'N', 0.25, '4 4 4', 84),
    'LiH': _cubic(4.084, 'Li', 'H', 0.5, '3 3 3', 74),
    'AlN': _wurtzite(3.113, 4.981, 0.3818, 50),
}


def _inputs(case: Case, cutoff: float) -> dict[str, str]:
    elements = sorted({symbol for symbol, _ in case.atoms})
    species = '\n'.join(f'{s} {atomic_masses[atomic_numbers[s]]} {s}.UPF' for s in elements)
    cell = '\n'.join(' '.join(f'{x:.10f}' for x in row) for row in case.cell)
    atoms = '\n'.join(f'{s} ' + ' '.join(f'{x:.12f}' for x in at) for s, at in case.atoms)
    return {
        'pw': f"&control\n prefix='x', outdir='tmp', pseudo_dir='.', tstress=.true.\n/\n&system\n ibrav=0,"
        f' nat={len(case.atoms)}, ntyp={len(elements)}, ecutwfc={cutoff}\n/\n&electrons\n conv_thr=1d-10,'
        f" startingwfc='random'\n/\nATOMIC_SPECIES\n{species}\nCELL_PARAMETERS angstrom\n{cell}\n"
        f'ATOMIC_POSITIONS crystal\n{atoms}\nK_POINTS automatic\n{case.mesh}\n',
        'ph': "x\n&inputph\n prefix='x', outdir='tmp', epsil=.true., trans=.true., tr2_ph=1d-14,"
        " fildyn='dyn'\n/\n0 0 0\n",
        'dynmat': "&input\n fildyn='dyn', asr='crystal', lperm=.true.\n/\n",
    }


def _diagonal(text: str, heading: str) -> tuple[float, float]:
    lines = text[text.index(heading) :].splitlines()[1:4]
    rows = [[float(word) for word in line.split()] for line in lines]
    return rows[0][0], rows[2][2]


def run(case: Case, pseudos: dict[str, Path], cutoff: float, folder: Path) -> Result:
    """Run pw.x, ph.x at Γ and dynmat.x in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for symbol, path in pseudos.items():
        shutil.copy(path, folder / f'{symbol}.UPF')
    output = {}
    for program, content in _inputs(case, cutoff).items():
        (folder / f'{program}.in').write_text(content)
        command = [f'{program}.x', '-i', f'{program}.in']
        done = subprocess.run(command, cwd=folder, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f'{program}.x failed in {folder}:\n{done.stdout[-1000:]}')
        output[program] = done.stdout
    shutil.rmtree(folder / 'tmp')
    found = re.search(r'P=\s*(\S+)', output['pw'])
    assert found
    return Result(
        _diagonal(output['dynmat'], 'Electronic dielectric permittivity'),
        _diagonal(output['dynmat'], '... with zone-center polar mode'),
        float(found.group(1)),
    )


def _row(name: str, table: str, cutoff: float, result: Result, reference: Result | None) -> str:
    cells = []
    for field in ('electronic', 'static'):
        values = getattr(result, field)
        shown = values[:1] if abs(values[0] - values[1]) < 1e-4 else values
        text = ' / '.join(f'{value:.3f}' for value in shown)
        if reference is not None:
            others = getattr(reference, field)
            text += ' (' + ' / '.join(f'{100 * (a / b - 1):+.1f} %' for a, b in zip(shown, others, strict=False)) + ')'
        cells.append(text)
    return f'| {name} | {table} | {cutoff:g} | {cells[0]} | {cells[1]} | {result.pressure:+.0f} |'


def main() -> None:
    """Print the table of the manual."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--reference', type=Path, help='folder with one UPF file for each element')
    parser.add_argument('--crystals', nargs='+', choices=CASES, default=list(CASES))
    parser.add_argument('--scratch', type=Path, default=None)
    options = parser.parse_args()
    scratch = options.scratch or Path(tempfile.mkdtemp(prefix='goectp-pseudos-'))
    print('| crystal | table | cutoff, Ry | ε_∞ | ε_0 | pressure, kbar |\n|---|---|---|---|---|---|')
    for name in options.crystals:
        case, reference = CASES[name], None
        elements = sorted({symbol for symbol, _ in case.atoms})
        if options.reference:
            files = {s: next(options.reference.glob(f'{s}.[uU][pP][fF]')) for s in elements}
            reference = run(case, files, case.cutoff, scratch / f'{name}-reference')
            print(_row(name, 'reference', case.cutoff, reference, None), flush=True)
        cutoff = max(RECIPES[symbol].cutoffs[1] for symbol in elements)
        files = dict(zip(elements, generate(elements, scratch / 'generated'), strict=True))
        result = run(case, files, cutoff, scratch / f'{name}-generated')
        print(_row(name, 'ld1.x', cutoff, result, reference), flush=True)


if __name__ == '__main__':
    main()
