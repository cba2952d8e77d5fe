"""Symmetry search, Niggli reduction and table of space groups: the only module that calls spglib.

Source: A. Togo, K. Shinohara and I. Tanaka, Sci. Technol. Adv. Mater. Meth. 4, 2384822 (2024). spglib is imported at
the first call, since every AiiDA command loads this module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet

__all__ = (
    'SYMPREC',
    'SYSTEMS',
    'HallSetting',
    'Symmetry',
    'crystal_system',
    'crystal_systems',
    'find_symmetry',
    'hall_operations',
    'hall_settings',
    'niggli_reduce',
)

SYMPREC = 1e-2
"""Å, default tolerance: atoms closer to a symmetric position are on it (the usual choice for relaxed crystals)"""

SYSTEMS = ('triclinic', 'monoclinic', 'orthorhombic', 'tetragonal', 'trigonal', 'hexagonal', 'cubic')
"""crystal systems in the order of the space groups"""

_FIRST = (1, 3, 16, 75, 143, 168, 195)
"""number of the first space group of each system; International Tables for Crystallography A"""

_HALL_NUMBERS = range(1, 531)


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


class HallSetting(NamedTuple):
    """One of the 530 settings of space groups."""

    hall_number: int
    """1 to 530"""
    number: int
    """number of the space group, 1 to 230"""
    choice: str
    """axes or origin: ``''``, ``'1'``, ``'2'``, ``'H'``, ``'R'``, ``'b1'``, …"""
    hall_symbol: str
    full_symbol: str
    """full Hermann-Mauguin symbol, such as ``P 1 21/n 1``"""
    symbol: str
    """Hermann-Mauguin symbols, such as ``P 2_1/c = P 1 2_1/c 1``"""


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


@lru_cache(maxsize=1)
def hall_settings() -> tuple[HallSetting, ...]:
    """Return all settings of the space groups in the order of Hall numbers."""
    import spglib

    types = [(number, spglib.get_spacegroup_type(number)) for number in _HALL_NUMBERS]
    return tuple(
        HallSetting(
            hall_number,
            item.number,
            item.choice,
            ' '.join(item.hall_symbol.split()),
            item.international_full,
            item.international,
        )
        for hall_number, item in types
        if item is not None
    )


def hall_operations(hall_number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (g, 3, 3) and translations (g, 3) of a setting in fractional coordinates.

    :param hall_number: 1 to 530
    """
    import spglib

    found: Any = spglib.get_symmetry_from_database(hall_number)
    return found['rotations'], found['translations']


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
