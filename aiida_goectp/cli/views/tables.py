"""Tables for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

    from aiida_goectp.core.crystals import CrystalSet, Failure
    from aiida_goectp.core.dielectric.predictions import Predictions
    from aiida_goectp.core.selection.picks import Picks
    from aiida_goectp.core.selection.ranking import Ranking

__all__ = (
    'crystals_table',
    'failure_table',
    'picks_table',
    'predictions_table',
    'ranking_table',
    'reasons_table',
    'selection_table',
    'show_table',
)

_PARTS = ('electronic', 'ionic', 'total')

_REMARKS = 'remarks'

_WIDTH = 120
"""characters, where the output is no terminal"""


def show_table(table: Table) -> None:
    """Print a table to standard output."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)


def make_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> Table:
    """Return a plain table.

    :param left: how many columns, from the left, are text; the others are aligned to the right
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify='left', box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify='left' if index < left else 'right', overflow='fold')
    for row in rows:
        # Text, so that brackets in an id are not taken for markup
        table.add_row(*(Text(item if isinstance(item, str) else text_of(item)) for item in row))
    return table


def _make_remarked(title: str, columns: list[str], lines: list[list[Any]]) -> Table:
    """Return a table whose columns up to the remarks are text; without these if no row has any."""
    place = columns.index(_REMARKS)
    if any(line[place] for line in lines):
        return make_table(title, columns, lines, place + 1)
    shorter = [[*line[:place], *line[place + 1 :]] for line in (columns, *lines)]
    return make_table(title, shorter[0], shorter[1:], place)


def text_of(value: Any) -> str:
    """Return a number for people; empty for what is missing."""
    if value is None:
        return ''
    if isinstance(value, float | np.floating):
        return '' if np.isnan(value) else f'{value:.4g}'
    return str(value)


def _title(what: str, shown: int, total: int) -> str:
    return f'{what}, {total}' if shown >= total else f'{what}, {shown} of {total}'


def crystals_table(crystals: CrystalSet, rows: int) -> Table:
    """Return the first crystals with formula, size and property columns."""
    from ase.formula import Formula

    n = min(rows, len(crystals))
    names = sorted(crystals.properties)[:6]
    lines = []
    for row in range(n):
        crystal = crystals[row]
        formula = Formula.from_list(_symbols(crystal.atomic_numbers)).format('metal')
        volume = abs(float(np.linalg.det(crystal.lattice)))
        values = [crystals.properties[name][row] for name in names]
        lines.append([crystal.id, formula, len(crystal.atomic_numbers), volume, *values])
    return make_table(_title('Crystals', n, len(crystals)), ['id', 'formula', 'atoms', 'volume (Å³)', *names], lines, 2)


def _symbols(numbers: np.ndarray) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[int(number)] for number in numbers]


def failure_table(failures: Sequence[Failure], rows: int = 20) -> Table:
    """Return the rows that could not be read, with the reason."""
    n = min(rows, len(failures))
    return make_table(_title('Failures', n, len(failures)), ['id', 'what', 'why'], failures[:n], 3)


def predictions_table(predictions: Predictions, rows: int) -> Table:
    """Return averages and the eigenvalues of the total tensor, with their standard deviations where known."""
    from aiida_goectp.core.dielectric.predictions import flag_names
    from aiida_goectp.core.dielectric.tensors import eigenvalues, polycrystalline_average
    from aiida_goectp.core.formats.numbers import with_deviation, with_deviations

    n = min(rows, len(predictions))
    lines: list[list[object]] = []
    for row in range(n):
        if predictions.failed[row]:
            lines.append([str(predictions.ids[row]), str(predictions.errors[row]), *[''] * 4])
            continue
        averages = [
            with_deviation(float(polycrystalline_average(tensors[row])), float(predictions.average_std[row, place]))
            for place, tensors in enumerate((predictions.electronic, predictions.ionic, predictions.total))
        ]
        total = with_deviations(eigenvalues(predictions.total[row]), predictions.eigenvalues_std[row, 2])
        lines.append([str(predictions.ids[row]), ', '.join(flag_names(predictions.flags[row])), *averages, total])
    columns = ['id', _REMARKS, 'ε∞', 'ε ionic', 'ε total', 'eigenvalues']
    return make_table(_title('Predictions', n, len(predictions)), columns, lines, 2)


def ranking_table(ranking: Ranking, rows: int) -> Table:
    """Return the best rows, averages with their standard deviations where known."""
    from aiida_goectp.core.dielectric.predictions import flag_names
    from aiida_goectp.core.formats.numbers import with_deviation

    top = ranking.top(rows).tolist()
    lines = [
        [
            str(ranking.rank[row]),
            str(ranking.ids[row]),
            ', '.join(flag_names(ranking.flags[row])),
            ranking.score[row],
            *(
                with_deviation(float(getattr(ranking, name)[row]), float(getattr(ranking, f'{name}_std')[row]))
                for name in _PARTS
            ),
        ]
        for row in top
    ]
    title = f'{_title("Ranking", len(top), ranking.ranked_count)} ranked, {len(ranking) - ranking.ranked_count} out'
    columns = ['rank', 'id', _REMARKS, ranking.figure_of_merit, 'ε∞', 'ε ionic', 'ε total']
    return _make_remarked(title, columns, lines)


def reasons_table(ranking: Ranking) -> Table:
    """Return how many rows each reason put out."""
    return make_table('Why rows are out', ['reason', 'rows'], list(ranking.reason_counts().items())[:15])


def picks_table(picks: Picks, rows: int) -> Table:
    """Return the candidates in the order of the acquisition, each with the reason why it was picked or not."""
    from aiida_goectp.core.formats.numbers import with_deviation

    order = sorted(np.flatnonzero(picks.place).tolist(), key=lambda row: int(picks.place[row]))[:rows]
    lines = [
        [
            str(picks.place[row]),
            str(picks.ids[row]),
            str(picks.reason[row]),
            with_deviation(float(picks.mean[row]), float(picks.std[row])),
            picks.score[row],
        ]
        for row in order
    ]
    name = picks.settings.get('acquisition', {}).get('name', 'score')
    title = f'{_title("Candidates", len(order), picks.candidates)}, {len(picks.rows)} picked'
    return make_table(title, ['place', 'id', 'why', picks.figure_of_merit, name], lines, 3)


def selection_table(selection: Sequence[dict[str, Any]], pks: dict[str, int] | None = None) -> Table:
    """Return the selected crystals, best first, averages with their standard deviations where known.

    :param pks: PK of the structure of each
    """
    from aiida_goectp.core.formats.numbers import with_deviation

    lines = [
        [
            str(item['rank']),
            item['id'],
            item['formula'],
            ', '.join(item.get('flags', [])),
            item['score'],
            *(with_deviation(item[name], item.get(f'{name}_std')) for name in _PARTS),
            (pks or {}).get(item['structure'], item['structure']),
        ]
        for item in selection
    ]
    columns = ['rank', 'id', 'formula', _REMARKS, 'score', 'ε∞', 'ε ionic', 'ε total', 'structure']
    return _make_remarked(f'Selection, {len(lines)}', columns, lines)
