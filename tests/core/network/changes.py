"""Other descriptions of the same crystal, and random crystals of any space group."""

from __future__ import annotations

import itertools

import numpy as np
import spglib

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


def orthogonal(rng):
    """Return a random rotation or roto-inversion."""
    return np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.choice([-1, 1])


def _integer(rng, low, high, determinants):
    while True:
        matrix = rng.integers(low, high + 1, (3, 3))
        if round(abs(np.linalg.det(matrix))) in determinants:
            return matrix


def rotated(crystal, rotation):
    return crystal._replace(lattice=crystal.lattice @ rotation.T)


def moved(crystal, rng):
    """Shift the origin, and unwrap every atom to another cell."""
    size = (len(crystal.atomic_numbers), 3)
    return crystal._replace(
        fractional_positions=crystal.fractional_positions + rng.normal(size=3) + rng.integers(-4, 5, size)
    )


def shuffled(crystal, rng):
    order = rng.permutation(len(crystal.atomic_numbers))
    return crystal._replace(
        atomic_numbers=crystal.atomic_numbers[order], fractional_positions=crystal.fractional_positions[order]
    )


def recelled(crystal, rng):
    """Describe the lattice by other vectors, left-handed ones as well."""
    matrix = _integer(rng, -2, 2, {1})
    return crystal._replace(
        lattice=matrix @ crystal.lattice, fractional_positions=crystal.fractional_positions @ np.linalg.inv(matrix)
    )


def enlarged(crystal, rng):
    """Return a supercell of two or three cells."""
    matrix = _integer(rng, -1, 2, {2, 3})
    inverse = np.linalg.inv(matrix)
    count = round(abs(np.linalg.det(matrix)))
    points = np.array(list(itertools.product(range(-8, 9), repeat=3))) @ inverse
    inside = np.round(points - np.floor(points + 1e-9), 6) % 1
    shifts = points[np.unique(inside, axis=0, return_index=True)[1]]
    assert len(shifts) == count
    positions = (crystal.fractional_positions @ inverse)[:, None] + shifts
    return crystal._replace(
        lattice=matrix @ crystal.lattice,
        atomic_numbers=np.repeat(crystal.atomic_numbers, count),
        fractional_positions=positions.reshape(-1, 3),
    )


CHANGES = {'moved': moved, 'shuffled': shuffled, 'recelled': recelled, 'enlarged': enlarged}


def operations(hall):
    """Return rotations and translations of a Hall symbol."""
    number = next(n for n in range(1, 531) if spglib.get_spacegroup_type(n).hall_symbol == hall)
    found = spglib.get_symmetry_from_database(number)
    return found['rotations'], found['translations']


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
    rotations, translations = operations(hall)
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
