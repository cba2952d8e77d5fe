"""Select the best crystals: an ordered list, and structures for these alone."""

from __future__ import annotations

from math import isfinite
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.dielectric.predictions import flag_names
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.data.crystals import CrystalsData, structure_from_crystal
from aiida_goectp.data.ranking import RankingData

__all__ = ('select_top',)

_NUMBERS = ('score', 'electronic', 'ionic', 'total', 'electronic_std', 'ionic_std', 'total_std')


@calcfunction
def select_top(ranking: RankingData, crystals: CrystalsData, number: orm.Int) -> dict[str, Any]:
    """Return the best crystals of a ranking, best first.

    :param ranking: the ranking of these crystals
    :param number: how many; fewer are returned if fewer are in
    :return: ``selection``, a list with one dictionary a crystal (rank, id, formula, row in the crystals, content hash,
        score, averages and their standard deviations, flags, name of its structure), and ``structures``, a namespace
        whose names sort by rank
    :raises ValueError: a number below one, or the ranking of other crystals
    """
    if number.value < 1:
        raise ValueError(f'number to select: {number.value}; give one at least')
    table, crystal_set = ranking.ranking, crystals.crystals
    n = len(crystal_set)
    if len(table) < n or (table.hashes[:n] != crystal_set.hashes).any() or (table.ids[:n] != crystal_set.ids).any():
        raise FormatError('the ranking is one of other crystals; rank these')
    selection, structures = [], {}
    for row in table.top(number.value).tolist():
        name = f'rank_{table.rank[row]:05d}'
        structures[name] = structure_from_crystal(crystal_set[row])
        selection.append(
            {
                'rank': int(table.rank[row]),
                'id': str(table.ids[row]),
                'formula': formula(crystal_set[row].atomic_numbers),
                'row': row,
                'hash': str(table.hashes[row]),
                **{name: _number(getattr(table, name)[row]) for name in _NUMBERS},
                'flags': list(flag_names(table.flags[row])),
                'structure': name,
            }
        )
    return {'selection': orm.List(selection), 'structures': structures}


def _number(value: Any) -> float | None:
    """Return a number that JSON knows; a part that the model does not predict is none."""
    return float(value) if isfinite(value) else None
