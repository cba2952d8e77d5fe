"""No near-duplicates in a batch: by structure, and by features of the network if there are any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import Settings

if TYPE_CHECKING:
    from aiida_goectp.core.crystals.symmetry import CanonicalCell

__all__ = ('Batch', 'DiversitySettings', 'Prototype', 'StructureMatcher', 'choose', 'composition', 'scaled_features')


class DiversitySettings(Settings):
    """What must not stand in a batch together."""

    structures: bool = Field(
        default=True, description='no two crystals of one composition and prototype in a batch, however they are given'
    )
    volume_tolerance: float = Field(
        default=0.05, gt=0, lt=1, description='relative difference of the volumes per atom up to which they are one'
    )
    copies: bool = Field(
        default=True,
        description='nothing that is the same crystal as one verified, though rotated or in another cell',
    )
    features: Literal['off', 'threshold', 'farthest'] = Field(
        default='off',
        description='by features of the network: threshold passes over what lies too near a pick; farthest takes, of a '
        'shortlist, the best and then always what lies farthest from all picks',
    )
    min_distance: float = Field(
        default=0.1,
        ge=0,
        description='threshold: root mean square difference of two rows of features, in standard deviations of the '
        'candidates',
    )
    shortlist: int = Field(default=4, ge=1, description='farthest: the best this many times the batch are considered')


class Prototype(NamedTuple):
    """What a crystal shares with all of its disguises and with near-duplicates."""

    composition: tuple[tuple[int, int], ...]
    """(atomic number, share in the reduced formula)"""
    space_group: int
    """number in the International Tables, 0 if no symmetry could be determined"""
    orbits: tuple[tuple[int, int], ...]
    """(atomic number, atoms) of each set of equivalent atoms in the primitive cell, sorted"""


class StructureMatcher:
    """Comparison of crystals by what does not depend on how they are given.

    Each crystal and each pair is analysed once, when it is first needed; keep the object for the next round.

    :param volume_tolerance: relative difference of the volumes per atom up to which a prototype is the same
    """

    def __init__(self, volume_tolerance: float = 0.05) -> None:
        self.volume_tolerance = volume_tolerance
        self._cells: dict[str, CanonicalCell] = {}
        self._prototypes: dict[str, Prototype] = {}
        self._same: dict[tuple[str, str], bool] = {}

    def same(self, first: Crystal, first_hash: str, second: Crystal, second_hash: str) -> bool:
        """Return whether two crystals are one; see :func:`aiida_goectp.core.crystals.matching.align`.

        :param first_hash: content hash of the first crystal
        """
        from aiida_goectp.core.crystals.matching import MAX_STRAIN, align

        if first_hash == second_hash:
            return True
        if composition(first) != composition(second) or _volume_ratio(first, second) > 3.1 * MAX_STRAIN:
            return False
        pair = first_hash, second_hash
        if pair not in self._same:
            self._same[pair] = align(self._cell(first, first_hash), self._cell(second, second_hash)) is not None
        return self._same[pair]

    def alike(self, first: Crystal, first_hash: str, second: Crystal, second_hash: str) -> bool:
        """Return whether two crystals have one composition, space group, set of orbits, and nearly one volume."""
        if first_hash == second_hash:
            return True
        if composition(first) != composition(second):
            return False
        if _volume_ratio(first, second) > np.log1p(self.volume_tolerance):
            return False
        return self.prototype(first, first_hash) == self.prototype(second, second_hash)

    def prototype(self, crystal: Crystal, content: str) -> Prototype:
        """Return what a crystal shares with its near-duplicates.

        :param content: its content hash
        """
        if content not in self._prototypes:
            cell = self._cell(crystal, content)
            self._prototypes[content] = Prototype(composition(crystal), _space_group(cell), _orbits(cell))
        return self._prototypes[content]

    def _cell(self, crystal: Crystal, content: str) -> CanonicalCell:
        from aiida_goectp.core.crystals.symmetry import canonical_cell

        if content not in self._cells:
            self._cells[content] = canonical_cell(crystal)
        return self._cells[content]


def composition(crystal: Crystal) -> tuple[tuple[int, int], ...]:
    """Return (atomic number, share) of the reduced formula, ascending."""
    numbers, counts = np.unique(np.asarray(crystal.atomic_numbers), return_counts=True)
    divisor = gcd(*counts.tolist()) if len(counts) else 1
    return tuple((int(z), int(count) // divisor) for z, count in zip(numbers, counts, strict=True))


def _volume_ratio(first: Crystal, second: Crystal) -> float:
    """Return |log| of the ratio of the volumes per atom."""
    volumes = [abs(np.linalg.det(one.lattice)) / len(one.atomic_numbers) for one in (first, second)]
    return abs(float(np.log(volumes[0] / volumes[1])))


def _space_group(cell: CanonicalCell) -> int:
    import spglib

    from aiida_goectp.core.crystals.symmetry import SYMPREC

    if not cell.symmetry_known:
        return 0
    given: Any = (cell.lattice, cell.fractional_positions, cell.atomic_numbers)
    found = spglib.get_spacegroup(given, symprec=SYMPREC)
    return int(found.split('(')[1].rstrip(')')) if found else 0


def _orbits(cell: CanonicalCell) -> tuple[tuple[int, int], ...]:
    first = cell.permutations.min(axis=0)  # every operation of the group is there: the least image names the orbit
    names, sizes = np.unique(first, return_counts=True)
    return tuple(sorted((int(cell.atomic_numbers[name]), int(size)) for name, size in zip(names, sizes, strict=True)))


class Batch(NamedTuple):
    """A batch."""

    picks: list[int]
    """rows in the order in which they were taken"""
    passed: dict[int, str]
    """row → why it was passed over, for rows that came before the batch was full"""


def choose(
    order: Sequence[int],
    number: int,
    settings: DiversitySettings,
    near: Callable[[int, int], bool],
    names: Sequence[str] | np.ndarray,
    features: np.ndarray | None = None,
) -> Batch:
    """Take a batch from candidates without near-duplicates.

    :param order: rows of the candidates, best first
    :param number: of picks; fewer come back if there are not as many that differ
    :param near: whether two rows are near-duplicates by structure; asked only if ``settings.structures``
    :param names: (n,) of all rows, for the reasons
    :param features: (n, k) as :func:`scaled_features` gives them; needed unless ``settings.features`` is off
    :raises FormatError: features are asked for and not given
    """
    if settings.features != 'off' and features is None:
        raise FormatError(
            f'diversity.features: {settings.features!r} needs the features of the network, and none were given; '
            'predict with features, or set it to off'
        )
    batch = _BatchBuilder(settings, near, names, features)
    rows = list(order)
    if settings.features == 'farthest':
        shortlist = rows[: settings.shortlist * number]
        batch.take_farthest(shortlist, number)
        rows = rows[len(shortlist) :]
    for row in rows:
        if len(batch.picks) >= number:
            break
        batch.offer(row)
    return Batch(batch.picks, batch.passed)


class _BatchBuilder:
    """The picks so far, and why others were passed over."""

    def __init__(
        self,
        settings: DiversitySettings,
        near: Callable[[int, int], bool],
        names: Sequence[str] | np.ndarray,
        features: np.ndarray | None,
    ) -> None:
        self.settings, self.near, self.names = settings, near, names
        self.features = features if settings.features != 'off' else None
        self.picks: list[int] = []
        self.passed: dict[int, str] = {}

    def offer(self, row: int) -> None:
        """Pick the row, or pass over it with a reason."""
        reason = self._objection(row)
        if reason:
            self.passed[row] = reason
        else:
            self.picks.append(row)

    def take_farthest(self, shortlist: list[int], number: int) -> None:
        """Take the first, then always what lies farthest from all picks; of equals the one that comes first."""
        assert self.features is not None
        points = self.features[shortlist]
        distance = np.full(len(shortlist), np.inf)
        for _ in range(len(shortlist)):
            if len(self.picks) >= number:
                break
            place = int(np.argmax(distance))
            taken = len(self.picks)
            self.offer(shortlist[place])
            if len(self.picks) > taken:
                distance = np.minimum(distance, _distances(points, points[place]))
            distance[place] = -np.inf

    def _objection(self, row: int) -> str:
        if self.settings.structures:
            for pick in self.picks:
                if self.near(row, pick):
                    return f'near-duplicate: of {self.names[pick]}, picked before it'
        if self.settings.features == 'threshold' and self.features is not None and self.picks:
            distances = _distances(self.features[self.picks], self.features[row])
            nearest = int(np.argmin(distances))
            if distances[nearest] < self.settings.min_distance:
                name = self.names[self.picks[nearest]]
                return f'near-duplicate: features {distances[nearest]:.3g} from those of {name}, picked before it'
        return ''


def _distances(points: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.sqrt(((points - point) ** 2).mean(axis=1))


def scaled_features(features: np.ndarray, names: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return features in units of their standard deviations over the rows; columns that never change become zero.

    :param features: (n, k)
    :param names: (n,) for messages
    :raises FormatError: no such array, or a row that is not finite
    """
    array = np.asarray(features, dtype=np.float64)
    if array.ndim != 2 or len(array) != len(names) or not array.shape[1]:
        raise FormatError(f'features: expected ({len(names)}, k) numbers with k at least 1, found {array.shape}')
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise FormatError(f'features of {names[int(np.argmax(bad))]} are not finite; predict this crystal anew')
    if not len(array):
        return array
    deviation = array.std(axis=0)
    moves = deviation > 1e-12 * np.maximum(np.abs(array).max(axis=0), 1e-300)
    return np.where(moves, (array - array.mean(axis=0)) / np.where(moves, deviation, 1.0), 0.0)
