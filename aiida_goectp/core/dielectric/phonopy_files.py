"""Files of phonopy for a cell at Γ: ``POSCAR``, ``BORN``, ``FORCE_CONSTANTS`` and ``phonopy_params.yaml``.

The supercell of the force constants is the cell itself. ``BORN`` holds the charges of symmetrically independent atoms
only, in the order in which they occur in the cell; phonopy derives the others with the operations that it finds, to its
own tolerance. The index of the field comes first, as in VASP and here. ``phonopy_params.yaml`` contains cell, supercell
and the masses that this package uses; those of phonopy differ by up to some 10⁻⁴.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.crystals.symmetry_search import find_symmetry
from aiida_goectp.core.dielectric.gamma_modes import to_blocks
from aiida_goectp.core.dielectric.gamma_phonons import PhononCell
from aiida_goectp.core.dielectric.phonons import project_translations
from aiida_goectp.core.formats.terminal import printable

__all__ = ('PARAMETERS', 'born_text', 'force_constants_text', 'phonopy_files', 'symmetrised')

PARAMETERS = 'phonopy_params.yaml'
"""name of the file that phonopy is started with"""
_TOLERANCE = 1e-3
"""Å, of the symmetry of a cell: larger than the rounding of coordinates in a file, and smaller than a distortion"""


def phonopy_files(cell: PhononCell, title: str) -> dict[str, str]:
    """Return name and content of all files.

    The cell is right-handed: lattice and positions of a left-handed one are inverted, the atoms stay where they are.
    ε_∞ and Born charges, which DFPT gives with small violations of the symmetry, are averaged over the space group, as
    are lattice and positions: phonopy, whose tolerance is 10⁻⁵ Å, then finds the same independent atoms.

    :param cell: a primitive cell, or any other
    :param title: first line of ``POSCAR``
    """
    if np.linalg.det(cell.lattice) < 0:  # phonopy neglects the macroscopic field of a left-handed cell
        cell = cell._replace(lattice=-cell.lattice, fractional_positions=-cell.fractional_positions)
    cell, equivalent = symmetrised(cell)
    return {
        'POSCAR': _poscar(cell, title),
        'BORN': born_text(cell.electronic, cell.born_charges, equivalent),
        # without the rounding of single precision, which phonopy shows as acoustic frequencies
        'FORCE_CONSTANTS': force_constants_text(project_translations(cell.force_constants)),
        PARAMETERS: _parameters(cell),
    }


def symmetrised(cell: PhononCell) -> tuple[PhononCell, np.ndarray]:
    """Return a cell with lattice, positions, ε_∞ and Born charges averaged over the space group, and its equal atoms.

    :return: the cell, whose force constants are unchanged; (n,) index of the first atom that is equivalent to each
    """
    from aiida_goectp.core.crystals.symmetry import symmetrised_cell  # importing numba takes a second

    lattice, positions = np.asarray(cell.lattice), np.asarray(cell.fractional_positions)
    numbers = np.asarray(cell.atomic_numbers, dtype=np.int64)
    found = find_symmetry(lattice, positions, numbers, _TOLERANCE)
    if found is None:
        return cell, np.arange(len(numbers))
    lattice, moved, operations, images = symmetrised_cell(
        lattice, lattice, positions, numbers, found.rotations, found.translations
    )
    electronic, charges, equivalent = np.zeros((3, 3)), np.zeros((len(numbers), 3, 3)), np.arange(len(numbers))
    for operation, image in zip(operations, images, strict=True):
        electronic += operation @ cell.electronic @ operation.T
        charges[image] += operation @ cell.born_charges @ operation.T
        equivalent = np.minimum(equivalent, image)
    steps = moved - positions
    average = cell._replace(
        lattice=lattice,
        fractional_positions=positions + steps - np.rint(steps),  # in the cell in which they were
        electronic=electronic / len(operations),
        born_charges=charges / len(operations),
    )
    return average, equivalent


def born_text(electronic: np.ndarray, born_charges: np.ndarray, equivalent_atoms: np.ndarray) -> str:
    """Return the content of ``BORN``.

    :param electronic: (3, 3) ε_∞
    :param born_charges: (n, 3, 3) e; indices atom, field, displacement
    :param equivalent_atoms: (n,) index of the first atom that is equivalent to each by symmetry
    """
    independent = np.unique(equivalent_atoms)
    lines = ['default']  # the factor for charges in e and lengths in Å
    lines += [_row(tensor) for tensor in (electronic, *np.asarray(born_charges)[independent])]
    return '\n'.join(lines) + '\n'


def _row(tensor: np.ndarray) -> str:
    return ' '.join(f'{value:13.8f}' for value in np.asarray(tensor).ravel())


def force_constants_text(force_constants: np.ndarray) -> str:
    """Return the content of ``FORCE_CONSTANTS``.

    :param force_constants: (3n, 3n) eV/Å²; an index is 3 × atom + direction
    """
    n = len(force_constants) // 3
    blocks = to_blocks(np.asarray(force_constants)).reshape(n, n, 3, 3)
    lines = [f'{n:4d} {n:4d}']
    for first in range(n):
        for second in range(n):
            lines.append(f'{first + 1} {second + 1}')
            lines += [' '.join(f'{value:22.15f}' for value in row) for row in blocks[first, second]]
    return '\n'.join(lines) + '\n'


def _poscar(cell: PhononCell, title: str) -> str:
    # the order of the atoms is that of the force constants, so an element may occur in several groups
    groups = [(symbol, len(list(atoms))) for symbol, atoms in groupby(symbols_of(cell.atomic_numbers))]
    lines = [printable(title), '1.0', *_vectors(cell.lattice)]
    lines += [' '.join(symbol for symbol, _ in groups), ' '.join(str(count) for _, count in groups), 'Direct']
    return '\n'.join([*lines, *_vectors(cell.fractional_positions)]) + '\n'


def _vectors(vectors: np.ndarray) -> list[str]:
    return [' '.join(f'{value:21.16f}' for value in vector) for vector in np.asarray(vectors)]


def _parameters(cell: PhononCell) -> str:
    identity = [f'- [ {", ".join(str(int(value)) for value in row)} ]' for row in np.eye(3)]
    lines = ['phonopy:', '  calculator: vasp', 'primitive_matrix:', *identity, 'supercell_matrix:', *identity]
    lines += ['unit_cell:', '  lattice:', *(f'  - [ {_list(vector)} ]' for vector in np.asarray(cell.lattice))]
    lines.append('  points:')
    atoms = zip(symbols_of(cell.atomic_numbers), np.asarray(cell.fractional_positions), cell.masses, strict=True)
    for symbol, position, mass in atoms:
        lines += [f'  - symbol: {symbol}', f'    coordinates: [ {_list(position)} ]', f'    mass: {mass:.6f}']
    return '\n'.join(lines) + '\n'


def _list(vector: np.ndarray) -> str:
    return ', '.join(f'{value:.16f}' for value in vector)
