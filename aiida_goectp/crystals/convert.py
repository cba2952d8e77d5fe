"""Crystals from and to pymatgen and ASE, one at a time; the Cartesian frame is never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.crystals.crystalset import Crystal
from aiida_goectp.crystals.elements import ATOMIC_NUMBERS, formula, symbols_of
from aiida_goectp.crystals.validation import CrystalError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

__all__ = ('from_ase', 'from_pymatgen', 'to_ase', 'to_pymatgen')


def from_pymatgen(structure: Structure, id: str | None = None) -> Crystal:
    """Return a pymatgen structure as a crystal.

    :param id: name of the crystal; the formula of the cell if not given
    :raises CrystalError: ``partial_occupancy``, ``unknown_element`` (a dummy species) or ``not_periodic``
    """
    lattice = structure.lattice
    if not all(lattice.pbc):
        raise CrystalError(
            'not_periodic', f'the structure is periodic along {lattice.pbc} only; a crystal is along all'
        )
    numbers = []
    for place, site in enumerate(structure, start=1):
        if not site.is_ordered:
            raise CrystalError(
                'partial_occupancy', f'site {place} is occupied by {site.species_string}; give an ordered structure'
            )
        element = getattr(site.specie, 'element', site.specie)
        number = ATOMIC_NUMBERS.get(getattr(element, 'symbol', ''))
        if number is None:
            raise CrystalError('unknown_element', f'site {place} holds {site.species_string}, no chemical element')
        numbers.append(number)
    atoms = np.array(numbers, dtype=np.int16)
    return Crystal(formula(atoms) if id is None else id, lattice.matrix.copy(), atoms, structure.frac_coords.copy())


def to_pymatgen(crystal: Crystal) -> Structure:
    """Return a crystal as a pymatgen structure, with positions as they are, in the frame of the crystal."""
    from pymatgen.core import Lattice, Structure

    return Structure(
        Lattice(np.array(crystal.lattice)),
        symbols_of(crystal.atomic_numbers),
        np.array(crystal.fractional_positions),
        to_unit_cell=False,
    )


def from_ase(atoms: Atoms, id: str | None = None) -> Crystal:
    """Return an ASE structure as a crystal.

    :param id: name of the crystal; the formula of the cell if not given
    :raises CrystalError: ``bad_lattice`` (no cell), ``partial_occupancy`` or ``not_periodic``
    """
    if atoms.cell.rank < 3:
        raise CrystalError('bad_lattice', f'the cell spans no volume: {atoms.cell.array.tolist()}')
    if not all(atoms.pbc):
        raise CrystalError(
            'not_periodic', f'periodic along {atoms.pbc.tolist()} only; a crystal is along all three (pbc="T T T")'
        )
    for kind, shares in atoms.info.get('occupancy', {}).items():
        if len(shares) != 1 or abs(sum(shares.values()) - 1) > 1e-3:
            raise CrystalError('partial_occupancy', f'site {kind} is occupied by {shares}; give an ordered structure')
    numbers = np.asarray(atoms.numbers, dtype=np.int16)
    return Crystal(
        formula(numbers) if id is None else id,
        np.array(atoms.cell.array, dtype=np.float64),
        numbers,
        atoms.get_scaled_positions(wrap=False),
    )


def to_ase(crystal: Crystal) -> Atoms:
    """Return a crystal as an ASE structure, in the frame of the crystal."""
    from ase import Atoms

    return Atoms(
        numbers=np.array(crystal.atomic_numbers),
        cell=np.array(crystal.lattice),
        scaled_positions=np.array(crystal.fractional_positions),
        pbc=True,
    )
