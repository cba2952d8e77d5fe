"""Tables of rankings, which are read in blocks, and of selections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from aiida_goectp.core.dielectric.predictions import flag_names, flag_words
from aiida_goectp.core.dielectric.tensors import PART_SYMBOLS
from aiida_goectp.core.formats.numbers import with_deviation
from aiida_goectp.core.formats.table import TableFile
from aiida_goectp.core.formats.text_tables import make_table, table_title
from aiida_goectp.core.selection.ranking import Ranking
from aiida_goectp.core.selection.reasons import count_reasons
from aiida_goectp.report.words import STABILITY, probability

__all__ = ('ranking_table', 'reasons_table', 'selection_table')

_MAX_REASONS = 15
"""rows of the table of reasons"""

_MAX_JOINED = 3
"""ids of equal crystals in a row"""


class _Excerpt(NamedTuple):
    """The best rows of a ranking."""

    ranking: Ranking
    """these rows, and those that are joined to them as equal crystals"""
    ranked: int
    """number of rows with a rank in the whole ranking"""
    excluded: int
    """number of rows without"""


def ranking_table(file: TableFile[Ranking], rows: int) -> Table:
    """Return the best rows of a ranking with averages, and standard deviations where known.

    :param file: the ranking
    :param rows: largest number
    """
    ranking, ranked, excluded = _best_rows(file, rows)
    top = ranking.top().tolist()
    lines = [
        [
            str(ranking.rank[row]),
            str(ranking.ids[row]),
            _remarks(flag_names(ranking.flags[row]), ranking.joined_ids(row)),
            ranking.score[row],
            *(
                with_deviation(float(getattr(ranking, part)[row]), float(getattr(ranking, f'{part}_std')[row]))
                for part in PART_SYMBOLS
            ),
            probability(ranking.stability[row]),
        ]
        for row in top
    ]
    title = f'{table_title("Ranking", len(top), ranked)} ranked, {excluded} excluded'
    columns = ['rank', 'id', 'remarks', ranking.figure_of_merit, *PART_SYMBOLS.values(), STABILITY]
    return make_table(title, columns, lines, 3, optional=('remarks', STABILITY))


def _best_rows(file: TableFile[Ranking], count: int) -> _Excerpt:
    """Return the best rows of a ranking.

    :param file: the ranking
    :param count: largest number of rows
    """
    ranks, joined = file.whole('rank'), file.whole('joined_to')
    best = np.flatnonzero((ranks > 0) & (ranks <= count))
    rows = np.union1d(best, np.flatnonzero(np.isin(joined, best)))
    columns: dict[str, Any] = file.take(rows, file.columns)
    targets = joined[rows]
    columns['joined_to'] = np.where(targets < 0, -1, np.searchsorted(rows, targets))
    ranked = int(np.count_nonzero(ranks))
    return _Excerpt(Ranking(**columns, **file.values), ranked, len(file) - ranked)


def _remarks(flags: Iterable[str], joined: Sequence[str]) -> str:
    """Return the text of flags, and the ids of equal crystals."""
    more = f' and {len(joined) - _MAX_JOINED} more' if len(joined) > _MAX_JOINED else ''
    equal = f'equals {", ".join(joined[:_MAX_JOINED])}{more}' if joined else ''
    return ', '.join(filter(None, [flag_words(flags), equal]))


def reasons_table(file: TableFile[Ranking]) -> Table:
    """Return the number of rows of a ranking that are excluded by each kind of reason."""
    return make_table('Excluded', ['reason', 'rows'], list(count_reasons(file.column('reason')).items())[:_MAX_REASONS])


def selection_table(selection: Sequence[Mapping[str, Any]], pks: Mapping[str, int] | None = None) -> Table:
    """Return the selected crystals, best first, with averages, and standard deviations where known.

    :param selection: items of the output ``selection`` of a screen
    :param pks: PK of each structure by its name
    """
    lines = [
        [
            str(item['rank']),
            item['id'],
            item['formula'],
            _remarks(item.get('flags', []), item.get('joined', [])),
            item['score'],
            *(with_deviation(item[part], item.get(f'{part}_std')) for part in PART_SYMBOLS),
            probability(item.get('stability')),
            (pks or {}).get(item['structure'], item['structure']),
        ]
        for item in selection
    ]
    columns = ['rank', 'id', 'formula', 'remarks', 'score', *PART_SYMBOLS.values(), STABILITY, 'structure']
    return make_table(f'Selection, {len(lines)}', columns, lines, 4, optional=('remarks', STABILITY))
