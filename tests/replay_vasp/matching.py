"""Orientation of one crystal in another: the rotation and the assignment of the atoms."""

from __future__ import annotations

import itertools
import warnings
from typing import NamedTuple

import numpy as np
import spglib

_COEFFICIENTS = np.array([c for c in itertools.product(range(-2, 3), repeat=3) if any(c)])
LENGTH_TOLERANCE = 0.06
"""relative, of lengths; absolute, of cosines"""
DISTANCE_TOLERANCE = 0.25
"""Å, root mean square"""
_MAX_BASES = 240
_ROUNDING = 1e-6
"""of coordinates in a text file"""


class PrimitiveCell(NamedTuple):
    """Reduced primitive cell in the frame of the crystal."""

    lattice: np.ndarray
    """(3, 3) Å, rows"""
    numbers: np.ndarray
    positions: np.ndarray
    """fractional"""
    mapping: np.ndarray
    """atom of the primitive cell of each atom of the crystal"""


class Match(NamedTuple):
    """Orientation of a reference in a target."""

    rotation: np.ndarray
    """a vector v of the reference is Q v in the target"""
    atoms: np.ndarray
    """atom of the reference of each atom of the target"""
    mismatch: float


def primitive_cell(lattice, numbers, positions, symprec=1e-2) -> PrimitiveCell:
    """Return the primitive cell of a crystal in the same orientation."""
    lattice, positions = np.asarray(lattice, float), np.asarray(positions, float)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = spglib.get_symmetry_dataset((lattice, positions % 1.0, numbers), symprec=symprec)
    mapping, small = np.arange(len(numbers)), lattice
    if found is not None and found.mapping_to_primitive.max() + 1 < len(numbers):
        mapping = np.asarray(found.mapping_to_primitive)
        factor = np.rint(lattice @ np.linalg.inv(np.asarray(found.primitive_lattice)))
        small = np.linalg.solve(factor, lattice)
    first = np.unique(mapping, return_index=True)[1]
    reduced = spglib.niggli_reduce(small)
    reduced = small if reduced is None else np.asarray(reduced)
    cartesian = positions[first] @ lattice
    return PrimitiveCell(reduced, np.asarray(numbers)[first], cartesian @ np.linalg.inv(reduced), mapping)


def find_match(target: PrimitiveCell, reference: PrimitiveCell) -> Match | None:
    """Return the best orientation of the reference in the target; None if there is none within the tolerances."""
    if len(target.numbers) != len(reference.numbers) or sorted(target.numbers) != sorted(reference.numbers):
        return None
    best = None
    for strain, basis in _bases(target.lattice, reference.lattice):
        found = _place(target, reference, basis)
        if found is None:
            continue
        distance, atoms = found
        if best is None or distance + strain < best.mismatch - 1e-9:
            gradient = np.linalg.solve(reference.lattice, basis)  # rows: v_target = v_reference @ gradient
            left, _, right = np.linalg.svd(gradient)
            rotation = (left @ right).T
            if np.allclose(rotation, np.eye(3), rtol=0, atol=_ROUNDING):
                rotation = np.eye(3)
            best = Match(rotation, atoms, distance + strain)
    if best is None:
        return None
    first = np.unique(reference.mapping, return_index=True)[1]
    return best._replace(atoms=first[best.atoms[target.mapping]])


def _bases(lattice, wanted):
    """Return bases of a lattice by the deviation of their metric from a given one, then by the rotation angle.

    Published tensors obey the point group to a per cent only: the order lets a crystal in its own frame have exactly
    its own tensor.
    """
    vectors = _COEFFICIENTS @ lattice
    lengths = np.linalg.norm(vectors, axis=1)
    goal = np.linalg.norm(wanted, axis=1)
    rows = [np.flatnonzero(np.abs(lengths / length - 1) < LENGTH_TOLERANCE) for length in goal]
    if not all(len(row) for row in rows):
        return []
    i, j, k = (grid.ravel() for grid in np.meshgrid(*rows, indexing='ij'))
    integers = np.stack([_COEFFICIENTS[i], _COEFFICIENTS[j], _COEFFICIENTS[k]], axis=1)
    integers = integers[np.abs(np.rint(np.linalg.det(integers))) == 1]
    bases = integers @ lattice
    unit, aim = bases / np.linalg.norm(bases, axis=2, keepdims=True), wanted / goal[:, None]
    cosines = np.abs(unit @ np.swapaxes(unit, 1, 2) - aim @ aim.T).max(axis=(1, 2))
    bases, cosines = bases[cosines < LENGTH_TOLERANCE], cosines[cosines < LENGTH_TOLERANCE]
    strains = np.abs(np.linalg.norm(bases, axis=2) / goal - 1).max(axis=1) + cosines if len(bases) else cosines
    moved = np.abs(bases - wanted).max(axis=(1, 2), initial=0.0)
    order = np.lexsort((moved, np.round(strains / _ROUNDING)))[:_MAX_BASES]
    return [(strains[row], bases[row]) for row in order]


def _place(target, reference, basis):
    """Return the root mean square distance for the best origin, and the reference atom of each target atom."""
    goal = target.positions @ target.lattice @ np.linalg.inv(basis)
    counts = {number: int((target.numbers == number).sum()) for number in target.numbers.tolist()}
    rare = min(counts, key=counts.get)
    anchor = int(np.flatnonzero(reference.numbers == rare)[0])
    best = None
    for site in np.flatnonzero(target.numbers == rare):
        shifted = reference.positions + goal[site] - reference.positions[anchor]
        delta = goal[:, None] - shifted[None]
        delta -= np.rint(delta)
        distances = np.linalg.norm(delta @ basis, axis=-1)
        distances[target.numbers[:, None] != reference.numbers[None]] = np.inf
        atoms = distances.argmin(axis=1)
        if len(set(atoms.tolist())) < len(atoms):
            continue
        chosen = delta[np.arange(len(atoms)), atoms] @ basis
        distance = float(np.sqrt(((chosen - chosen.mean(axis=0)) ** 2).sum(axis=1).mean()))
        if distance < DISTANCE_TOLERANCE and (best is None or distance < best[0]):
            best = (distance, atoms)
    return best
