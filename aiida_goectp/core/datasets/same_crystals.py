"""Rows of a dataset that are the same crystal, whatever their cell, frame, id and functional."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet

if TYPE_CHECKING:
    from aiida_goectp.core.crystals.matching import Alignment
    from aiida_goectp.core.crystals.symmetry import CanonicalCell

__all__ = ('SameCrystals', 'crystal_keys')


class SameCrystals:
    """Comparison of the crystals of a set, see :func:`aiida_goectp.core.crystals.matching.align`.

    A crystal is analysed once, when it is first needed.

    :param crystals: n crystals
    """

    def __init__(self, crystals: CrystalSet) -> None:
        # numba takes a second to import
        from aiida_goectp.core.crystals.matching import MAX_STRAIN

        self.crystals = crystals
        self.tolerance = 3.1 * MAX_STRAIN
        with np.errstate(divide='ignore', invalid='ignore'):
            self.log_volumes: np.ndarray = np.log(np.abs(np.linalg.det(crystals.lattices)) / crystals.atom_counts)
        self._cells: dict[int, CanonicalCell] = {}

    def __call__(self, first: int, second: int) -> bool:
        """Return whether two rows of equal reduced formula are the same crystal."""
        hashes = self.crystals.hashes
        return bool(hashes[first] == hashes[second]) or self._aligned(first, second, first_match=True) is not None

    def alignment(self, first: int, second: int) -> Alignment | None:
        """Return the alignment of two rows of equal reduced formula; None if they are not the same crystal."""
        from aiida_goectp.core.crystals.matching import Alignment

        hashes = self.crystals.hashes
        if hashes[first] == hashes[second]:
            return Alignment(np.eye(3), np.arange(len(self.cell(second).atomic_numbers)), 0.0, 0.0)
        return self._aligned(first, second, first_match=False)

    def _aligned(self, first: int, second: int, first_match: bool) -> Alignment | None:
        from aiida_goectp.core.crystals.matching import align

        if not abs(self.log_volumes[first] - self.log_volumes[second]) <= self.tolerance:
            return None
        return align(self.cell(first), self.cell(second), first_match=first_match)

    def cell(self, row: int) -> CanonicalCell:
        """Return the canonical cell of a row."""
        from aiida_goectp.core.crystals.symmetry import canonical_cell

        if row not in self._cells:
            self._cells[row] = canonical_cell(self.crystals[row])
        return self._cells[row]


_MOST_COMPARISONS = 2000
"""pairs of rows of one formula whose primitive cells have as many atoms, each of which takes milliseconds"""


def crystal_keys(crystals: CrystalSet, formulas: Sequence[str]) -> np.ndarray:
    """Return a key of each row that is equal for rows of the same crystal, (n,) text.

    It is the smallest content hash among these rows, and does not depend on the order of the rows. Rows that are the
    same crystal as a third one have the same key. After :data:`_MOST_COMPARISONS` comparisons within one formula, as of
    the frames of a trajectory, its other rows are compared by their content only.

    :param crystals: n crystals
    :param formulas: (n,) reduced formulas, see :func:`aiida_goectp.core.datasets.splits.reduced_formulas`
    """
    names, first, inverse = np.unique(crystals.hashes, return_index=True, return_inverse=True)
    of_formula: dict[str, list[int]] = {}
    for place, row in enumerate(first.tolist()):
        of_formula.setdefault(formulas[row], []).append(place)
    leaders = list(range(len(names)))
    for places in of_formula.values():
        if len(places) > 1:
            same = SameCrystals(crystals.take(first[places]))
            _merge(same, places, leaders)
    return np.asarray(names[leaders][inverse.reshape(-1)])


def _merge(same: SameCrystals, places: list[int], leaders: list[int]) -> None:
    """Set the leader of each of some places to the smallest one of the same crystal.

    :param same: compares the crystals of these places, in their order
    :param places: in ascending order
    :param leaders: leader of each place
    """
    own, compared = list(range(len(places))), 0
    order = np.argsort(same.log_volumes, kind='stable').tolist()
    for position, one in enumerate(order):
        for other in order[position + 1 :]:
            if not same.log_volumes[other] - same.log_volumes[one] <= same.tolerance:
                break
            low, high = sorted((own[one], own[other]))
            if low == high or len(same.cell(one).atomic_numbers) != len(same.cell(other).atomic_numbers):
                continue
            if compared == _MOST_COMPARISONS:
                break
            compared += 1
            if same(min(one, other), max(one, other)):
                own = [low if leader == high else leader for leader in own]
    for row, leader in enumerate(own):
        leaders[places[row]] = places[leader]
