"""Equal crystals in a set: one crystal in several cells, orders of atoms, origins or orientations.

Candidates are found by invariants: reduced composition, volume per atom, number of atoms and operations of the
primitive cell, lengths of its reduced vectors, and distances to the nearest neighbours. Only crystals that agree in all
of them are compared by structure matching, so that 10⁵ different crystals take seconds to minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet
from aiida_goectp.core.crystals.symmetry_search import minkowski_reduce
from aiida_goectp.core.formats.npz import BLOCK_ROWS

if TYPE_CHECKING:
    from aiida_goectp.core.crystals.symmetry import CanonicalCell

__all__ = ('MAX_DISTANCE', 'MAX_STRAIN', 'CompositionKeys', 'composition_keys', 'equal_among', 'equal_rows')

MAX_STRAIN = 1e-3
"""largest principal strain between equal crystals; lattice constants with three decimals differ by less"""

MAX_DISTANCE = 0.01
"""Å, largest distance of matched atoms of equal crystals; positions with three decimals differ by less"""

_LENGTH = 1e-3
"""Å, tolerance of lengths besides the strain: the symmetrised cell differs by less from the given one"""

_NEIGHBOURS = 6
"""nearest neighbours of each atom whose distances are compared"""

_MAX_ATOMS = 200
"""neighbours of all atoms of a primitive cell that are compared"""

_READ_ROWS = 50_000
"""crystals that are read together to be compared"""

_HEAVIEST = 127
"""atomic number; there is no element beyond"""

_WEIGHTS = np.random.default_rng(0).integers(0, 2**64, size=(1 + _HEAVIEST, 2), dtype=np.uint64)
"""of the elements in the hash of a composition"""

_IMAGES = np.array(list(product(range(-2, 3), repeat=3)))
"""cells whose atoms may be nearest neighbours"""

_MAX_MATCHED = 8
"""crystals of nearly equal invariants with which one is compared, the nearest first"""


def equal_rows(crystals: CrystalSet, order: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return for each row the row of an equal crystal that precedes it in an order, (n,); −1 without one.

    Equal are crystals whose primitive cells agree after rotation or reflection and change of origin, cell and order of
    atoms, with point groups of the same order, up to :data:`MAX_STRAIN` and :data:`MAX_DISTANCE`; see
    :func:`aiida_goectp.core.crystals.matching.align`. The row that is returned equals no row before it.

    :param crystals: n crystals
    :param order: rows to compare; others are never equal
    """
    keys = composition_keys(crystals)
    return equal_among(keys, crystals.hashes, np.asarray(order, dtype=np.int64), crystals.take)


class CompositionKeys(NamedTuple):
    """What two crystals must share to be equal; that of several sets is concatenated."""

    compositions: np.ndarray
    """(n, 2) hash of the reduced composition"""
    volumes: np.ndarray
    """(n,) logarithm of the volume per atom"""


def composition_keys(crystals: CrystalSet) -> CompositionKeys:
    """Return reduced compositions and volumes of crystals."""
    compositions = np.zeros((len(crystals), 2), dtype=np.uint64)
    for first in range(0, len(crystals), BLOCK_ROWS):  # a kilobyte a crystal
        numbers = crystals.atom_counts[first : first + BLOCK_ROWS]
        atoms = slice(*crystals.atom_offsets[[first, first + len(numbers)]])
        elements = np.clip(crystals.atomic_numbers[atoms], 0, _HEAVIEST).astype(np.int64)
        places = np.repeat(np.arange(len(numbers)) * len(_WEIGHTS), numbers) + elements
        counts = np.bincount(places, minlength=len(numbers) * len(_WEIGHTS)).reshape(-1, len(_WEIGHTS))
        reduced = counts // np.gcd.reduce(counts, axis=1)[:, None].clip(1)
        compositions[first : first + len(numbers)] = reduced.astype(np.uint64) @ _WEIGHTS
    with np.errstate(divide='ignore', invalid='ignore'):
        volumes = np.log(np.abs(np.linalg.det(crystals.lattices)) / crystals.atom_counts)
    return CompositionKeys(compositions, volumes)


