"""Canonical primitive cell, frames, and projection of tensors onto the point group."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.reduction import polar_rotation, reduced_bases
from aiida_goectp.core.crystals.symmetry_search import SYMPREC, Symmetry, find_symmetry

__all__ = ('CanonicalCell', 'canonical_cell', 'infrared_directions', 'point_group_projector', 'project')


_IDENTITY = np.eye(3, dtype=np.int64)[None], np.zeros((1, 3))
"""rotations and translations of the trivial space group"""


class CanonicalCell(NamedTuple):
    """Reduced primitive cell of a crystal in the Cartesian frame of the crystal.

    Lattice and positions are symmetrised: the operations hold to rounding.
    """

    lattice: np.ndarray
    """(3, 3) Å, rows; not rotated"""
    atomic_numbers: np.ndarray
    """(n,)"""
    fractional_positions: np.ndarray
    """(n, 3) in [0, 1), of this lattice"""
    operations: np.ndarray
    """(g, 3, 3) point group as orthogonal Cartesian matrices"""
    permutations: np.ndarray
    """(g, n) index of the atom to which each operation, with its translation, maps each atom"""
    frames: np.ndarray
    """(m, 3, 3) Å, rows: one reduced basis for each coset of the Laue group of the crystal in the holohedry of the
    lattice"""
    rotations: np.ndarray
    """(m, 3, 3) rotation (or roto-inversion) Q of each frame: a tensor O of the canonical frame is Q O Qᵀ in the frame
    of the crystal"""
    symmetry_known: bool
    """False if no space group was found; the point group is trivial then"""
    primitive_atom: np.ndarray
    """index within this cell of each atom of the crystal as given"""


def canonical_cell(crystal: Crystal, symprec: float = SYMPREC) -> CanonicalCell:
    """Return the reduced primitive cell and the frames over which the network averages.

    The cell is that of the crystal, apart from a strain below ``symprec`` that symmetrises it. Another choice of cell,
    supercell, atom order or origin changes nothing; rotations and reflections of the crystal rotate the result.

    :param crystal: a crystal that :func:`aiida_goectp.core.crystals.validation.check_crystal` accepts
    :param symprec: Å, tolerance of the symmetry search
    """
    lattice, numbers, positions, rotations, translations, known, atoms = _primitive(crystal, symprec)
    reduced, bases = reduced_bases(lattice)
    transform = np.rint(reduced @ np.linalg.inv(lattice)).astype(np.int64)  # rows: reduced = transform @ lattice
    inverse = np.rint(np.linalg.inv(transform)).astype(np.int64)
    # fractional coordinates as columns transform by the inverse transpose: x' = T⁻ᵀ x, W' = T⁻ᵀ W Tᵀ
    rotations = np.einsum('ij,gjk,kl->gil', inverse.T, rotations, transform.T)
    positions, translations = positions @ inverse, translations @ inverse
    reduced = _symmetrise_lattice(reduced, rotations)
    positions, permutations = _symmetrise_positions(
        positions - np.floor(positions), numbers, np.ascontiguousarray(rotations), translations, reduced @ reduced.T
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
        atoms,
    )


def point_group_projector(operations: np.ndarray) -> np.ndarray:
    """Return the projector (9, 9) of flattened tensors onto those that are invariant under a point group.

    It is the group average, ε ← mean over g of g ε gᵀ.

    :param operations: (g, 3, 3) orthogonal Cartesian matrices
    """
    return np.einsum('gij,gkl->ikjl', operations, operations).reshape(9, 9) / len(operations)


def infrared_directions(operations: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """Return the projector (3, 3) onto the directions along which the ionic permittivity can differ from zero.

    Born charges obey Z(image of the atom) = g Z gᵀ and sum to zero (acoustic sum rule). If these conditions leave no
    charge that couples to a direction, as in diamond or with one atom in the primitive cell, the ionic permittivity
    along it is zero (M. Born and K. Huang, Dynamical Theory of Crystal Lattices, 1954). The directions are those of
    random charges averaged over the group; charges are drawn until a further draw adds no direction.

    :param operations: (g, 3, 3) orthogonal Cartesian matrices
    :param permutations: (g, n) index of the atom to which each operation maps each atom
    """
    n, rng = permutations.shape[1], np.random.default_rng(0)
    active, allowed = np.zeros((3, 0)), np.zeros((3, 0))
    while active.shape[1] < 3:
        charges = rng.normal(size=(n, 3, 3))
        average = np.zeros_like(charges)
        images = np.einsum('gab,nbc,gdc->gnad', operations, charges, operations) / len(operations)
        np.add.at(average, permutations, images)
        average -= average.mean(axis=0)
        allowed = np.hstack([allowed, average.transpose(1, 0, 2).reshape(3, -1)])
        directions, strength, _ = np.linalg.svd(allowed, full_matrices=False)
        found = directions[:, strength > 1e-6 * np.sqrt(n)]
        if found.shape[1] == active.shape[1]:
            break
        active = found
    return active @ active.T


def project(tensor: np.ndarray, operations: np.ndarray) -> np.ndarray:
    """Return the part of tensors that is invariant under a point group.

    :param tensor: (..., 3, 3)
    :param operations: (g, 3, 3) orthogonal Cartesian matrices in the same frame
    """
    flat = np.asarray(tensor).reshape(*np.shape(tensor)[:-2], 9)
    return (flat @ point_group_projector(operations).T).reshape(np.shape(tensor))


def _primitive(crystal: Crystal, symprec: float) -> tuple[Any, ...]:
    """Return lattice, numbers, positions and operations of the primitive cell, whether these are known, and the map to
    its atoms."""
    lattice = np.asarray(crystal.lattice, dtype=np.float64)
    numbers = np.asarray(crystal.atomic_numbers, dtype=np.int64)
    positions = crystal.fractional_positions - np.floor(crystal.fractional_positions)
    found = find_symmetry(lattice, positions, numbers, symprec)
    if found is None:
        return lattice, numbers, positions, *_IDENTITY, False, np.arange(len(numbers))
    atoms = np.arange(len(numbers))
    if found.mapping_to_primitive.max() + 1 < len(numbers):
        atoms = found.mapping_to_primitive
        cell = _fold(lattice, numbers, positions, found)
        # a supercell can have fewer operations than the crystal, so they are taken from the primitive cell
        again = find_symmetry(cell[0], cell[2], cell[1], symprec)
        if again is None or again.mapping_to_primitive.max() + 1 < len(cell[1]):
            return *cell, *_IDENTITY, False, atoms
        (lattice, numbers, positions), found = cell, again
    return lattice, numbers, positions, found.rotations, found.translations, True, atoms


def _fold(lattice: np.ndarray, numbers: np.ndarray, positions: np.ndarray, found: Symmetry) -> tuple[np.ndarray, ...]:
    """Return the primitive cell of a cell; each atom is the mean of its equivalent ones."""
    # the given lattice divided by an integer matrix, without the rounding of the search
    factor = np.rint(lattice @ np.linalg.inv(found.primitive_lattice))
    primitive = np.linalg.solve(factor, lattice)
    mapping = found.mapping_to_primitive
    first = np.unique(mapping, return_index=True)[1]
    folded = positions @ factor
    offset = folded - folded[first[mapping]]
    offset -= np.rint(offset)
    mean = np.zeros((len(first), 3))
    np.add.at(mean, mapping, offset)
    mean /= np.bincount(mapping)[:, None]
    return primitive, numbers[first], folded[first] + mean


def _symmetrise_lattice(lattice: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Return the lattice whose metric is the average over all rotations, by a pure stretch of the given one."""
    column = lattice.T
    metric = column.T @ column
    symmetric = np.einsum('gji,jk,gkl->il', rotations, metric, rotations) / len(rotations)
    inverse = np.linalg.inv(column)
    values, vectors = np.linalg.eigh(inverse.T @ symmetric @ inverse)
    stretch = (vectors * np.sqrt(values)) @ vectors.T
    return (stretch @ column).T


@numba.njit(cache=True)
def _symmetrise_positions(
    positions: np.ndarray, numbers: np.ndarray, rotations: np.ndarray, translations: np.ndarray, metric: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Average each atom over the images that the operations map to it; return positions and permutations (g, n).

    The translation of each operation is first replaced by the mean shift of all atoms. These translations compose
    exactly as the rotations do, so that the averaged crystal has the symmetry to rounding.
    """
    n = len(positions)
    total = np.zeros((n, 3))
    moved, image, partners = np.empty((n, 3)), np.empty((n, 3)), np.empty((len(rotations), n), dtype=np.int64)
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
    for i in range(n):
        for x in range(3):
            total[i, x] /= len(rotations)
    return total, partners


def _cosets(bases: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Return one basis of each set of bases that the point group and inversion map onto each other."""
    remaining = {tuple(basis.ravel()): basis for basis in bases}
    chosen = []
    while remaining:
        basis = next(iter(remaining.values()))
        chosen.append(basis)
        for image in basis @ np.swapaxes(rotations, 1, 2):
            remaining.pop(tuple(image.ravel()), None)
            remaining.pop(tuple(-image.ravel()), None)
    return np.array(chosen)
