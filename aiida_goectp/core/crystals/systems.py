"""The crystal system of each crystal."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet

__all__ = ('SYSTEMS', 'crystal_system', 'crystal_systems')

SYSTEMS = ('triclinic', 'monoclinic', 'orthorhombic', 'tetragonal', 'trigonal', 'hexagonal', 'cubic')
"""in the order of the space groups"""

_FIRST = (1, 3, 16, 75, 143, 168, 195)
"""number of the first space group of each system; International Tables for Crystallography A"""

_SYMPREC = 1e-2  # Å, as for the canonical cell


def crystal_system(crystal: Crystal) -> str:
    """Return the name of the system; ``unknown`` if no symmetry could be determined."""
    import warnings

    import spglib

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of a coming change of spglib's own interface
        try:
            cell = (crystal.lattice, crystal.fractional_positions, crystal.atomic_numbers)
            found = spglib.get_symmetry_dataset(cell, symprec=_SYMPREC)  # type: ignore[arg-type]
        except Exception:  # the classes differ between versions of spglib; any of them means that nothing was found
            found = None
    if found is None:
        return 'unknown'
    return SYSTEMS[int(np.searchsorted(_FIRST, found.number, side='right')) - 1]


def crystal_systems(crystals: CrystalSet) -> np.ndarray:
    """Return the system of each crystal, (n,) text."""
    return np.array([crystal_system(crystal) for crystal in crystals], dtype=np.str_).reshape(-1)