def equal_among(
    keys: CompositionKeys, hashes: np.ndarray, order: np.ndarray, take: Callable[[np.ndarray], CrystalSet]
) -> np.ndarray:
    """Return :func:`equal_rows` of n crystals, of which only those with equal keys need to be read.

    :param keys: of all crystals
    :param hashes: (n,) content hashes
    :param order: rows to compare
    :param take: returns the crystals of some rows, in their order
    """
    found = np.full(len(hashes), -1, dtype=np.int64)
    if not len(order):
        return found
    _, first, inverse = np.unique(hashes[order].astype('S'), return_index=True, return_inverse=True)
    leader = order[first][inverse.reshape(-1)]
    found[order[leader != order]] = leader[leader != order]
    place = np.zeros(len(hashes), dtype=np.int64)
    place[order] = np.arange(len(order))
    groups = _candidates(keys, order[leader == order], place)
    for some in _portions(groups):
        rows = np.sort(np.concatenate(some))
        crystals = take(rows)
        for group in some:
            _compare(crystals, rows, _similar(crystals, rows, group), found)
    for row in np.flatnonzero(found >= 0).tolist():  # the first of equal content may equal another crystal itself
        while found[found[row]] >= 0:
            found[row] = found[found[row]]
    return found


def _portions(groups: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Yield groups together, as many as have about :data:`_READ_ROWS` rows."""
    some: list[np.ndarray] = []
    rows = 0
    for group in groups:
        some.append(group)
        rows += len(group)
        if rows >= _READ_ROWS:
            yield some
            some, rows = [], 0
    if some:
        yield some


def _candidates(keys: CompositionKeys, rows: np.ndarray, place: np.ndarray) -> list[np.ndarray]:
    """Return groups of rows with the same reduced composition and nearly equal volumes per atom, in their order.

    :param place: (n,) place of each row in the order
    """
    compositions, volumes = keys.compositions[rows], keys.volumes[rows]
    ascending = np.lexsort((volumes, compositions[:, 1], compositions[:, 0]))
    rows, compositions, volumes = rows[ascending], compositions[ascending], volumes[ascending]
    other = (compositions[1:] != compositions[:-1]).any(axis=1) | (np.diff(volumes) > _volume_tolerance())
    bounds = np.concatenate([[0], np.flatnonzero(other) + 1, [len(rows)]])
    large = np.flatnonzero(np.diff(bounds) > 1)
    groups = (rows[bounds[number] : bounds[number + 1]] for number in large.tolist())
    return [group[np.argsort(place[group])] for group in groups]


def _volume_tolerance() -> float:
    return float(3.1 * MAX_STRAIN)


class _Leaders:
    """Crystals that equal none before them, with similar volume and shortest vector."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.cells: list[CanonicalCell] = []
        self._invariants = np.zeros((0, 0))

    def add(self, row: int, cell: CanonicalCell, invariants: np.ndarray) -> None:
        """Add a crystal."""
        used = len(self.rows)
        if used == len(self._invariants):  # twice the room each time, so that adding takes constant time on average
            wider = np.zeros((max(4, 2 * used), len(invariants)))
            wider[:used] = self._invariants[:used].reshape(used, len(invariants))
            self._invariants = wider
        self._invariants[used] = invariants
        self.rows.append(row)
        self.cells.append(cell)

    def near(self, invariants: np.ndarray, tolerance: np.ndarray) -> Iterator[tuple[float, int, CanonicalCell]]:
        """Yield deviation in units of the tolerance, row and cell of the crystals whose invariants agree."""
        deviations = np.abs((self._invariants[: len(self.rows)] - invariants) / tolerance).max(axis=1)
        for index in np.flatnonzero(deviations <= 1).tolist():
            yield float(deviations[index]), self.rows[index], self.cells[index]


def _similar(crystals: CrystalSet, rows: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the rows of a group with neighbours at nearly the same distances as another of its rows, in their order.

    The others equal none. Their symmetry, which takes milliseconds to find, is not needed.

    :param rows: row of each of the crystals, ascending
    """
    from scipy.spatial import KDTree  # takes a tenth of a second to import

    places = np.searchsorted(rows, group)
    if (crystals.atom_counts[places] > _MAX_ATOMS).any():
        return group
    distances = np.array([_mean_distances(crystals[place]) for place in places.tolist()])
    tolerance = MAX_STRAIN * distances.max() + 2 * MAX_DISTANCE + 2 * _LENGTH
    nearest, _ = KDTree(distances).query(distances, k=2, p=np.inf)
    return group[nearest[:, 1] <= tolerance]


def _mean_distances(crystal: Crystal) -> np.ndarray:
    """Return the distances from the atoms of the rarest element to their nearest neighbours in Å, the mean by rank.

    The first three are those to any atom, the others those to the same element. They do not depend on the cell: the
    reduced cell has the three nearest neighbours within two cells.
    """
    reduced = minkowski_reduce(crystal.lattice)
    lattice = crystal.lattice if reduced is None else reduced
    positions = crystal.fractional_positions @ (crystal.lattice @ np.linalg.inv(lattice))
    elements, counts = np.unique(crystal.atomic_numbers, return_counts=True)
    rare = np.flatnonzero(crystal.atomic_numbers == elements[np.argmin(counts)])
    steps = positions[None] - positions[rare, None]
    steps -= np.rint(steps)
    distances = np.linalg.norm((steps[:, :, None] + _IMAGES) @ lattice, axis=3)
    both = (distances.reshape(len(rare), -1), distances[:, rare].reshape(len(rare), -1))
    return np.concatenate([np.sort(np.partition(some, 3, axis=1)[:, :4], axis=1)[:, 1:].mean(axis=0) for some in both])


def _compare(crystals: CrystalSet, rows: np.ndarray, group: np.ndarray, found: np.ndarray) -> None:
    """Set the leader of each row of a group that equals an earlier one.

    :param rows: row of each of the crystals, ascending
    """
    # numba takes a second to import
    from aiida_goectp.core.crystals.matching import align
    from aiida_goectp.core.crystals.symmetry import canonical_cell

    buckets: dict[tuple[int, ...], _Leaders] = {}
    for row, index in zip(group.tolist(), np.searchsorted(rows, group).tolist(), strict=True):
        cell = canonical_cell(crystals[index])
        values, tolerance = _invariants(cell)
        key = len(cell.atomic_numbers), len(cell.operations), *np.floor(values[:2] / tolerance[:2]).astype(int).tolist()
        near = [
            item
            for a, b in product((-1, 0, 1), repeat=2)
            if (leaders := buckets.get((key[0], key[1], key[2] + a, key[3] + b))) is not None
            for item in leaders.near(values, tolerance)
        ]
        close = sorted(near, key=lambda item: item[:2])[:_MAX_MATCHED]
        match = next(
            (leader for _, leader, other in close if align(other, cell, MAX_STRAIN, MAX_DISTANCE, first_match=True)),
            None,
        )
        if match is None:
            buckets.setdefault(key, _Leaders()).add(row, cell, values)
        else:
            found[row] = match


def _invariants(cell: CanonicalCell) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers that do not depend on the description of a crystal, and how much they differ for equal crystals.

    The first two have tolerances that do not depend on the crystal: log of the volume, log of the shortest vector.
    """
    lengths = np.sort(np.linalg.norm(cell.lattice, axis=1))
    volume = np.log(np.abs(np.linalg.det(cell.lattice)))
    neighbours = _neighbour_distances(cell)
    values = np.concatenate([[volume, np.log(lengths[0])], lengths[1:], neighbours])
    tolerance = np.concatenate(
        [
            [_volume_tolerance() + 3e-4, MAX_STRAIN + _LENGTH],
            MAX_STRAIN * lengths[1:] + _LENGTH,
            MAX_STRAIN * neighbours + 2 * MAX_DISTANCE + _LENGTH,
        ]
    )
    return values, tolerance


def _neighbour_distances(cell: CanonicalCell) -> np.ndarray:
    """Return the distances of the atoms to their nearest neighbours in Å, by element and rank, ascending.

    Each number changes by at most twice the largest displacement of an atom. The cell is small enough that the nearest
    neighbours lie in the adjacent cells; of a large cell fewer neighbours are compared, and of a very large one none.
    """
    positions, n = cell.fractional_positions, len(cell.fractional_positions)
    number = min(_NEIGHBOURS, _MAX_ATOMS // n)
    if not number:
        return np.zeros(1)
    images = np.array(list(product((-1, 0, 1), repeat=3)))
    steps = positions[None, :] - positions[:, None]
    steps -= np.rint(steps)
    distances = np.linalg.norm((steps[:, :, None] + images) @ cell.lattice, axis=3).reshape(n, -1)
    nearest = np.sort(np.partition(distances, number, axis=1)[:, : number + 1], axis=1)[:, 1:]
    return np.concatenate(
        [np.sort(nearest[cell.atomic_numbers == element], axis=0).ravel() for element in np.unique(cell.atomic_numbers)]
    )
