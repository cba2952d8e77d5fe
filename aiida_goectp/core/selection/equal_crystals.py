"""Equal crystals in a set: one crystal in several cells, orders of atoms, origins or orientations.

Candidates are found by invariants: reduced composition, volume per atom, number of atoms and operations of the
primitive cell, lengths of its reduced vectors, and distances to the nearest neighbours. Only crystals that agree in all
of them are compared by structure matching, so that 10⁵ different crystals take seconds to minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet

if TYPE_CHECKING:
    from aiida_goectp.core.crystals.symmetry import CanonicalCell

__all__ = ('MAX_DISTANCE', 'MAX_STRAIN', 'equal_rows')

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
    found = np.full(len(crystals), -1, dtype=np.int64)
    first: dict[str, int] = {}
    hashes = crystals.hashes
    for row in np.asarray(order, dtype=np.int64).tolist():
        leader = first.setdefault(str(hashes[row]), row)
        if leader != row:
            found[row] = leader
    leaders = np.array(list(first.values()), dtype=np.int64)
    for group in _candidates(crystals, leaders):
        _compare(crystals, group, found)
    for row in np.flatnonzero(found >= 0).tolist():  # the first of equal content may equal another crystal itself
        while found[found[row]] >= 0:
            found[row] = found[found[row]]
    return found


def _candidates(crystals: CrystalSet, rows: np.ndarray) -> list[list[int]]:
    """Return groups of rows with the same reduced composition and nearly equal volumes per atom, in their order."""
    if not len(rows):
        return []
    place = {row: index for index, row in enumerate(rows.tolist())}
    counts = np.zeros((len(crystals), 1 + int(crystals.atomic_numbers.max(initial=0))), dtype=np.int32)
    np.add.at(counts, (np.repeat(np.arange(len(crystals)), crystals.atom_counts), crystals.atomic_numbers), 1)
    reduced = counts // np.gcd.reduce(counts, axis=1)[:, None].clip(1)
    volumes = np.log(np.abs(np.linalg.det(crystals.lattices)) / crystals.atom_counts)
    by_composition: dict[bytes, list[int]] = {}
    for row in rows.tolist():
        by_composition.setdefault(reduced[row].tobytes(), []).append(row)
    groups = []
    for members in by_composition.values():
        ordered = np.array(members)[np.argsort(volumes[members], kind='stable')]
        cuts = np.flatnonzero(np.diff(volumes[ordered]) > _volume_tolerance()) + 1
        groups += [sorted(part.tolist(), key=place.__getitem__) for part in np.split(ordered, cuts) if len(part) > 1]
    return groups


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


def _compare(crystals: CrystalSet, group: Sequence[int], found: np.ndarray) -> None:
    """Set the leader of each row of a group that equals an earlier one."""
    # numba takes a second to import
    from aiida_goectp.core.crystals.matching import align
    from aiida_goectp.core.crystals.symmetry import canonical_cell

    buckets: dict[tuple[int, ...], _Leaders] = {}
    for row in group:
        cell = canonical_cell(crystals[row])
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
