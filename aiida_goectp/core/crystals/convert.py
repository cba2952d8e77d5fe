"""Conversion from and to ASE; the Cartesian frame is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.crystals.validation import CrystalError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ('from_ase', 'to_ase')


def from_ase(atoms: Atoms, id: str | None = None) -> Crystal:
    """Return an ASE structure as a crystal.

    :param atoms: structure, periodic along three directions
    :param id: id of the crystal; by default the formula of the cell
    :raises CrystalError: ``bad_lattice`` (no cell), ``not_periodic`` or ``partial_occupancy``
    """
    if atoms.cell.rank < 3:
        raise CrystalError('bad_lattice', f'the cell has no volume: {atoms.cell.array.tolist()}')
    if not all(atoms.pbc):
        raise CrystalError(
            'not_periodic', f'pbc is {atoms.pbc.tolist()}; a crystal is periodic along all axes (pbc="T T T")'
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
    """Return a crystal as an ASE structure in the same Cartesian frame."""
    from ase import Atoms

    return Atoms(
        numbers=np.array(crystal.atomic_numbers),
        cell=np.array(crystal.lattice),
        scaled_positions=np.array(crystal.fractional_positions),
        pbc=True,
    )
