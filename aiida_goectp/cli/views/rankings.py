"""Tables of rankings and selections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from aiida_goectp.core.dielectric.predictions import flag_names, flag_words
from aiida_goectp.core.dielectric.tensors import PART_SYMBOLS
from aiida_goectp.core.formats.numbers import with_deviation
from aiida_goectp.core.formats.text_tables import make_table, table_title
from aiida_goectp.core.selection.ranking import Ranking
from aiida_goectp.report.words import STABILITY, probability

__all__ = ('ranking_table', 'reasons_table', 'selection_table')

_MAX_REASONS = 15
"""rows of the table of reasons"""

_MAX_JOINED = 3
"""ids of equal crystals in a row"""


def ranking_table(ranking: Ranking, rows: int) -> Table:
    """Return the best rows with averages, and standard deviations where known."""
    top = ranking.top(rows).tolist()
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
    excluded = len(ranking) - ranking.ranked_count
    title = f'{table_title("Ranking", len(top), ranking.ranked_count)} ranked, {excluded} excluded'
    columns = ['rank', 'id', 'remarks', ranking.figure_of_merit, *PART_SYMBOLS.values(), STABILITY]
    return make_table(title, columns, lines, 3, optional=('remarks', STABILITY))


def _remarks(flags: Iterable[str], joined: Sequence[str]) -> str:
    """Return the text of flags, and the ids of equal crystals."""
    more = f' and {len(joined) - _MAX_JOINED} more' if len(joined) > _MAX_JOINED else ''
    equal = f'equals {", ".join(joined[:_MAX_JOINED])}{more}' if joined else ''
    return ', '.join(filter(None, [flag_words(flags), equal]))


def reasons_table(ranking: Ranking) -> Table:
    """Return the number of rows excluded by each kind of reason."""
    return make_table('Excluded', ['reason', 'rows'], list(ranking.reason_counts().items())[:_MAX_REASONS])


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
