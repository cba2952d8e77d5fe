"""Reading of structure files: CPU time of a crystal and peak memory, by format.

python benchmarks/reading.py POOL.npz [--rows 100000] [--cif 10000] [--only jsonl] [--json RESULT.json]

POOL.npz are crystals as ``million.py --folder`` leaves them. Their first rows are written to a temporary folder as JSON
lines, as one file of extended XYZ, and some of them as one CIF each; a process of its own then reads each of these.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ase.io import write
from common import machine, one_thread, table

from aiida_goectp.core.crystals.convert import to_ase
from aiida_goectp.core.crystals.crystalset import CrystalFile, CrystalSet
from aiida_goectp.core.crystals.readers import read_structures


def write_json_lines(crystals: CrystalSet, path: Path) -> None:
    """Write one object a line."""
    with path.open('w') as stream:
        for crystal in crystals:
            row = {
                'id': crystal.id,
                'lattice': crystal.lattice.tolist(),
                'species': to_ase(crystal).get_chemical_symbols(),
                'frac_coords': crystal.fractional_positions.tolist(),
            }
            stream.write(json.dumps(row) + '\n')


def write_extended_xyz(crystals: CrystalSet, path: Path) -> None:
    """Write one frame a crystal."""
    with path.open('w') as stream:
        for crystal in crystals:
            write(stream, to_ase(crystal), format='extxyz')


def write_cif(crystals: CrystalSet, path: Path) -> None:
    """Write one file a crystal, without symmetry."""
    path.mkdir()
    for crystal in crystals:
        write(path / f'{crystal.id}.cif', to_ase(crystal), format='cif')


FORMATS = {'jsonl': write_json_lines, 'extxyz': write_extended_xyz, 'cif': write_cif}


def read(path: Path) -> dict[str, Any]:
    """Read a file or folder in this process."""
    begin = time.process_time()
    crystals = read_structures([path])
    seconds = time.process_time() - begin
    return {
        'crystals': len(crystals),
        'CPU, ms a crystal': 1e3 * seconds / len(crystals),
        'peak memory, MiB': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Write the files, and read each in a process of its own."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('pool', type=Path)
    parser.add_argument('--rows', type=int, default=100_000, help='crystals as JSON lines and extended XYZ')
    parser.add_argument('--cif', type=int, default=10_000, help='crystals as CIF')
    parser.add_argument('--only', nargs='+', choices=tuple(FORMATS), default=list(FORMATS), help='formats to read')
    parser.add_argument('--json', type=Path, help='file to which the results are written')
    parser.add_argument('--read', action='store_true', help='read POOL in this process')
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.pool)))
        return
    lines = []
    with TemporaryDirectory() as folder, CrystalFile(options.pool) as pool:
        for kind in options.only:
            count, path = options.cif if kind == 'cif' else options.rows, Path(folder, f'crystals.{kind}')
            FORMATS[kind](pool.rows(0, min(count, len(pool))), path)
            size = path.stat().st_size if path.is_file() else sum(item.stat().st_size for item in path.iterdir())
            command = [sys.executable, __file__, str(path), '--read']
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            lines.append({'format': kind, 'size, MB': size / 1e6, **found})
    table('Reading of structure files', lines)
    if options.json:
        options.json.write_text(json.dumps({'machine': machine(), 'reading': lines}, indent=1))


if __name__ == '__main__':
    one_thread()
    main()
