"""Canonical primitive cell, frames, and projection of tensors onto the point group."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.compiled.bases import one_of_each_coset
from aiida_goectp.core.crystals.compiled.cache import compiled
from aiida_goectp.core.crystals.compiled.centring import primitive_by_translations
from aiida_goectp.core.crystals.compiled.matrices import determinant, inverse, product, product_transposed, square_root
from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet
from aiida_goectp.core.crystals.reduction import reduced_bases
from aiida_goectp.core.crystals.symmetry_search import SYMPREC, find_symmetry

__all__ = (
    'CanonicalCell',
    'canonical_cell',
    'infrared_directions',
    'point_group_projector',
    'primitive_crystal',
    'primitive_crystals',
    'project',
    'symmetrised_cell',
)


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
    bases: np.ndarray
    """(b, 3, 3) integers, all reduced bases of the lattice in terms of its vectors"""
    symmetry_known: bool
    """False if no space group was found; the point group is trivial then"""
    primitive_atom: np.ndarray
    """index within this cell of each atom of the crystal as given"""

    @property
    def frames(self) -> np.ndarray:
        """(m, 3, 3) Å, rows: one reduced basis for each coset of the Laue group of the crystal in the holohedry of the
        lattice."""
        return one_of_each_coset(self.bases, self.lattice, self.operations) @ self.lattice


def canonical_cell(crystal: Crystal, symprec: float = SYMPREC) -> CanonicalCell:
    """Return the reduced primitive cell and the frames over which the network averages.

    The cell is that of the crystal, apart from a strain below ``symprec`` that symmetrises it. Another choice of cell,
    supercell, atom order or origin changes nothing; rotations and reflections of the crystal rotate the result.

    :param crystal: a crystal that :func:`aiida_goectp.core.crystals.validation.check_crystal` accepts
    :param symprec: Å, tolerance of the symmetry search
    """
    lattice, numbers, positions, rotations, translations, known, atoms = _primitive(crystal, symprec)
    reduced, bases = reduced_bases(lattice)
    reduced, positions, operations, permutations = symmetrised_cell(
        lattice, reduced, positions, numbers, rotations, translations
    )
    return CanonicalCell(reduced, numbers, positions, operations, permutations, bases, known, atoms)


def primitive_crystal(crystal: Crystal, symprec: float = SYMPREC) -> Crystal:
    """Return the reduced primitive cell of a crystal, right-handed and in its Cartesian frame.

    Tensors per volume, such as the permittivity, are the same. The atoms are moved to their symmetric positions, as for
    :func:`canonical_cell`. A crystal whose cell is primitive is returned as it is.

    :param crystal: a valid crystal
    :param symprec: Å, tolerance of the symmetry search
    """
    found = canonical_cell(crystal, symprec)
    if len(found.atomic_numbers) == len(crystal.atomic_numbers):
        return crystal
    sign = 1.0 if determinant(found.lattice) > 0 else -1.0  # the opposite vectors span the same lattice
    positions = sign * found.fractional_positions
    return Crystal(crystal.id, sign * found.lattice, found.atomic_numbers, positions - np.floor(positions))


def primitive_crystals(crystals: CrystalSet) -> CrystalSet:
    """Return the crystals of a set as primitive cells, see :func:`primitive_crystal`, with their properties.

    Columns of quantities per cell, such as an energy, are not changed.
    """
    columns: dict[str, Any] = dict(crystals.properties)
    return CrystalSet.from_crystals(map(primitive_crystal, crystals), columns, crystals.failures)


def point_group_projector(operations: np.ndarray) -> np.ndarray:
    """Return the projector (9, 9) of flattened tensors onto those that are invariant under a point group.

    It is the group average, ε ← mean over g of g ε gᵀ.

    :param operations: (g, 3, 3) orthogonal Cartesian matrices
    """
    return _group_average(np.ascontiguousarray(operations, dtype=np.float64))


def infrared_directions(operations: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """Return the projector (3, 3) onto the directions along which the ionic permittivity can differ from zero.

    Born charges obey Z(image of the atom) = g Z gᵀ and sum to zero (acoustic sum rule). If these conditions leave no
    charge that couples to a direction, as in diamond or with one atom in the primitive cell, the ionic permittivity
    along it is zero (M. Born and K. Huang, Dynamical Theory of Crystal Lattices, 1954). The directions are those of
    random charges averaged over the group; charges are drawn until a further draw adds no direction.

    :param operations: (g, 3, 3) orthogonal Cartesian matrices
    :param permutations: (g, n) index of the atom to which each operation maps each atom
    """
    allowed, active = np.zeros((3, 3)), np.zeros((3, 0))
    for charges in _random_charges(permutations.shape[1]):
        allowed += _allowed_charges(operations, permutations, charges)
        # the largest two of three eigenvalues have a product of at most a quarter of the squared trace
        if determinant(allowed) > 0.25e-12 * permutations.shape[1] * allowed.trace() ** 2:
            return np.eye(3)
        strength, directions = np.linalg.eigh(allowed)
        found = directions[:, strength > 1e-12 * permutations.shape[1]]
        if found.shape[1] == 3:
            return np.eye(3)
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
    folded = primitive_by_translations(lattice, positions, numbers, symprec)
    if folded is not None:  # one search, of the smaller cell
        cell = _fold(lattice, numbers, positions, *folded)
        found = find_symmetry(cell[0], cell[2], cell[1], symprec)
        if found is not None and found.mapping_to_primitive.max() + 1 == len(cell[1]):
            return *cell, found.rotations, found.translations, True, folded[1]
    found = find_symmetry(lattice, positions, numbers, symprec)
    if found is None:
        return lattice, numbers, positions, *_IDENTITY, False, np.arange(len(numbers))
    atoms = np.arange(len(numbers))
    if found.mapping_to_primitive.max() + 1 < len(numbers):
        atoms = found.mapping_to_primitive
        cell = _fold(lattice, numbers, positions, found.primitive_lattice, atoms)
        # a supercell can have fewer operations than the crystal, so they are taken from the primitive cell
        again = find_symmetry(cell[0], cell[2], cell[1], symprec)
        if again is None or again.mapping_to_primitive.max() + 1 < len(cell[1]):
            return *cell, *_IDENTITY, False, atoms
        (lattice, numbers, positions), found = cell, again
    return lattice, numbers, positions, found.rotations, found.translations, True, atoms


def _fold(
    lattice: np.ndarray, numbers: np.ndarray, positions: np.ndarray, primitive_lattice: np.ndarray, mapping: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the primitive cell of a cell; each atom is the mean of its equivalent ones."""
    # the given lattice divided by an integer matrix, without the rounding of the search
    factor = np.rint(lattice @ np.linalg.inv(primitive_lattice))
    primitive = np.linalg.solve(factor, lattice)
    first = np.unique(mapping, return_index=True)[1]
    folded = positions @ factor
    offset = folded - folded[first[mapping]]
    offset -= np.rint(offset)
    mean = np.zeros((len(first), 3))
    np.add.at(mean, mapping, offset)
    mean /= np.bincount(mapping)[:, None]
    return primitive, numbers[first], folded[first] + mean


