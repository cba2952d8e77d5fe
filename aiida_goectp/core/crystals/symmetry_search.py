"""Symmetry search, Niggli reduction and type of a space group: the only module that calls spglib.

Source: A. Togo, K. Shinohara and I. Tanaka, Sci. Technol. Adv. Mater. Meth. 4, 2384822 (2024). spglib is imported at
the first call, since every AiiDA command loads this module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet

__all__ = (
    'SYMPREC',
    'SYSTEMS',
    'Symmetry',
    'crystal_system',
    'crystal_systems',
    'find_symmetry',
    'group_number',
    'niggli_reduce',
)

SYMPREC = 1e-2
"""Å, default tolerance: atoms closer to a symmetric position are on it (the usual choice for relaxed crystals)"""

SYSTEMS = ('triclinic', 'monoclinic', 'orthorhombic', 'tetragonal', 'trigonal', 'hexagonal', 'cubic')
"""crystal systems in the order of the space groups"""

_FIRST = (1, 3, 16, 75, 143, 168, 195)
"""number of the first space group of each system; International Tables for Crystallography A"""


class Symmetry(NamedTuple):
    """Space group of a crystal of n atoms."""

    number: int
    """1 to 230"""
    rotations: np.ndarray
    """(g, 3, 3) integers, W of x' = W x + w in fractional coordinates of the given cell"""
    translations: np.ndarray
    """(g, 3) w"""
    primitive_lattice: np.ndarray
    """(3, 3) Å, rows, in the frame of the crystal"""
    mapping_to_primitive: np.ndarray
    """(n,) index of the atom of the primitive cell that each atom is equivalent to by a lattice translation"""
    standard_rotation: np.ndarray
    """(3, 3) rotation of column vectors to the standard orientation, as spglib defines it"""


def find_symmetry(
    lattice: np.ndarray, positions: np.ndarray, numbers: np.ndarray, symprec: float = SYMPREC
) -> Symmetry | None:
    """Return the space group of a crystal, or None if none is found.

    :param lattice: (3, 3) Å, rows
    :param positions: (n, 3) fractional
    :param numbers: (n,) atomic numbers
    :param symprec: Å, tolerance
    """
    import spglib

    cell: Any = (lattice, positions, numbers)
    found = _call(lambda: spglib.get_symmetry_dataset(cell, symprec=symprec))
    if found is None:
        return None
    return Symmetry(
        int(found.number),
        np.asarray(found.rotations, dtype=np.int64),
        np.asarray(found.translations),
        np.asarray(found.primitive_lattice),
        np.asarray(found.mapping_to_primitive),
        np.asarray(found.std_rotation_matrix),
    )


def niggli_reduce(lattice: np.ndarray) -> np.ndarray | None:
    """Return the Niggli-reduced lattice (3, 3) Å, rows, in the same orientation; None if the reduction fails.

    :param lattice: (3, 3) Å, rows
    """
    import spglib

    return _call(lambda: spglib.niggli_reduce(lattice, eps=1e-5))


def group_number(rotations: np.ndarray, translations: np.ndarray, lattice: np.ndarray | None = None) -> int | None:
    """Return the number of the space group of operations in any setting; None if it cannot be determined.

    :param rotations: (m, 3, 3) in fractional coordinates
    :param translations: (m, 3)
    :param lattice: (3, 3) Å, rows; needed for oblique settings
    """
    import spglib

    integers = np.rint(rotations).astype(np.intc)
    found = _call(lambda: spglib.get_spacegroup_type_from_symmetry(integers, translations, lattice))
    return None if found is None else int(found.number)


def _call(function: Callable[[], Any]) -> Any:
    """Return the result of spglib, or None for a failure, which some versions signal by None and others by errors."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # deprecation of failures signalled by None
        try:
            return function()
        except Exception:  # the exception classes differ between versions
            return None


def crystal_system(crystal: Crystal) -> str:
    """Return the crystal system, one of :data:`SYSTEMS`; ``unknown`` if no space group is found."""
    found = find_symmetry(crystal.lattice, crystal.fractional_positions, crystal.atomic_numbers)
    if found is None:
        return 'unknown'
    return SYSTEMS[int(np.searchsorted(_FIRST, found.number, side='right')) - 1]


def crystal_systems(crystals: CrystalSet) -> np.ndarray:
    """Return the crystal system of each crystal, (n,) text."""
    return np.array([crystal_system(crystal) for crystal in crystals], dtype=np.str_).reshape(-1)
