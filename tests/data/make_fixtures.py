"""Make the tables in this folder from public data sets; README.md names the sources and the commands.

``python tests/data/make_fixtures.py TABLE SOURCE``: samples of the tables are JSON lines as the sources in README.md
describe them, excerpts of OUTCAR keep the lines that ``aiida_goectp.core.dielectric.outcar`` reads, without masses.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import spglib

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.crystals.layers import find_layers
from aiida_goectp.core.crystals.symmetry_search import crystal_system

FOLDER = Path(__file__).parent
LIMIT = 300_000
"""bytes, all fixtures of the folder"""
DECIMALS = 8
UNUSED = ('freq_min_ir_THz', 'fit_rel', 'phi_anti', 'phi_drift', 'formation_energy_per_atom')

PHONONDB = {
    'mp-1000': 'BaTe, the first row',
    'mp-1265': 'MgO',
    'mp-661': 'AlN, wurtzite',
    'mp-22862': 'NaCl',
    'mp-856': 'SnO2, rutile',
    'mp-2657': 'TiO2, rutile',
    'mp-2133': 'ZnO, wurtzite',
    'mp-1986': 'ZnO, zincblende',
    'mp-10175': 'KCdF3, negative ionic tensor',
    'mp-12010': 'BaSeO4, soft mode, tensor above the limit',
    'mp-675022': 'CsPbCl3, ionic tensor breaks the point group',
    'mp-190': 'ReO3, metal',
}
PETOUSIS = {'mp-441': 'Rb2Te', 'mp-871': 'FeSi, asymmetric tensor'}

Row = dict[str, Any]


def crystal_of(row: Row) -> Crystal:
    """Return the crystal of a row."""
    numbers = np.array([ATOMIC_NUMBERS[symbol] for symbol in row['species']], np.int16)
    return Crystal(row['id'], np.array(row['lattice']), numbers, np.array(row['frac_coords'], dtype=float))


def system(row: Row) -> str:
    """Return the crystal system of a row."""
    return crystal_system(crystal_of(row))


def depends_on_tolerance(row: Row) -> bool:
    """Return whether the space group differs between tolerances of 1e-4 and 0.1 Å."""
    crystal = crystal_of(row)
    cell = (crystal.lattice, crystal.fractional_positions, crystal.atomic_numbers)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = [spglib.get_symmetry_dataset(cell, symprec=symprec) for symprec in (1e-4, 0.1)]
    return len({None if item is None else item.number for item in found}) > 1


def spread(rows: Iterable[Row], count: int, key: Callable[[Row], Any] = system) -> list[Row]:
    """Return about ``count`` rows, the same number from each group of equal keys, evenly spaced within it."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    chosen: list[Row] = []
    waiting = sorted(groups.values(), key=len)
    for place, group in enumerate(waiting):
        number = min(len(group), -(-(count - len(chosen)) // (len(waiting) - place)))
        chosen += [group[i] for i in np.linspace(0, len(group) - 1, number).round().astype(int)] if number else []
    return chosen


def sample_phonondb(rows: list[Row]) -> list[Row]:
    """Return named rows, and rows of each crystal system, size and quality."""
    good = [row for row in rows if row['electronic_ok'] and row['ionic_ok']]
    return [
        *(row for row in rows if row['id'] in PHONONDB),
        *spread((row for row in good if len(row['species']) <= 8), 170),
        *spread((row for row in good if len(row['species']) > 8), 30),
        *spread((row for row in good if find_layers(crystal_of(row))), 10),
        *spread((row for row in good if depends_on_tolerance(row)), 10),
        *spread((row for row in rows if not row['ionic_ok']), 12, lambda row: row['electronic_ok']),
    ]


def sample_petousis(rows: list[Row]) -> list[Row]:
    """Return named rows, rows of crystals that the sample of phonondb has as well, and rows of each crystal system."""
    common = {row['id'] for row in read_rows(FOLDER / 'phonondb_born.jsonl.gz')}
    return [
        *(row for row in rows if row['id'] in PETOUSIS),
        *spread((row for row in rows if row['id'] in common), 30),
        *spread(rows, 80),
    ]


def sample_mp20(rows: list[Row]) -> list[Row]:
    """Return insulators and metals of each crystal system."""
    return spread(rows, 210, lambda row: (system(row), row['band_gap'] > 0.1))


def sample_large(rows: list[Row]) -> list[Row]:
    """Return crystals of 31 to 60 atoms of each crystal system, some larger ones, and the largest."""
    sizes = [len(row['species']) for row in rows]
    return [
        *spread((row for row, size in zip(rows, sizes, strict=True) if 30 < size <= 60), 18),
        *spread((row for row, size in zip(rows, sizes, strict=True) if 60 < size <= 120), 6),
        rows[int(np.argmax(sizes))],
    ]


SAMPLES = {
    'phonondb_born': sample_phonondb,
    'petousis2017_mp': sample_petousis,
    'mp20': sample_mp20,
    'phonondb_unlabelled': sample_large,
}


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a file of JSON lines."""
    with gzip.open(path, 'rt', encoding='utf-8') as stream:
        return [json.loads(line) for line in stream]


def rounded(value: Any) -> Any:
    """Round every number of a nested list; zero has no sign."""
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value


def write_sample(table: str, source: Path) -> Path:
    """Write a sample in the order of its source."""
    rows = read_rows(source)
    chosen = {row['id'] for row in SAMPLES[table](rows)}
    lines = [
        json.dumps({key: rounded(value) for key, value in row.items() if key not in UNUSED}, separators=(', ', ': '))
        for row in rows
        if row['id'] in chosen
    ]
    return write_packed(FOLDER / f'{table}.jsonl.gz', lines)


def write_packed(path: Path, lines: list[str]) -> Path:
    """Write lines compressed; equal lines give equal bytes."""
    path.write_bytes(gzip.compress(('\n'.join(lines) + '\n').encode(), 9, mtime=0))
    return path


_KEPT = re.compile(r'^ vasp\.|Iteration|aborting loop|ENMAX|ENCUT  =|E-fermi|k-point +\d+ :|band No\.| THz ')
_TABLES = {'MACROSCOPIC STATIC DIELECTRIC TENSOR': 5, 'BORN EFFECTIVE CHARGES (': None, 'Eigenvectors and eig': 1}
_LEVEL = re.compile(r'^ *\d+ +-?\d+\.\d+ +(\d+\.\d+) *$')


def excerpt_of_outcar(text: str) -> list[str]:
    """Return version, cutoffs, iterations, levels beside the gap, tensors, Born charges and frequencies."""
    lines, kept = text.splitlines(), []
    atoms = int(re.search(r'NIONS = +(\d+)', text)[1])  # type: ignore[index]
    for place, line in enumerate(lines):
        title = next((title for title in _TABLES if title in line), None)
        if title is not None:
            kept += lines[place : place + 1 + (_TABLES[title] or 4 * atoms + 1)]
        elif _KEPT.search(line):
            kept.append(line)
        elif level := _LEVEL.match(line):
            beside = [_LEVEL.match(lines[place + step]) for step in (-1, 1)]
            if any(other and (float(other[1]) > 0) != (float(level[1]) > 0) for other in beside):
                kept.append(line)
        elif line.startswith('-----') and kept and _LEVEL.match(kept[-1]):
            kept.append(line)
    return [line.rstrip() for line in kept]


def write_excerpt(table: str, source: Path) -> Path:
    """Write an excerpt of an OUTCAR."""
    content = gzip.decompress(source.read_bytes()) if source.suffix == '.gz' else source.read_bytes()
    return write_packed(FOLDER / f'{table}.gz', excerpt_of_outcar(content.decode()))


def write_reference(table: str, source: Path) -> Path:
    """Write graphs and outputs of the published network together with the crystals beside them."""
    rows = json.loads((source.parent / 'goectp_reference_crystals.json').read_text(encoding='utf-8'))
    with np.load(source) as arrays:
        graphs = dict(arrays)
    if graphs['ids'].tolist() != [row['id'] for row in rows]:
        raise SystemExit(f'{source}: not the crystals of goectp_reference_crystals.json')
    crystals = [crystal_of(row) for row in rows]
    path = FOLDER / f'{table}.npz'
    np.savez_compressed(
        path,
        **graphs,
        atomic_numbers=np.concatenate([crystal.atomic_numbers for crystal in crystals]),
        fractional_positions=np.concatenate([crystal.fractional_positions for crystal in crystals]),
    )
    return path


WRITERS = {
    **dict.fromkeys(SAMPLES, write_sample),
    'OUTCAR.zn3p2s8': write_excerpt,
    'OUTCAR.si': write_excerpt,
    'goectp_reference': write_reference,
}


def main() -> None:
    """Write one fixture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('table', choices=WRITERS)
    parser.add_argument('source', type=Path)
    arguments = parser.parse_args()
    path = WRITERS[arguments.table](arguments.table, arguments.source)
    total = sum(
        file.stat().st_size for file in FOLDER.rglob('*') if file.is_file() and not file.suffix.startswith('.py')
    )
    print(f'{path}: {path.stat().st_size} bytes; all of the folder {total}')
    if total > LIMIT:
        raise SystemExit(f'{FOLDER}: {total} bytes, at most {LIMIT} are allowed')


if __name__ == '__main__':
    main()
