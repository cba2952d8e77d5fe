"""Tables of verifications: predicted and computed tensors, and what was not accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from aiida_goectp.cli import echo
from aiida_goectp.cli.views.responses import is_diagonal, tensor_text
from aiida_goectp.cli.views.tables import make_table, show_table
from aiida_goectp.cli.views.words import PART_SYMBOLS, percent

__all__ = ('comparison_table', 'show_verification')


def comparison_table(rows: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return predicted and computed tensors side by side, three lines per crystal, in the frame of the prediction.

    :param rows: of the output ``comparison``
    :param results: rows of the output ``summary`` by name of the structure
    """
    lines: list[list[object]] = []
    for row in rows:
        head: list[object] = [row.get('rank'), row.get('id')]
        tail: list[object] = [results.get(str(row['structure']), {}).get('label', '')]
        if 'problem' in row:
            lines.append([*head, '', row['problem'], '', None, None, *tail])
            continue
        for part, symbol in PART_SYMBOLS.items():
            entry = row[part]
            tensors = [entry[name] for name in ('predicted', 'dfpt') if entry[name] is not None]
            wide = not all(map(is_diagonal, tensors))
            average = '' if entry['predicted_average'] is None else f'average {entry["predicted_average"]:.2f}'
            predicted = Text(tensor_text(entry['predicted'], rows=wide) or average)
            computed = Text(tensor_text(entry['dfpt'], rows=wide))
            errors = [percent(entry['error'], '+'), percent(entry['tensor_error'])]
            lines.append([*head, symbol, predicted, computed, *errors, *tail])
            head, tail = ['', ''], ['']
    columns = ['rank', 'id', '', 'predicted', 'DFPT', 'average', 'tensor', 'verdict']
    return make_table(f'Predicted and computed, {len(rows)}; relative errors of the prediction', columns, lines, 5)


def show_verification(outputs: Any, rows: int) -> None:
    """Print the comparison, the crystals that were not accepted, and counts.

    :param outputs: of the work chain
    :param rows: maximum number of crystals per table
    """
    summary = outputs.summary.get_dict()
    results = {row['structure']: row for row in summary['rows']}
    compared = outputs.comparison.get_dict()['rows']
    if compared:
        show_table(comparison_table(compared[:rows], results))
    others = [row for row in summary['rows'] if row['reason']]
    if others:
        lines = [[row.get('rank'), row.get('id'), row['label'], row['reason'], row['pk']] for row in others[:rows]]
        show_table(make_table('Not accepted', ['rank', 'id', 'verdict', 'reason', 'process'], lines, 4))
    counts = ', '.join(f'{number} {label}' for label, number in summary['counts'].items())
    echo.echo(
        f'{counts}; {summary["calculations"]} calculations, {summary["reused"]} reused, '
        f'{summary["core_hours"]:.2f} core-hours'
    )
