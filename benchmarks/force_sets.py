"""Force constants at Γ, Born charges and permittivities from a clone of the public phonon database.

``python benchmarks/force_sets.py CLONE OUT.npz [--workers 2] [--compare OTHER.npz]`` reads the archives
``phonon_db_tarred/*.tar.lzma`` of github.com/WMD-group/phononDB (A. Togo, phonondb 2018-04-17, CC-BY-4.0): of each, the
unit cell, the forces of displaced supercells, and, where they exist, Born charges and ε_∞. It writes the file that
``lattice_dataset.py`` reads. The force constants of the primitive cell are fitted to the forces, summed over the
periodic images of each atom, of all displacements and their images by symmetry; they are averaged over the space group,
and the acoustic sum rule is applied.
"""

from __future__ import annotations

import io
import re
import tarfile
from argparse import ArgumentParser
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import one_thread

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.symmetry import CanonicalCell, canonical_cell
from aiida_goectp.core.dfpt.phonopy_set import load_phonopy
from aiida_goectp.core.dielectric.gamma_modes import DIPOLE_STRENGTH

FILES = ('POSCAR-unitcell', 'FORCE_SETS', 'BORN', 'phonon.yaml')
ARCHIVE = re.compile(r'materials-id-(\d+)-.*\.tar\.lzma')
LARGEST = 40.0
"""average of ε_∞ from which a crystal counts as a metal"""


class Displacements(NamedTuple):
    """Displacements of single atoms of a supercell with N atoms, and the forces that follow."""

    atoms: np.ndarray
    """(d,) displaced atom, counted from 0"""
    vectors: np.ndarray
    """(d, 3) Å"""
    forces: np.ndarray
    """(d, N, 3) eV/Å"""


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the files of an archive that are used here, by name."""
    with tarfile.open(path, 'r:xz') as archive:
        members = {Path(item.name).name: item for item in archive.getmembers() if item.isfile()}
        streams = {name: archive.extractfile(members[name]) for name in FILES if name in members}
        return {name: stream.read() for name, stream in streams.items() if stream is not None}


def read_unit_cell(name: str, content: bytes) -> Crystal:
    """Return the unit cell."""
    from ase.io import read

    atoms: Any = read(io.StringIO(content.decode()), format='vasp')
    numbers = atoms.get_atomic_numbers().astype(np.int16)
    return Crystal(name, np.array(atoms.cell), numbers, atoms.get_scaled_positions(wrap=False))


def read_displacements(content: bytes) -> Displacements:
    """Return the content of ``FORCE_SETS`` with single displacements."""
    values = np.array(content.split(), dtype=float)
    count, sets = int(values[0]), int(values[1])
    rows = values[2:].reshape(sets, 4 + 3 * count)
    return Displacements(rows[:, 0].astype(int) - 1, rows[:, 1:4], rows[:, 4:].reshape(sets, count, 3))


def fit(cell: CanonicalCell, displacements: Displacements, supercell_atoms: np.ndarray) -> np.ndarray:
    """Return the force constants (n, 3, n, 3) of the primitive cell.

    :param supercell_atoms: (N,) atom of the primitive cell of each atom of the supercell
    :raises ValueError: the displacements do not determine them
    """
    n = len(cell.atomic_numbers)
    summed = np.zeros((len(displacements.atoms), n, 3))
    for forces, total in zip(displacements.forces, summed, strict=True):
        np.add.at(total, supercell_atoms, forces)
    moved = supercell_atoms[displacements.atoms]
    equations: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []) for _ in range(n)]
    for operation, images in zip(cell.operations, cell.permutations, strict=True):
        turned = np.empty_like(summed)
        turned[:, images] = summed @ operation.T
        for atom, vector, forces in zip(images[moved], displacements.vectors @ operation.T, turned, strict=True):
            equations[atom][0].append(vector)
            equations[atom][1].append(forces.ravel())
    constants = np.zeros((n, 3, n, 3))
    for atom, (vectors, forces) in enumerate(equations):
        if not vectors or np.linalg.matrix_rank(np.array(vectors), tol=1e-4) < 3:
            raise ValueError('the displacements do not determine the force constants')
        constants[atom] = -np.linalg.lstsq(np.array(vectors), np.array(forces), rcond=None)[0].reshape(3, n, 3)
    return constants


def symmetrised(constants: np.ndarray, cell: CanonicalCell) -> np.ndarray:
    """Return the (3n, 3n) average over the space group, symmetric, with the acoustic sum rule."""
    n = len(constants)
    total = np.zeros_like(constants)
    for operation, images in zip(cell.operations, cell.permutations, strict=True):
        turned = np.einsum('ab,ibjc,dc->iajd', operation, constants, operation, optimize=True)
        total[np.ix_(images, range(3), images, range(3))] += turned
    matrix = total.reshape(3 * n, 3 * n) / len(cell.operations)
    projector = np.eye(3 * n) - np.kron(np.ones((n, n)) / n, np.eye(3))
    return projector @ (matrix + matrix.T) / 2 @ projector


def read_charges(files: dict[str, bytes], cell: CanonicalCell, unit: Crystal) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the Born charges (n, 3, 3) e of the primitive cell and ε_∞ (3, 3); None where they are not given."""
    if 'phonon.yaml' not in files:
        return None
    loaded = load_phonopy({name: files[name] for name in ('phonon.yaml', 'BORN') if name in files}, forces=False)
    if loaded.nac_params is None:
        return None
    # each atom of the unit cell has the charge of its image in phonopy's primitive cell
    to_primitive = loaded.primitive.p2p_map
    images = [to_primitive[loaded.primitive.s2p_map[atom]] for atom in loaded.supercell.u2s_map]
    given = np.asarray(loaded.nac_params['born'])[images]
    charges = np.zeros((len(cell.atomic_numbers), 3, 3))
    np.add.at(charges, cell.primitive_atom, given)
    charges /= np.bincount(cell.primitive_atom)[:, None, None]
    total = np.zeros_like(charges)
    for operation, permutation in zip(cell.operations, cell.permutations, strict=True):
        total[permutation] += operation @ charges @ operation.T
    total /= len(cell.operations)
    dielectric = np.asarray(loaded.nac_params['dielectric'])
    return total - total.mean(axis=0), (dielectric + dielectric.T) / 2


