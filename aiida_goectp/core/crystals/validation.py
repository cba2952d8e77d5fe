"""Validation of crystals; an invalid row becomes a failure with a code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet, Failure
from aiida_goectp.core.crystals.elements import SYMBOLS, symbols_of
from aiida_goectp.core.crystals.symmetry_search import FLATTEST, minkowski_reduce
from aiida_goectp.core.formats.errors import FormatError

__all__ = (
    'FEW_ATOMS',
    'FLATTEST',
    'MAX_LENGTH',
    'MAX_POSITION',
    'MIN_DISTANCE',
    'CrystalError',
    'check_crystal',
    'require_valid',
    'split_valid',
)

MIN_DISTANCE = 0.5
"""Å, smallest distance of two atoms (the shortest bond, H–H, is 0.74 Å)"""

MAX_LENGTH = 1e4
"""Å, longest lattice vector; longer ones indicate wrong units"""

MAX_POSITION = 1e6
"""cells; larger positions lose the precision of 1e-9 within the cell"""


FEW_ATOMS = 1000
"""up to which all pairs of atoms are compared; a search tree is faster for more"""


_MAX_NEIGHBOURS = 300
"""pairs an atom within the window of the smallest distance; more only if some are closer"""


class CrystalError(FormatError):
    """Invalid structure.

    :param code: reason, as in :class:`.Failure`
    :param message: what was found, and the remedy
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_crystal(crystal: Crystal) -> Failure | None:
    """Return the reason why a crystal is invalid, or None if it is valid.

    Codes are ``no_atoms``, ``bad_shape``, ``not_finite``, ``bad_lattice`` (no volume, or too long), ``unknown_element``
    and ``atoms_too_close`` (periodic images included). Left-handed lattices are valid.
    """
    from aiida_goectp.core.crystals.compiled.quick_check import is_surely_valid

    if is_surely_valid(crystal):
        return None
    try:
        _check_arrays(crystal)
        _check_lattice(crystal)
        _check_elements(crystal)
        _check_distances(crystal)
    except CrystalError as error:
        return Failure(crystal.id, error.code, str(error))
    return None


def require_valid(crystal: Crystal) -> Crystal:
    """Return the crystal itself.

    :raises CrystalError: it is not valid, see :func:`check_crystal`
    """
    failure = check_crystal(crystal)
    if failure is not None:
        raise CrystalError(failure.code, failure.message)
    return crystal


def split_valid(
    crystals: Iterable[Crystal],
    properties: Mapping[str, Sequence | np.ndarray] | None = None,
    failures: Iterable[Failure] = (),
) -> CrystalSet:
    """Return a set of the valid crystals; the invalid ones are among its failures.

    :param crystals: ids must be unique
    :param properties: name → one value a crystal, invalid ones included
    :param failures: rows that failed before; they come first
    :raises FormatError: a duplicate id, or a property column of another length
    """
    rows = list(crystals)
    columns = {name: np.asarray(column) for name, column in (properties or {}).items()}
    for name, column in columns.items():
        if len(column) != len(rows):
            raise FormatError(f'property {name!r} has {len(column)} values for {len(rows)} crystals')
    found = [check_crystal(row) for row in rows]
    valid = np.array([item is None for item in found], dtype=bool)
    return CrystalSet.from_crystals(
        [row for row, item in zip(rows, found, strict=True) if item is None],
        {name: column[valid] for name, column in columns.items()},
        (*failures, *(item for item in found if item is not None)),
    )


def _check_arrays(crystal: Crystal) -> None:
    lattice, numbers, positions = crystal.lattice, crystal.atomic_numbers, crystal.fractional_positions
    n = len(numbers)
    if n == 0:
        raise CrystalError('no_atoms', 'no atoms')
    if np.shape(lattice) != (3, 3) or np.shape(positions) != (n, 3):
        raise CrystalError(
            'bad_shape',
            f'lattice of shape {np.shape(lattice)}, positions of shape {np.shape(positions)}; '
            f'expected (3, 3) and ({n}, 3)',
        )
    if not np.isfinite(lattice).all():
        raise CrystalError('not_finite', f'the lattice contains NaN or infinity: {np.asarray(lattice).tolist()}')
    with np.errstate(invalid='ignore'):
        bad = ~(np.abs(positions) <= MAX_POSITION).all(axis=1)
    if bad.any():
        atom = int(np.argmax(bad))
        raise CrystalError(
            'not_finite',
            f'atom {atom + 1} has the fractional position {np.asarray(positions)[atom].tolist()}; '
            f'expected finite numbers within ±{MAX_POSITION:.0e}',
        )


def _check_lattice(crystal: Crystal) -> None:
    largest = np.abs(crystal.lattice).max()
    if largest > MAX_LENGTH:
        raise CrystalError('bad_lattice', f'a lattice vector has a component of {largest:.4g} Å; is the unit Å?')
    lengths = np.sqrt(np.square(crystal.lattice).sum(axis=1))
    volume = abs(np.linalg.det(crystal.lattice))
    if not volume > FLATTEST * lengths.prod():
        raise CrystalError(
            'bad_lattice',
            f'the lattice has no volume ({volume:.3g} Å³, lengths {", ".join(f"{x:.4g}" for x in lengths)} Å); '
            'three independent lattice vectors are required',
        )
    # the densest packing of spheres of diameter d has a volume of d³/√2 a sphere; in smaller cells atoms are closer
    if volume < len(crystal.atomic_numbers) * MIN_DISTANCE**3 / np.sqrt(2):
        raise CrystalError(
            'bad_lattice', f'{volume:.3g} Å³ is too small for {len(crystal.atomic_numbers)} atoms; is the unit Å?'
        )