# Compiled functions use loops instead of array expressions, whose compilation takes ten times as long.
@compiled()
def symmetrised_cell(
    lattice: np.ndarray,
    reduced: np.ndarray,
    positions: np.ndarray,
    numbers: np.ndarray,
    rotations: np.ndarray,
    translations: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Return a crystal in another basis of its lattice, with the symmetry of its operations to rounding.

    :param lattice: (3, 3) Å, rows
    :param reduced: (3, 3) Å, rows, the other basis; may be the same
    :param positions: (n, 3) fractional
    :param numbers: (n,) atomic numbers
    :param rotations: (g, 3, 3) in fractional coordinates of the lattice, with translations (g, 3)
    :return: lattice (3, 3) Å, rows; fractional positions (n, 3) within the cell; Cartesian operations (g, 3, 3); index
        (g, n) of the atom to which each operation maps each atom
    """
    positions, rotations, translations = _in_other_cell(lattice, reduced, positions, rotations, translations)
    reduced = _symmetrise_lattice(reduced, rotations)
    metric = product_transposed(reduced, reduced)
    positions, permutations = _symmetrise_positions(positions, numbers, rotations, translations, metric)
    for atom in range(len(positions)):
        for x in range(3):
            positions[atom, x] -= np.floor(positions[atom, x])
    return reduced, positions, _cartesian(rotations, reduced), permutations


@compiled()
def _in_other_cell(
    lattice: np.ndarray, reduced: np.ndarray, positions: np.ndarray, rotations: np.ndarray, translations: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Return positions within the cell, rotations and translations in fractional coordinates of another basis.

    Fractional coordinates as columns transform by the inverse transpose of T, where the other basis is T times the
    given one, rows: x' = T⁻ᵀ x, W' = T⁻ᵀ W Tᵀ.
    """
    back = inverse(product(reduced, inverse(lattice)))
    for i in range(3):
        for j in range(3):
            back[i, j] = np.rint(back[i, j])
    forth, w, result = inverse(back), np.empty((3, 3)), np.empty(rotations.shape, dtype=np.int64)
    for g in range(len(rotations)):
        for i in range(3):
            for j in range(3):
                w[i, j] = rotations[g, i, j]
        turned = product(product_transposed(forth, w), back)  # the transpose of W'
        for i in range(3):
            for j in range(3):
                result[g, j, i] = np.int64(np.rint(turned[i, j]))
    moved = product(positions, back)
    for atom in range(len(moved)):
        for x in range(3):
            moved[atom, x] -= np.floor(moved[atom, x])
    return moved, result, product(translations, back)


@compiled()
def _symmetrise_lattice(lattice: np.ndarray, rotations: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return the lattice whose metric is the average over all rotations, by a pure stretch of the given one."""
    metric, average, w = product_transposed(lattice, lattice), np.zeros((3, 3)), np.empty((3, 3))
    for g in range(len(rotations)):
        for i in range(3):
            for j in range(3):
                w[i, j] = rotations[g, j, i]
        image = product_transposed(product(w, metric), w)
        for i in range(3):
            for j in range(3):
                average[i, j] += image[i, j] / len(rotations)
    back = inverse(lattice)  # Lᵀ S² L = average, rows of L
    return product(lattice, square_root(product_transposed(product(back, average), back)))


@compiled()
def _cartesian(rotations: np.ndarray, lattice: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return Cartesian matrices (g, 3, 3) of rotations in fractional coordinates of a lattice."""
    back, w, result = inverse(lattice), np.empty((3, 3)), np.empty(rotations.shape)
    for g in range(len(rotations)):
        for i in range(3):
            for j in range(3):
                w[i, j] = rotations[g, j, i]
        turned = product(product(back, w), lattice)  # the transpose
        for i in range(3):
            for j in range(3):
                result[g, j, i] = turned[i, j]
    return result


@compiled()
def _group_average(operations: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return the mean of g ⊗ g, (9, 9)."""
    result = np.zeros((9, 9))
    for g in range(len(operations)):
        for i in range(3):
            for k in range(3):
                for j in range(3):
                    for m in range(3):
                        result[3 * i + k, 3 * j + m] += operations[g, i, j] * operations[g, k, m] / len(operations)
    return result


@lru_cache(maxsize=64)
def _random_charges(atoms: int) -> np.ndarray:
    """Return four draws of random charges, (4, n, 3, 3); each but the last adds a direction at least."""
    return np.random.default_rng(0).normal(size=(4, atoms, 3, 3))


@compiled()
def _allowed_charges(
    operations: np.ndarray, permutations: np.ndarray, charges: np.ndarray
) -> np.ndarray:  # pragma: no cover - compiled
    """Return Σ Z Zᵀ over all atoms, (3, 3), of charges averaged over the group, with their mean subtracted."""
    n = len(charges)
    average, mean, half = np.zeros((n, 3, 3)), np.zeros((3, 3)), np.empty((3, 3))
    for g in range(len(operations)):
        w = operations[g]
        for atom in range(n):
            z, image = charges[atom], average[permutations[g, atom]]
            for i in range(3):
                for j in range(3):
                    half[i, j] = w[i, 0] * z[0, j] + w[i, 1] * z[1, j] + w[i, 2] * z[2, j]
            for i in range(3):
                for j in range(3):
                    image[i, j] += half[i, 0] * w[j, 0] + half[i, 1] * w[j, 1] + half[i, 2] * w[j, 2]
    for atom in range(n):
        for i in range(3):
            for j in range(3):
                average[atom, i, j] /= len(operations)
                mean[i, j] += average[atom, i, j] / n
    result = np.zeros((3, 3))
    for atom in range(n):
        for i in range(3):
            for k in range(3):
                for j in range(3):
                    first, second = average[atom, i, j] - mean[i, j], average[atom, k, j] - mean[k, j]
                    result[i, k] += first * second
    return result


@compiled()
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
