"""Conversion of crystals from and to pymatgen; the Cartesian frame is never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS, formula, symbols_of
from aiida_goectp.core.crystals.validation import CrystalError

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ('from_pymatgen', 'to_pymatgen')


def from_pymatgen(structure: Structure, id: str | None = None) -> Crystal:
    """Return a pymatgen structure as a crystal.

    :param id: name of the crystal; the formula of the cell if not given
    :raises CrystalError: ``partial_occupancy``, ``unknown_element`` (a dummy species) or ``not_periodic``
    """
    lattice = structure.lattice
    if not all(lattice.pbc):
        raise CrystalError(
            'not_periodic', f'the structure is periodic along {lattice.pbc}; a crystal is periodic in three directions'
        )
    numbers = []
    for place, site in enumerate(structure, start=1):
        if not site.is_ordered:
            raise CrystalError(
                'partial_occupancy', f'site {place} is occupied by {site.species_string}; order the structure first'
            )
        element = getattr(site.specie, 'element', site.specie)
        number = ATOMIC_NUMBERS.get(getattr(element, 'symbol', ''))
        if number is None:
            raise CrystalError('unknown_element', f'site {place}: {site.species_string} is not a chemical element')
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
