"""Symmetry of a crystal: canonical primitive cell, frames, and projection of tensors onto the point group."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numba
import numpy as np
import spglib

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.reduction import polar_rotation, reduced_bases

__all__ = ('SYMPREC', 'CanonicalCell', 'canonical_cell', 'infrared_directions', 'point_group_projector', 'project')

SYMPREC = 1e-2
"""Å; atoms closer than this to a symmetric position are on it (the usual choice for relaxed crystals)"""


class CanonicalCell(NamedTuple):
    """The reduced primitive cell of a crystal, in the Cartesian frame of the input.

    Lattice and positions are symmetrised: they obey the operations to rounding.
    """

    lattice: np.ndarray
    """(3, 3) Å, rows; not rotated against the input"""
    atomic_numbers: np.ndarray
    """(n,)"""
    fractional_positions: np.ndarray
    """(n, 3) in [0, 1), of this lattice"""
    operations: np.ndarray
    """(g, 3, 3) the point group as orthogonal Cartesian matrices, in the frame of the input"""
    permutations: np.ndarray
    """(g, n) the atom onto which each operation, with its translation, carries each atom"""
    frames: np.ndarray
    """(m, 3, 3) rows: one reduced basis for each coset of the crystal's Laue group in the lattice's holohedry"""
    rotations: np.ndarray
    """(m, 3, 3) the rotation (or roto-inversion) Q of each frame: a tensor O of the canonical frame is Q O Qᵀ here"""
    symmetry_known: bool
    """false if no symmetry could be determined and the point group was taken as trivial"""


def canonical_cell(crystal: Crystal, symprec: float = SYMPREC) -> CanonicalCell:
    """Return the reduced primitive cell with every frame in which the crystal must be seen.

    The cell is that of the input up to a symmetrising strain below ``symprec``: rotations, reflections, another choice
    of cell, supercells, atom order, origin and unwrapped coordinates change nothing but the frame.

    :param crystal: one crystal that :func:`aiida_goectp.core.crystals.validation.check_crystal` accepts
    :param symprec: Å, tolerance of the symmetry search
    """
    lattice, numbers, positions, rotations, translations, known = _primitive(crystal, symprec)
    reduced, bases = reduced_bases(lattice)
    transform = np.rint(reduced @ np.linalg.inv(lattice)).astype(np.int64)  # rows: reduced = transform @ lattice
    inverse = np.rint(np.linalg.inv(transform)).astype(np.int64)
    # column coordinates change by the transposed inverse: x' = T⁻ᵀ x, W' = T⁻ᵀ W Tᵀ
    rotations = np.einsum('ij,gjk,kl->gil', inverse.T, rotations, transform.T)
    positions, translations = positions @ inverse, translations @ inverse
    reduced = _symmetrise_lattice(reduced, rotations)
    positions, permutations = _symmetrise_positions(
        positions - np.floor(positions), numbers, rotations, translations, np.ascontiguousarray(reduced)
    )
    column = reduced.T
    operations = column @ rotations @ np.linalg.inv(column)
    frames = _cosets(bases, rotations) @ reduced
    return CanonicalCell(
        reduced,
        numbers,
        positions - np.floor(positions),
        operations,
        permutations,
        frames,
        polar_rotation(frames),
        known,
    )


def point_group_projector(operations: np.ndarray) -> np.ndarray:
    """Return the (9, 9) matrix that projects a flattened tensor onto the invariants of a point group.

    ε ← mean over g of g ε gᵀ (the group average; a projector since the operations form a group).

    :param operations: (g, 3, 3) orthogonal Cartesian matrices
    """
    return np.einsum('gij,gkl->ikjl', operations, operations).reshape(9, 9) / len(operations)


def infrared_directions(operations: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """Return the (3, 3) projector onto the directions in which the lattice can answer a field at all.

    Born charges obey Z of the image atom = g Z gᵀ and sum to zero (acoustic sum rule); where that leaves no charge that
    couples to a direction, as in diamond or in a crystal of one atom, the ionic permittivity along it vanishes
    exactly (M. Born and K. Huang, Dynamical Theory of Crystal Lattices, 1954). One tensor of random charges, averaged
    over the group, finds the directions.

    :param operations: (g, 3, 3) orthogonal Cartesian matrices
    :param permutations: (g, n) the atom onto which each operation carries each atom
    """
    n = permutations.shape[1]
    charges = np.random.default_rng(0).normal(size=(n, 3, 3))
    average = np.zeros_like(charges)
    images = np.einsum('gab,nbc,gdc->gnad', operations, charges, operations) / len(operations)
    np.add.at(average, permutations, images)
    average -= average.mean(axis=0)
    directions, strength, _ = np.linalg.svd(average.transpose(1, 0, 2).reshape(3, -1), full_matrices=False)
    seen = directions[:, strength > 1e-6 * np.sqrt(n)]
    return seen @ seen.T


def project(tensor: np.ndarray, operations: np.ndarray) -> np.ndarray:
    """Return the part of tensors (..., 3, 3) that is invariant under a point group, in the frame of its operations."""
    flat = np.asarray(tensor).reshape(*np.shape(tensor)[:-2], 9)
    return (flat @ point_group_projector(operations).T).reshape(np.shape(tensor))


def _dataset(lattice: np.ndarray, positions: np.ndarray, numbers: np.ndarray, symprec: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # spglib warns of its own coming interface at every failure
        try:
            cell: Any = (lattice, positions, numbers)
            return spglib.get_symmetry_dataset(cell, symprec=symprec)
        except Exception:  # spglib's exception classes differ between versions; any of them means: no symmetry found
            return None


def _primitive(crystal: Crystal, symprec: float) -> tuple[Any, ...]:
    """Return the primitive cell (lattice, numbers, positions), its operations, and whether they are known."""
    lattice = np.asarray(crystal.lattice, dtype=np.float64)
    numbers = np.asarray(crystal.atomic_numbers, dtype=np.int64)
    positions = crystal.fractional_positions - np.floor(crystal.fractional_positions)
    found = _dataset(lattice, positions, numbers, symprec)
    if found is None:
        return lattice, numbers, positions, np.eye(3, dtype=np.int64)[None], np.zeros((1, 3)), False
    if found.mapping_to_primitive.max() + 1 < len(numbers):
        cell = _fold(lattice, numbers, positions, found)
        # a supercell can hide operations of the crystal, so they are asked of the primitive cell
        again = _dataset(cell[0], cell[2], cell[1], symprec)
        if again is None or again.mapping_to_primitive.max() + 1 < len(cell[1]):
            return *cell, np.eye(3, dtype=np.int64)[None], np.zeros((1, 3)), False
        (lattice, numbers, positions), found = cell, again
    return lattice, numbers, positions, found.rotations.astype(np.int64), found.translations, True


def _fold(lattice: np.ndarray, numbers: np.ndarray, positions: np.ndarray, found: Any) -> tuple[np.ndarray, ...]:
    """Fold a cell onto its primitive one; each atom is the mean of its copies."""
    primitive = np.asarray(found.primitive_lattice)
    # exact: the primitive lattice as an integer fraction of the one given, free of spglib's rounding
    factor = np.rint(lattice @ np.linalg.inv(primitive))
    primitive = np.linalg.solve(factor, lattice)
    mapping = np.asarray(found.mapping_to_primitive)
    first = np.unique(mapping, return_index=True)[1]
    folded = positions @ factor
    offset = folded - folded[first[mapping]]
    offset -= np.rint(offset)
    mean = np.zeros((len(first), 3))
    np.add.at(mean, mapping, offset)
    mean /= np.bincount(mapping)[:, None]
    return primitive, numbers[first], folded[first] + mean


def _symmetrise_lattice(lattice: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Return the lattice nearest to the given one, by a pure stretch, whose metric all rotations leave alone."""
    column = lattice.T
    metric = column.T @ column
    symmetric = np.einsum('gji,jk,gkl->il', rotations, metric, rotations) / len(rotations)
    inverse = np.linalg.inv(column)
    values, vectors = np.linalg.eigh(inverse.T @ symmetric @ inverse)
    stretch = (vectors * np.sqrt(values)) @ vectors.T
    return (stretch @ column).T


