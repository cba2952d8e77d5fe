"""Structure matching of crystals, and batches without near-duplicates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import Field

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.datasets.prototypes import Prototype, composition, prototype
from aiida_goectp.core.formats.settings import Settings

if TYPE_CHECKING:
    from aiida_goectp.core.crystals.symmetry import CanonicalCell

__all__ = ('Batch', 'DiversitySettings', 'StructureMatcher', 'take_batch')


class DiversitySettings(Settings):
    """Which crystals are excluded as duplicates."""

    structures: bool = Field(
        default=True,
        description='at most one crystal of each composition and prototype in a batch, regardless of cell and frame; '
        'rows of equal content are excluded in any case',
    )
    volume_tolerance: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description='largest relative difference of the volumes per atom of two crystals of one prototype',
    )
    copies: bool = Field(
        default=True,
        description='exclude crystals that equal a verified one, also rotated or in another cell, and rank equal ones '
        'once at the end',
    )


class StructureMatcher:
    """Comparison of crystals, independent of cell, frame and origin.

    Each crystal and each pair is analysed once, when it is first needed; keep the object for the next round.

    :param volume_tolerance: largest relative difference of the volumes per atom of two crystals of one prototype
    """

    def __init__(self, volume_tolerance: float = 0.05) -> None:
        self.volume_tolerance = volume_tolerance
        self._cells: dict[str, CanonicalCell] = {}
        self._prototypes: dict[str, Prototype] = {}
        self._same: dict[tuple[str, str], bool] = {}

    def same(self, first: Crystal, first_hash: str, second: Crystal, second_hash: str) -> bool:
        """Return whether two crystals are the same one, see :func:`aiida_goectp.core.crystals.matching.align`.

        :param first_hash: content hash of the first crystal
        :param second_hash: content hash of the second crystal
        """
        # numba takes a second to import
        from aiida_goectp.core.crystals.matching import MAX_STRAIN, align

        if first_hash == second_hash:
            return True
        if composition(first) != composition(second) or _volume_ratio(first, second) > 3.1 * MAX_STRAIN:
            return False
        pair = first_hash, second_hash
        if pair not in self._same:
            self._same[pair] = align(self._cell(first, first_hash), self._cell(second, second_hash)) is not None
        return self._same[pair]

    def near_duplicates(self, first: Crystal, first_hash: str, second: Crystal, second_hash: str) -> bool:
        """Return whether two crystals have the same composition, space group and orbits, and nearly equal volumes.

        :param first_hash: content hash of the first crystal
        :param second_hash: content hash of the second crystal
        """
        if first_hash == second_hash:
            return True
        if composition(first) != composition(second):
            return False
        if _volume_ratio(first, second) > np.log1p(self.volume_tolerance):
            return False
        return self.prototype(first, first_hash) == self.prototype(second, second_hash)

    def prototype(self, crystal: Crystal, content_hash: str) -> Prototype:
        """Return the prototype of a crystal."""
        if content_hash not in self._prototypes:
            cell = self._cell(crystal, content_hash)
            self._prototypes[content_hash] = prototype(crystal, cell)
        return self._prototypes[content_hash]

    def _cell(self, crystal: Crystal, content_hash: str) -> CanonicalCell:
        from aiida_goectp.core.crystals.symmetry import canonical_cell

        if content_hash not in self._cells:
            self._cells[content_hash] = canonical_cell(crystal)
        return self._cells[content_hash]


def _volume_ratio(first: Crystal, second: Crystal) -> float:
    """Return |log| of the ratio of the volumes per atom."""
    volumes = [abs(np.linalg.det(one.lattice)) / len(one.atomic_numbers) for one in (first, second)]
    return abs(float(np.log(volumes[0] / volumes[1])))


class Batch(NamedTuple):
    """A batch without near-duplicates."""

    picks: list[int]
    """rows in the order in which they were picked"""
    skipped: dict[int, int]
    """row that was skipped before the batch was full → the pick of which it is a near-duplicate"""


def take_batch(order: Sequence[int], number: int, near_duplicates: Callable[[int, int], bool]) -> Batch:
    """Pick the first candidates that are no near-duplicates of an earlier pick.

    :param order: rows of the candidates, best first
    :param number: picks; fewer are returned if fewer candidates differ
    :param near_duplicates: whether two rows are near-duplicates
    """
    batch = Batch([], {})
    for row in order:
        if len(batch.picks) >= number:
            break
        match = next((pick for pick in batch.picks if near_duplicates(row, pick)), None)
        if match is None:
            batch.picks.append(row)
        else:
            batch.skipped[row] = match
    return batch
