"""Crystals in equivalent descriptions, and small datasets of them."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset

UNIT_CELL = np.eye(3, dtype=int)


def rotation(seed: int, mirrored: bool = False) -> np.ndarray:
    """Return a rotation, or a rotation after a reflection."""
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q * np.sign(np.linalg.det(q)) * (-1 if mirrored else 1)


def rutile(c: float = 2.96, name: str = 'rutile') -> Crystal:
    """Return TiO2, tetragonal: the tensor depends on the direction of the axis."""
    x = 0.305
    sites = [[0, 0, 0], [0.5] * 3, [x, x, 0], [-x, -x, 0], [0.5 + x, 0.5 - x, 0.5], [0.5 - x, 0.5 + x, 0.5]]
    return Crystal(name, np.diag([4.59, 4.59, c]), np.array([22, 22, 8, 8, 8, 8], np.int16), np.array(sites))


def low_symmetry(name: str = 'triclinic') -> Crystal:
    """Return a crystal without symmetry: all components of its tensor differ."""
    lattice = np.array([[4.1, 0, 0], [0.7, 4.9, 0], [-0.4, 0.9, 5.7]])
    sites = np.array([[0, 0, 0], [0.31, 0.44, 0.52], [0.72, 0.13, 0.61], [0.45, 0.81, 0.17]])
    return Crystal(name, lattice, np.array([38, 22, 8, 9], np.int16), sites)


def equivalent_crystal(crystal: Crystal, rotation: np.ndarray, supercell=UNIT_CELL, seed: int = 0, noise: float = 0.0):
    """Return the crystal rotated, in another cell, with another origin, atoms permuted and unwrapped.

    :return: the crystal, and the index of the original atom of each of its atoms
    """
    rng = np.random.default_rng(seed)
    lattice = supercell @ crystal.lattice
    steps = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing='ij'), axis=-1).reshape(-1, 3)
    inverse = np.linalg.inv(supercell)
    found = {}
    for atom, site in enumerate(crystal.fractional_positions):
        inside = (site + steps) @ inverse
        inside = inside[((inside > -1e-9) & (inside < 1 - 1e-9)).all(axis=1)]
        found.update({(atom, copy): position for copy, position in enumerate(inside)})
    order = rng.permutation(len(found))
    keys = [list(found)[place] for place in order]
    positions = np.array([found[key] for key in keys]) + rng.uniform(-2, 2, 3) + rng.integers(-2, 3, (len(keys), 3))
    positions += rng.uniform(-noise, noise, positions.shape) @ np.linalg.inv(lattice)
    atoms = np.array([atom for atom, _ in keys])
    return Crystal(crystal.id, lattice @ rotation.T, crystal.atomic_numbers[atoms], positions), atoms


def dataset(*rows, functional='PBEsol', **columns) -> Dataset:
    """Return a dataset of (crystal, electronic or None, ionic or None)."""
    unknown = np.full((3, 3), np.nan)
    electronic, ionic = (
        np.array([unknown if row[place] is None else row[place] for row in rows], dtype=float) for place in (1, 2)
    )
    functionals = np.full(len(rows), functional)
    return Dataset(
        CrystalSet.from_crystals([row[0] for row in rows]), electronic, ionic, functional=functionals, **columns
    )