@numba.njit(cache=True)
def _symmetrise_positions(
    positions: np.ndarray, numbers: np.ndarray, rotations: np.ndarray, translations: np.ndarray, lattice: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Average each atom over the images that the operations send to it; return positions and permutations (g, n).

    The translation of each operation is first replaced by the mean shift of the atoms that it maps; these translations
    compose exactly as the rotations do, so that the averaged crystal has the symmetry to rounding.
    """
    n = len(positions)
    total = np.zeros((n, 3))
    moved, image, partners = np.empty((n, 3)), np.empty((n, 3)), np.empty((len(rotations), n), dtype=np.int64)
    metric = lattice @ lattice.T
    delta, nearest = np.empty(3), np.empty(3)
    for g in range(len(rotations)):
        shift, partner = np.zeros(3), partners[g]
        for i in range(n):
            for x in range(3):
                moved[i, x] = translations[g, x]
                for y in range(3):
                    moved[i, x] += rotations[g, x, y] * positions[i, y]
            best = np.inf
            for j in range(n):
                if numbers[j] != numbers[i]:
                    continue
                for x in range(3):
                    delta[x] = positions[j, x] - moved[i, x]
                    delta[x] -= np.rint(delta[x])
                distance = 0.0
                for x in range(3):
                    for y in range(3):
                        distance += delta[x] * metric[x, y] * delta[y]
                if distance < best:
                    best = distance
                    partner[i] = j
                    for x in range(3):
                        nearest[x] = delta[x]
            for x in range(3):
                image[i, x] = positions[partner[i], x] - nearest[x]
                shift[x] += nearest[x] / n
        for i in range(n):
            for x in range(3):
                total[partner[i], x] += image[i, x] + shift[x]
    return total / len(rotations), partners


def _cosets(bases: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Return one basis of each set that the crystal's own operations and inversion carry into each other."""
    remaining = {tuple(basis.ravel()): basis for basis in bases}
    chosen = []
    while remaining:
        basis = next(iter(remaining.values()))
        chosen.append(basis)
        for image in basis @ np.swapaxes(rotations, 1, 2):
            remaining.pop(tuple(image.ravel()), None)
            remaining.pop(tuple(-image.ravel()), None)
    return np.array(chosen)