def process(path: Path) -> dict[str, Any]:
    """Return the record of one archive; with the key ``error`` if it cannot be used."""
    match = ARCHIVE.fullmatch(path.name)
    name = f'mp-{match.group(1)}' if match else path.name
    try:
        files = read_archive(path)
        unit = read_unit_cell(name, files['POSCAR-unitcell'])
        displacements = read_displacements(files['FORCE_SETS'])
        cell = canonical_cell(unit, symprec=1e-5)
        count, images = displacements.forces.shape[1], len(unit.atomic_numbers)
        if count % images:
            raise ValueError(f'{count} atoms in the supercell, {images} in the unit cell')
        # phonopy puts the images of an atom of the unit cell one after the other
        atoms = cell.primitive_atom[np.arange(count) // (count // images)]
        matrix = symmetrised(fit(cell, displacements, atoms), cell)
        found = read_charges(files, cell, unit)
    except (KeyError, ValueError, tarfile.TarError, EOFError) as error:
        return {'id': name, 'error': f'{type(error).__name__}: {error}'}
    record = {'id': name, 'cell': cell, 'phi': matrix, **response(cell, matrix)}
    return record | ({} if found is None else response(cell, matrix, *found))


def response(
    cell: CanonicalCell, matrix: np.ndarray, charges: np.ndarray | None = None, electronic: np.ndarray | None = None
) -> dict[str, Any]:
    """Return optical eigenvalues, and with charges the permittivities and whether they can be labels."""
    n = len(cell.atomic_numbers)
    stiff = matrix + 1e4 * np.tile(np.eye(3), (n, n)) / n
    values, vectors = np.linalg.eigh(stiff)
    values, vectors = values[: 3 * n - 3], vectors[:, : 3 * n - 3]
    if charges is None or electronic is None:
        return {'opt_eig': values}
    strengths = charges.transpose(1, 0, 2).reshape(3, 3 * n) @ vectors
    ionic = DIPOLE_STRENGTH / abs(np.linalg.det(cell.lattice)) * (strengths / values) @ strengths.T
    good = bool(1 < np.trace(electronic) / 3 < LARGEST)
    return {
        'opt_eig': values,
        'born': charges,
        'eps_electronic': electronic,
        'eps_ionic': ionic,
        'electronic_ok': good,
        'ionic_ok': good and bool((values > 0).all()),
    }


def write(records: Iterable[dict[str, Any]], path: Path) -> None:
    """Write the records with the same labels to one file."""
    rows = list(records)
    cells: list[CanonicalCell] = [row['cell'] for row in rows]
    arrays: dict[str, Any] = {
        'id': np.array([row['id'] for row in rows]),
        'n': np.array([len(cell.atomic_numbers) for cell in cells]),
        'lattice': np.array([cell.lattice for cell in cells]),
        'numbers': np.concatenate([cell.atomic_numbers for cell in cells]),
        'positions': np.concatenate([cell.fractional_positions @ cell.lattice for cell in cells]),
        'phi': np.concatenate([row['phi'].ravel() for row in rows]).astype(np.float32),
        'opt_eig': np.concatenate([row['opt_eig'] for row in rows]),
    }
    if all('born' in row for row in rows):
        arrays['born'] = np.concatenate([row['born'] for row in rows])
        for name in ('eps_electronic', 'eps_ionic', 'electronic_ok', 'ionic_ok'):
            arrays[name] = np.array([row[name] for row in rows])
    np.savez_compressed(path, **arrays)
    print(f'{path}: {len(rows)} crystals')


def compare(records: Iterable[dict[str, Any]], path: Path) -> None:
    """Print the largest differences of eigenvalues and tensors from those of another file."""
    other = dict(np.load(path))
    rows = {str(name): row for row, name in enumerate(other['id'])}
    ends = np.cumsum(np.maximum(3 * other['n'] - 3, 0))
    eigenvalues, tensors = [], []
    for record in records:
        row = rows.get(record['id'])
        if row is None:
            continue
        start = ends[row] - max(3 * int(other['n'][row]) - 3, 0)
        expected = np.sort(other['opt_eig'][start : ends[row]])
        if len(expected) == len(record['opt_eig']):
            eigenvalues.append(np.abs(expected - record['opt_eig']).max(initial=0.0))
        if 'eps_ionic' in record and 'eps_ionic' in other:
            norm = max(np.linalg.norm(other['eps_ionic'][row]), 1e-3)
            tensors.append(np.linalg.norm(record['eps_ionic'] - other['eps_ionic'][row]) / norm)
    for name, values in (('eigenvalues, eV/Å²', eigenvalues), ('ionic part, relative', tensors)):
        if values:
            quantiles = ', '.join(f'{value:.1e}' for value in np.quantile(values, [0.5, 0.99, 1]))
            print(f'{name}: {len(values)} crystals, difference (median, 99 %, largest) {quantiles}')


def main() -> None:
    """Read the archives and write the files."""
    one_thread()
    parser = ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('clone', type=Path)
    parser.add_argument('output', type=Path, help='crystals with Born charges; the others go to OUT_unlabelled.npz')
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--compare', type=Path, help='a file of the same form')
    options = parser.parse_args()
    paths = sorted(options.clone.glob('phonon_db_tarred/*.tar.lzma'))
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(process, paths, chunksize=8))
    for record in found:
        if 'error' in record:
            print(f'{record["id"]}: {record["error"]}')
    labelled = [record for record in found if 'born' in record]
    others = [record for record in found if 'born' not in record and 'error' not in record]
    if labelled:
        write(labelled, options.output)
    if others:
        write(others, options.output.with_name(f'{options.output.stem}_unlabelled.npz'))
    if options.compare:
        compare(labelled + others, options.compare)


if __name__ == '__main__':
    main()