def _check_elements(crystal: Crystal) -> None:
    numbers = np.asarray(crystal.atomic_numbers)
    if numbers.dtype.kind not in 'iu':
        raise CrystalError('unknown_element', f'atomic numbers are {numbers.dtype}, expected integers')
    bad = (numbers < 1) | (numbers >= len(SYMBOLS))
    if bad.any():
        atom = int(np.argmax(bad))
        raise CrystalError(
            'unknown_element',
            f'atom {atom + 1} has the atomic number {numbers[atom]}; expected 1 to {len(SYMBOLS) - 1}',
        )


def _check_distances(crystal: Crystal) -> None:
    found = _closest_pair(np.asarray(crystal.lattice, dtype=np.float64), np.asarray(crystal.fractional_positions))
    if found is None:
        return
    first, second, distance = found
    if first == second:
        text = f'an atom is {distance:.3f} Å from its periodic image; the lattice is too small'
    else:
        names = symbols_of(crystal.atomic_numbers)
        text = (
            f'atoms {first + 1} ({names[first]}) and {second + 1} ({names[second]}) are {distance:.3f} Å apart, '
            f'less than {MIN_DISTANCE} Å; is a site duplicated, or disordered?'
        )
    raise CrystalError('atoms_too_close', text)


def _closest_pair(lattice: np.ndarray, positions: np.ndarray) -> tuple[int, int, float] | None:
    """Return the closest pair of atoms nearer than ``MIN_DISTANCE`` and its distance in Å, or None.

    A vector shorter than d has fractional components of at most d / h, h the height of the cell along each axis. In a
    cell higher than 2 d only the nearest image of each component is possible; flatter cells are reduced first, and
    several images are compared.
    """
    inverse = np.linalg.inv(lattice)
    heights = 1 / np.sqrt(np.square(inverse).sum(axis=0))
    if heights.min() <= 2 * MIN_DISTANCE:
        cartesian = (positions - np.rint(positions)) @ lattice
        lattice = _reduce(lattice)
        lengths = np.sqrt(np.square(lattice).sum(axis=1))
        if lengths.min() < MIN_DISTANCE:
            return 0, 0, float(lengths.min())
        inverse = np.linalg.inv(lattice)
        heights = 1 / np.sqrt(np.square(inverse).sum(axis=0))
        positions = cartesian @ inverse
    window = MIN_DISTANCE / heights
    spans = np.floor(window + 0.5).astype(int)
    images = np.array(list(product(*(range(-span, span + 1) for span in spans))), dtype=np.float64)
    if len(positions) > FEW_ATOMS and len(images) > 1:
        raise CrystalError('bad_lattice', f'{len(positions)} atoms in a cell less than 1 Å high; is the unit Å?')
    best: tuple[int, int, float] | None = None
    for image in images:
        first, second, delta = _pairs_within(positions, image, window)
        distances = np.sqrt(np.square(delta @ lattice).sum(axis=1))
        if len(distances) and distances.min() < (best[2] if best else MIN_DISTANCE):
            k = int(np.argmin(distances))
            best = (int(min(first[k], second[k])), int(max(first[k], second[k])), float(distances[k]))
    return best


def _pairs_within(
    positions: np.ndarray, image: np.ndarray, window: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs i and j whose difference, nearest image plus ``image``, is within the window; and it, (m, 3)."""
    if len(positions) > FEW_ATOMS:
        first, second = _neighbours(positions, window)
    else:
        axis = int(np.argmin(window))  # the most selective axis first
        delta = positions[:, axis, None] - positions[:, axis]
        delta -= np.rint(delta)
        first, second = np.nonzero(np.abs(delta + image[axis]) < window[axis])
        keep = first <= second if image.any() else first < second
        first, second = first[keep], second[keep]
    differences = positions[first] - positions[second]
    differences += image - np.rint(differences)
    inside = (np.abs(differences) < window).all(axis=1)
    return first[inside], second[inside], differences[inside]


def _neighbours(positions: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs i < j whose nearest images are within the window; the nearest of each atom if there are many.

    Time and memory are proportional to the number of atoms.
    """
    from scipy.spatial import cKDTree

    box = 1 / window
    points = (positions - np.floor(positions)) * box
    tree = cKDTree(np.where(points < box, points, 0.0), boxsize=box)
    if tree.count_neighbors(tree, 1.0, p=np.inf) > _MAX_NEIGHBOURS * len(points):
        second = tree.query(tree.data, 2, p=np.inf)[1][:, 1]
        return np.arange(len(points)), second
    return tuple(tree.query_pairs(1.0, p=np.inf, output_type='ndarray').T)


def _reduce(lattice: np.ndarray) -> np.ndarray:
    reduced = minkowski_reduce(lattice)
    if reduced is None:
        raise CrystalError('bad_lattice', 'the lattice is too flat or too skewed to be reduced to a compact cell')
    return reduced
