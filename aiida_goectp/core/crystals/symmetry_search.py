"""Symmetry search, reduction of lattices and type of a space group: the only module that calls moyopy and spglib.

moyopy reduces lattices and finds the operations, several times faster than spglib. spglib does what moyopy does not:
the standard orientation of spglib, and the space group of operations in a setting that no table has. Sources:
K. Shinohara et al., moyo (https://github.com/spglib/moyo); A. Togo, K. Shinohara and I. Tanaka, Sci. Technol. Adv.
Mater. Meth. 4, 2384822 (2024). Both are imported at the first call, since every AiiDA command loads this module.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet

__all__ = (
    'FLATTEST',
    'SYMPREC',
    'SYSTEMS',
    'Symmetry',
    'crystal_system',
    'crystal_systems',
    'find_symmetry',
    'group_number',
    'minkowski_reduce',
    'standard_orientation',
)

# moyopy warns of each supercell with fewer operations than its primitive cell, which canonical_cell searches again
logging.getLogger('moyo').setLevel(logging.ERROR)

SYMPREC = 1e-2
"""Å, default tolerance: atoms closer to a symmetric position are on it (the usual choice for relaxed crystals)"""

FLATTEST = 1e-6
"""smallest volume of the parallelepiped of the unit vectors along a, b, c"""

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


def find_symmetry(
    lattice: np.ndarray, positions: np.ndarray, numbers: np.ndarray, symprec: float = SYMPREC
) -> Symmetry | None:
    """Return the space group of a crystal, or None if none is found.

    An operation is accepted if it maps each atom to within ``symprec`` of an atom of the same element, after the shift
    that fits all atoms best, and preserves the lengths and angles of the lattice within ``symprec``. If the accepted
    operations form no group, moyopy tightens or loosens the tolerance until they do. These criteria do not depend on
    the choice of cell, origin, atom order or orientation. In a cell that is more than 500 times as long as thick, or
    that repeats within 0.3 Å, none is found.

    The cell is reduced first, and the origin is moved to where no atom is near a face: moyopy (up to 0.21 at least)
    pads an elongated cell by less than ``symprec`` along its short axes and misses pairs of atoms on both sides of a
    face, so that origin, order of atoms and cell decided which operations were found.

    :param lattice: (3, 3) Å, rows
    :param positions: (n, 3) fractional
    :param numbers: (n,) atomic numbers
    :param symprec: Å, tolerance
    """
    import moyopy

    from aiida_goectp.core.crystals.compiled.reduced_cell import in_given_cell, inside_reduced

    lattice = np.asarray(lattice, dtype=np.float64)
    if not len(numbers) or not np.isfinite(lattice).all() or not np.isfinite(positions).all():
        return None
    try:
        basis, transform = moyopy.minkowski_reduce(lattice.tolist())
        reduced, change = np.array(basis), np.array(transform, dtype=np.float64)  # reduced = changeᵀ @ lattice
        inside, origin, regular = inside_reduced(reduced, change, np.asarray(positions, dtype=np.float64))
        if not regular:
            return None
        cell = moyopy.Cell(basis, inside.tolist(), np.asarray(numbers).tolist())
        found = moyopy.MoyoDataset(cell, symprec=symprec)
    except ValueError:  # moyopy's exception for a degenerate lattice and for atoms that no tolerance separates
        return None
    operations = found.operations
    rotations, translations = np.array(operations.rotations, dtype=np.float64), np.array(operations.translations)
    turned, moved = in_given_cell(rotations, translations, origin, change)
    standard = np.array(found.prim_std_linear).T @ reduced
    return Symmetry(found.number, turned, moved, standard, np.array(found.mapping_std_prim))


def standard_orientation(
    lattice: np.ndarray, positions: np.ndarray, numbers: np.ndarray, symprec: float = SYMPREC
) -> np.ndarray | None:
    """Return the rotation (3, 3) of column vectors to the standard orientation of spglib; None if it is not found.

    moyopy's standard cells have other orientations.

    :param lattice: (3, 3) Å, rows
    :param positions: (n, 3) fractional
    :param numbers: (n,) atomic numbers
    :param symprec: Å, tolerance
    """
    import spglib

    cell: Any = (lattice, positions, numbers)
    found = _call(lambda: spglib.get_symmetry_dataset(cell, symprec=symprec))
    return None if found is None else np.asarray(found.std_rotation_matrix)


def minkowski_reduce(lattice: np.ndarray) -> np.ndarray | None:
    """Return a Minkowski-reduced basis (3, 3) Å, rows, of a lattice, of the same orientation and handedness.

    Its vectors have the three smallest lengths of independent vectors of the lattice (P. Q. Nguyen and D. Stehlé, ACM
    Trans. Algorithms 5, 46 (2009)). None if the lattice is flatter than :data:`FLATTEST`. The
    Niggli reduction of moyopy 0.21 fails for some hexagonal lattices with rounded digits.

    :param lattice: (3, 3) Å, rows
    """
    import moyopy

    from aiida_goectp.core.crystals.compiled.matrices import determinant

    given = np.ascontiguousarray(lattice, dtype=np.float64)
    before = determinant(given)
    if not before**2 > FLATTEST**2 * np.square(given).sum(axis=1).prod():
        return None  # moyopy ends the program for some of them, and returns other lattices
    try:
        reduced = np.array(moyopy.minkowski_reduce(given.tolist())[0])
    except ValueError:
        return None
    return reduced if before * determinant(reduced) > 0 else -reduced


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
