"""Crystals with force constants for the tests of this folder."""

import numpy as np

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset

SMALL = {'scalars': 16, 'vectors': 8, 'tensors': 8, 'layers': 1, 'radial': 8, 'width': 16}


def binary(lattice_constant: float, numbers=(12, 8)) -> Crystal:
    """Rock salt in its primitive cell."""
    lattice = (1 - np.eye(3)) * lattice_constant / 2
    return Crystal(f'{lattice_constant:.6f}', lattice, np.array(numbers), np.array([[0, 0, 0], [0.5] * 3]))


def labelled(crystals, stiffness, charge) -> Dataset:
    """Return rows whose atoms are bound by one isotropic spring (eV/Å²) and carry opposite charges (e)."""
    unit, n = np.eye(3), len(crystals)
    sign = np.array([[1, -1], [-1, 1]])
    blocks = np.concatenate([(k * sign[:, :, None, None] * unit).reshape(-1, 3, 3) for k in stiffness])
    charges = np.concatenate([np.array([1, -1])[:, None, None] * unit * q for q in charge])
    volumes = np.array([abs(np.linalg.det(crystal.lattice)) for crystal in crystals])
    strength = 180.951 / volumes * np.array(charge) ** 2 / np.array(stiffness)
    return Dataset(
        CrystalSet.from_crystals(crystals),
        electronic=np.array([unit * 3.0] * n),
        ionic=strength[:, None, None] * unit,
        born_charges=charges,
        force_constants=blocks,
        functional=np.full(n, 'PBEsol'),
    )
