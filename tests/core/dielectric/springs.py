"""Lattice responses made by hand: all atoms of a cell are connected by equal springs."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dielectric.gamma_phonons import GammaPhonons, PhononCell


def spring_cell(crystal: Crystal, stiffness: float) -> PhononCell:
    """Return force constants of equal springs in eV/Å²; negative ones make all optical modes unstable."""
    n = len(crystal.atomic_numbers)
    constants = stiffness * np.kron(np.eye(n) - np.ones((n, n)) / n, np.eye(3))
    return PhononCell(
        np.asarray(crystal.lattice),
        np.asarray(crystal.atomic_numbers),
        np.asarray(crystal.fractional_positions),
        np.eye(3) * 4.0,
        np.zeros((n, 3, 3)),
        constants,
    )


def spring_phonons(crystals, stiffness) -> GammaPhonons:
    """Return phonons of crystals in primitive cells; None gives a row without phonons."""
    cells = [None if k is None else spring_cell(crystal, k) for crystal, k in zip(crystals, stiffness, strict=True)]
    return GammaPhonons.from_cells(
        cells, [None if cell is None else np.arange(len(cell.atomic_numbers)) for cell in cells]
    )
