"""Random crystals of a given space group."""

from __future__ import annotations

import gemmi
import numpy as np

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.validation import check_crystal
from aiida_goectp.core.network.graph import build_graphs

SETTINGS = {
    'triclinic': ('P 1', '-P 1'),
    'monoclinic': ('P 2y', 'P -2y', 'C 2y', '-P 2ybc'),
    'orthorhombic': ('P 2 2', 'P 2 -2', 'F 2 2', '-P 2 2', 'I 2 -2'),
    'tetragonal': ('P 4', 'P -4', 'I 4', '-P 4', 'P 4w 2c', 'P -4 2'),
    'trigonal': ('P 3', '-P 3', 'R 3', '-R 3', 'P 3 2"', 'P 31 2"'),
    'hexagonal': ('P 6', 'P -6', '-P 6', 'P 61', 'P 6 -2'),
    'cubic': ('P 2 2 3', '-P 2 2 3', 'P 4 2 3', 'P -4 2 3', 'I 2 2 3'),
}
"""Hall symbols of each crystal system, polar, chiral and centrosymmetric ones among them"""


def _lattice(system, rng):
    a, b, c = rng.uniform(0.8, 1.3, 3)
    angle = rng.uniform(95, 115)
    if system == 'triclinic':
        return np.eye(3) + rng.uniform(-0.25, 0.25, (3, 3))
    if system == 'monoclinic':
        return np.array([[a, 0, 0], [0, b, 0], [c * np.cos(np.radians(angle)), 0, c * np.sin(np.radians(angle))]])
    if system in ('trigonal', 'hexagonal'):
        return np.array([[a, 0, 0], [-a / 2, a * np.sqrt(0.75), 0], [0, 0, c]])
    return np.diag({'orthorhombic': (a, b, c), 'tetragonal': (a, a, c), 'cubic': (a, a, a)}[system])


def random_crystal(system, hall, rng):
    """Return a random crystal of a space group: one or two general positions, at 14 Å³ an atom."""
    operations = list(gemmi.symops_from_hall(hall))
    rotations = np.array([operation.rot for operation in operations]) / gemmi.Op.DEN
    translations = np.array([operation.tran for operation in operations]) / gemmi.Op.DEN
    while True:
        orbits = [(rotations @ rng.uniform(size=3) + translations) % 1 for _ in range(1 if len(rotations) > 12 else 2)]
        positions = np.concatenate(orbits)
        numbers = np.repeat(rng.choice([8, 16, 22, 56], len(orbits), replace=False), len(rotations))
        lattice = _lattice(system, rng)
        lattice = lattice * (14 * len(positions) / abs(np.linalg.det(lattice))) ** (1 / 3)
        crystal = Crystal(hall, lattice, numbers, positions)
        if check_crystal(crystal) is None and _shortest(crystal) > 1.0:
            return crystal


def _shortest(crystal):
    offsets = np.array([0, len(crystal.atomic_numbers)])
    graph = build_graphs(crystal.lattice[None], offsets, crystal.fractional_positions, crystal.lattice[None])
    return np.linalg.norm(graph.vectors, axis=1).min()
