"""Structure types of crystals, and fingerprints by which a model file states the crystals of its training."""

from __future__ import annotations

import hashlib
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet
from aiida_goectp.core.crystals.symmetry_search import find_symmetry

if TYPE_CHECKING:
    from aiida_goectp.core.crystals.symmetry import CanonicalCell

__all__ = ('Prototype', 'composition', 'crystal_fingerprints', 'prototype')

_ENANTIOMORPHS = {
    78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180, 213: 212
}  # fmt: skip
"""higher → lower number of the eleven enantiomorphic pairs of space-group types in the International Tables A"""
_TRICLINIC = 2
"""number of the last triclinic space group"""


class Prototype(NamedTuple):
    """Structure type of a crystal; it does not depend on cell, frame, origin and small displacements."""

    composition: tuple[tuple[int, int], ...]
    """(atomic number, number in the reduced formula)"""
    space_group: int
    """number in the International Tables, the lower one of an enantiomorphic pair; 0 if no symmetry was found"""
    orbits: tuple[tuple[int, int], ...]
    """(atomic number, atoms) of each set of equivalent atoms in the primitive cell, sorted"""


def prototype(crystal: Crystal, cell: CanonicalCell) -> Prototype:
    """Return the prototype of a crystal.

    :param cell: its canonical cell
    """
    return Prototype(composition(crystal), _space_group(cell), _orbits(cell))


def composition(crystal: Crystal) -> tuple[tuple[int, int], ...]:
    """Return (atomic number, number in the reduced formula), ascending."""
    numbers, counts = np.unique(np.asarray(crystal.atomic_numbers), return_counts=True)
    divisor = gcd(*counts.tolist()) if len(counts) else 1
    return tuple((int(z), int(count) // divisor) for z, count in zip(numbers, counts, strict=True))


def crystal_fingerprints(crystals: CrystalSet) -> np.ndarray:
    """Return a fingerprint of each crystal, (n,) uint64: the first 64 bits of a SHA-256 hash.

    It is a hash of the prototype, which is the same in another cell and frame, and after another relaxation. Many
    triclinic crystals of one composition, such as the arrangements of an alloy, would have one prototype: their
    fingerprints follow from the content hash.
    """
    # numba takes a second to import
    from aiida_goectp.core.crystals.symmetry import canonical_cell

    fingerprints = np.zeros(len(crystals), dtype=np.uint64)
    for row, (crystal, content) in enumerate(zip(crystals, crystals.hashes.tolist(), strict=True)):
        found = prototype(crystal, canonical_cell(crystal))
        text = str(tuple(found)) if found.space_group > _TRICLINIC else content
        fingerprints[row] = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], 'little')
    return fingerprints


def _space_group(cell: CanonicalCell) -> int:
    if not cell.symmetry_known:
        return 0
    found = find_symmetry(cell.lattice, cell.fractional_positions, cell.atomic_numbers)
    # a crystal and its mirror image have the same permittivity
    return _ENANTIOMORPHS.get(found.number, found.number) if found else 0


def _orbits(cell: CanonicalCell) -> tuple[tuple[int, int], ...]:
    first = cell.permutations.min(axis=0)  # all operations are included: the smallest image identifies the orbit
    names, sizes = np.unique(first, return_counts=True)
    return tuple(sorted((int(cell.atomic_numbers[name]), int(size)) for name, size in zip(names, sizes, strict=True)))
