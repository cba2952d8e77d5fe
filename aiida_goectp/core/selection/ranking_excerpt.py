"""The best rows of a large ranking on disk, and its reasons, without the memory for all rows."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.formats.table import TableFile
from aiida_goectp.core.selection.ranking import Ranking
from aiida_goectp.core.selection.reasons import count_reasons

__all__ = ('RankingExcerpt', 'best_rows', 'excluded_by_reason')


class RankingExcerpt(NamedTuple):
    """The best rows of a ranking."""

    ranking: Ranking
    """these rows, and those that are joined to them as equal crystals"""
    ranked: int
    """number of rows with a rank in the whole ranking"""
    excluded: int
    """number of rows without"""


def best_rows(file: TableFile[Ranking], count: int) -> RankingExcerpt:
    """Return the best rows of a ranking.

    :param file: the ranking
    :param count: largest number of rows
    """
    ranks = np.concatenate([np.zeros(0, np.int64), *file.column('rank')])
    joined = np.concatenate([np.zeros(0, np.int64), *file.column('joined_to')])
    best = np.flatnonzero((ranks > 0) & (ranks <= count))
    rows = np.union1d(best, np.flatnonzero(np.isin(joined, best)))
    # the first part gives the types of a ranking without rows
    parts = [{name: np.zeros((0, *file.npz.shapes[name][1:]), file.npz.dtype(name)) for name in file.columns}]
    first = 0
    for block in file.some_columns(file.columns):
        size = len(block['rank'])
        inside = rows[(rows >= first) & (rows < first + size)] - first
        parts.append({name: column[inside] for name, column in block.items()})
        first += size
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in file.columns}
    targets = joined[rows]
    columns['joined_to'] = np.where(targets < 0, -1, np.searchsorted(rows, targets))
    ranked = int(np.count_nonzero(ranks))
    return RankingExcerpt(Ranking(**columns, **file.values), ranked, len(file) - ranked)


def excluded_by_reason(file: TableFile[Ranking]) -> dict[str, int]:
    """Return the number of rows excluded by each kind of reason, see :func:`.count_reasons`.

    :param file: the ranking
    """
    counts: Counter[str] = Counter()
    for block in file.column('reason'):
        counts.update(count_reasons(block))
    return dict(counts.most_common())
