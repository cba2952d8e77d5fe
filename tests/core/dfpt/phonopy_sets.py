"""A phonopy calculation of rock salt with springs, and its files."""

from __future__ import annotations

import numpy as np


def springs(supercell, displaced):
    """Return the forces (N, 3) of springs between neighbours, stiffer along the bond."""
    rest, lattice = supercell.scaled_positions, supercell.cell
    moved = displaced.positions - supercell.positions
    difference = rest[:, None] - rest[None]
    difference -= np.round(difference)
    vectors = difference @ lattice
    lengths = np.linalg.norm(vectors, axis=-1)
    near = (lengths > 0.1) & (lengths < 4.1)
    unit = np.where(near[..., None], vectors / np.where(near, lengths, 1.0)[..., None], 0.0)
    stiffness = np.where(near, 8.0 * (2.0 / np.where(near, lengths, 1.0)) ** 4, 0.0)
    relative = moved[:, None] - moved[None]
    along = np.einsum('ijk,ijk->ij', unit, relative)[..., None] * unit
    return -(stiffness[..., None] * (along + 0.1 * relative)).sum(axis=1)


def magnesia():
    """Return the ``Phonopy`` of MgO in a cubic cell, with force constants, charges ±1.9 e and ε_∞ = 3.1."""
    import phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    fcc = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    cell = PhonopyAtoms(
        symbols=['Mg'] * 4 + ['O'] * 4,
        cell=np.eye(3) * 4.2,
        scaled_positions=np.array([*fcc, *np.add(fcc, [0.5, 0, 0])]) % 1,
    )
    phonon = phonopy.Phonopy(cell, np.eye(3, dtype=int) * 2, primitive_matrix='F')
    phonon.generate_displacements(distance=0.01)
    phonon.forces = [springs(phonon.supercell, item) for item in phonon.supercells_with_displacements]
    phonon.produce_force_constants()
    charges = np.array([np.eye(3) * 1.9, -np.eye(3) * 1.9])
    phonon.nac_params = {'born': charges, 'dielectric': np.eye(3) * 3.1, 'factor': 14.4}
    return phonon


def phonopy_set(folder):
    """Write all files of a set, and return their contents by name."""
    from phonopy.file_IO import write_FORCE_CONSTANTS, write_FORCE_SETS
    from phonopy.interface.vasp import write_vasp

    phonon = magnesia()
    write_FORCE_SETS(phonon.dataset, filename=folder / 'FORCE_SETS')
    write_FORCE_CONSTANTS(phonon.force_constants, filename=folder / 'FORCE_CONSTANTS')
    without = {'force_sets': False, 'born_effective_charge': False, 'dielectric_constant': False}
    phonon.save(folder / 'phonopy_disp.yaml', settings=without)
    phonon.save(folder / 'phonopy_params.yaml', settings={'force_sets': True})
    write_vasp(folder / 'POSCAR', phonon.unitcell)
    write_vasp(folder / 'SPOSCAR', phonon.supercell)
    rows = (3.1 * np.eye(3), 1.9 * np.eye(3), -1.9 * np.eye(3))
    lines = [' '.join(f'{value:.6f}' for value in row.ravel()) for row in rows]
    (folder / 'BORN').write_text('\n'.join(['default', *lines]) + '\n')
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
