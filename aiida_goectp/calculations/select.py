"""Calcfunctions that select the best crystals: an ordered list, and structures of the selected crystals only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.crystalset import CrystalFile
from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.dielectric.predictions import TENSORS, flag_names
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.ranking import Ranking
from aiida_goectp.data.crystals import CrystalsData, structure_from_crystal
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData

__all__ = ('make_selection', 'select_crystals', 'select_top', 'take_crystals', 'take_first', 'take_named')

_NUMBERS = ('score', *TENSORS)


@calcfunction
def select_top(ranking: RankingData, crystals: CrystalsData, number: orm.Int) -> dict[str, Any]:
    """Return the best crystals of a ranking, best first.

    :param ranking: the ranking of these crystals
    :param number: maximum number of crystals
    :return: ``selection`` and ``structures``, see :func:`make_selection`
    :raises ValueError: a number below one, or the ranking of other crystals
    """
    if number.value < 1:
        raise ValueError(f'number of crystals to select: {number.value}; give one or more')
    table, n = ranking.ranking, len(crystals)
    with crystals.open_rows() as rows:
        if len(table) < n or not _belongs(table, rows):
            raise FormatError('the ranking belongs to other crystals; rank these crystals')
        columns = {name: getattr(table, name) for name in (*_NUMBERS, 'flags', 'stability')}
        best = table.top(number.value).tolist()
        selected = rows.take(best)
    return make_selection('rank', selected, best, columns, {row: table.joined_ids(row) for row in best})


def _belongs(table: Ranking, crystals: CrystalFile) -> bool:
    """Return whether the first rows of a ranking are those of the crystals."""
    first = 0
    for block in crystals.blocks():
        rows = slice(first, first + len(block))
        if (table.hashes[rows] != block.hashes).any() or (table.ids[rows] != block.ids).any():
            return False
        first += len(block)
    return True


@calcfunction
def take_first(selection: orm.List, number: orm.Int) -> orm.List:
    """Return the first items of a selection.

    :param number: maximum number of items
    :raises ValueError: a number below one
    """
    if number.value < 1:
        raise ValueError(f'number of crystals to take: {number.value}; give one or more')
    return orm.List(selection.get_list()[: number.value])


@calcfunction
def take_named(selection: orm.List, ids: orm.List) -> orm.List:
    """Return the items of a selection with some ids, in the order of the selection.

    :raises ValueError: an id that no item has
    """
    known = [item['id'] for item in selection]
    if unknown := [name for name in ids if name not in known]:
        raise ValueError(f'{", ".join(map(str, unknown))}: not in the selection; it has {", ".join(known[:10])}')
    return orm.List([item for item in selection if item['id'] in ids.get_list()])


@calcfunction
def take_crystals(crystals: CrystalsData, ids: orm.List) -> CrystalsData:
    """Return the crystals of some ids, in the order of the ids.

    :raises ValueError: an id that no crystal has
    """
    table = crystals.crystals
    rows = {name: row for row, name in enumerate(table.ids.tolist())}
    unknown = [name for name in ids if name not in rows]
    if unknown:
        raise ValueError(f'no crystal {", ".join(map(str, unknown))}; list the ids with `aiida-goectp show`')
    return CrystalsData(table.take([rows[name] for name in ids]))


@calcfunction
def select_crystals(crystals: CrystalsData, predictions: PredictionsData | None = None) -> dict[str, Any]:
    """Return all crystals as a selection, in their order, without a ranking.

    :param predictions: of these crystals; without them, averages and scores are null
    :return: ``selection`` and ``structures``, see :func:`make_selection`; the score is the average of ``total``
    :raises ValueError: predictions of other crystals
    """
    table, n = crystals.crystals, len(crystals)
    columns = {name: np.full(n, np.nan) for name in (*_NUMBERS, 'stability')} | {'flags': np.zeros(n, dtype=np.uint32)}
    if predictions is not None:
        predicted = predictions.predictions
        if len(predicted) != n or (predicted.hashes != table.hashes).any():
            raise FormatError('the predictions belong to other crystals; predict these crystals')
        for place, part in enumerate(PARTS):
            columns[part] = polycrystalline_average(getattr(predicted, part))
            columns[f'{part}_std'] = predicted.average_std[:, place]
        columns |= {'score': columns['total'], 'stability': predicted.stability, 'flags': predicted.flags}
    return make_selection('crystal', table, range(n), columns)


def make_selection(
    kind: str,
    crystals: CrystalSet,
    rows: Sequence[int],
    columns: Mapping[str, np.ndarray],
    joined: Mapping[int, list[str]] | None = None,
) -> dict[str, Any]:
    """Return unstored nodes of a selection: a list of items, and a structure for each item.

    An item has the keys ``rank``, ``id``, ``formula``, ``row`` (in the crystals), ``hash`` (content hash), ``score``,
    the polycrystalline averages ``electronic``, ``ionic`` and ``total``, their standard deviations ``electronic_std``,
    …, ``flags``, and ``structure`` (name of the structure); also ``joined``, the ids of equal crystals, if there are
    any, and ``stability``, the predicted probability of stability, if the model gives one.

    :param kind: ``rank``, ``pick`` or ``crystal``, the first part of the names of the structures, which sort by rank
    :param crystals: the selected crystals, best first
    :param rows: their rows in the crystals that they were selected from
    :param columns: ``score``, averages, standard deviations, ``flags`` and ``stability``, each (n,) or longer
    :param joined: row → ids of the equal crystals that are ranked under it
    :return: ``selection``, and the namespace ``structures``
    """
    items: list[dict[str, Any]] = []
    structures, stability = {}, columns['stability']
    for rank, (row, crystal) in enumerate(zip(rows, crystals, strict=True), start=1):
        name = f'{kind}_{rank:05d}'
        structures[name] = structure_from_crystal(crystal)
        items.append(
            {
                'rank': rank,
                'id': crystal.id,
                'formula': formula(crystal.atomic_numbers),
                'row': row,
                'hash': str(crystals.hashes[rank - 1]),
                # JSON has no NaN: a part that the model does not predict is null
                **{key: float(columns[key][row]) if isfinite(columns[key][row]) else None for key in _NUMBERS},
                'flags': list(flag_names(columns['flags'][row])),
                'structure': name,
                **({'joined': joined[row]} if joined and joined[row] else {}),
                **({'stability': float(stability[row])} if isfinite(stability[row]) else {}),
            }
        )
    return {'selection': orm.List(items), 'structures': structures}
