"""Tables of verifications: predicted and computed tensors, and what was not accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from aiida_goectp.cli import echo
from aiida_goectp.cli.views.responses import is_diagonal, tensor_text
from aiida_goectp.core.dielectric.frequencies import OTHER_CELL
from aiida_goectp.core.dielectric.tensors import PART_SYMBOLS
from aiida_goectp.core.formats.text_tables import make_table, show_table
from aiida_goectp.report.words import STABILITY, percent, probability

__all__ = ('comparison_table', 'frequencies_table', 'show_verification')


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


def frequencies_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return lowest and highest optical frequency at Γ, predicted and computed, and the mean absolute error.

    :param rows: of the output ``comparison``, with ``phonons``
    """
    lines: list[list[object]] = []
    for row in rows:
        found = row['phonons']
        predicted, computed, atoms = found['predicted'], found['dfpt'], found['atoms']
        remark = f'cells of {atoms["predicted"]} and {atoms["dfpt"]} atoms' if found['problem'] == OTHER_CELL else ''
        lines.append(
            [
                row.get('rank'),
                row.get('id'),
                remark,
                probability(row.get('stability')),
                len(predicted),
                *(_thz(modes[place]) if modes else '' for place in (0, -1) for modes in (predicted, computed)),
                _thz(found['mean_absolute_error']),
            ]
        )
    columns = ['rank', 'id', 'remarks', STABILITY, 'modes', 'lowest', 'DFPT', 'highest', 'DFPT', 'mean error']
    title = f'Optical frequencies at Γ in THz, {len(rows)}; matched in ascending order, imaginary ones negative'
    return make_table(title, columns, lines, 3, optional=('remarks', STABILITY))


def _thz(frequency: float | None) -> str:
    return '' if frequency is None else f'{frequency:.2f}'


def show_verification(outputs: Any, rows: int) -> None:
    """Print the comparison of tensors and frequencies, the crystals that were not accepted, and counts.

    :param outputs: of the work chain
    :param rows: maximum number of crystals per table
    """
    summary = outputs.summary.get_dict()
    results = {row['structure']: row for row in summary['rows']}
    compared = outputs.comparison.get_dict()['rows']
    if compared:
        show_table(comparison_table(compared[:rows], results))
    vibrating = [row for row in compared if 'phonons' in row]
    if vibrating:
        show_table(frequencies_table(vibrating[:rows]))
        echo.echo(f'all frequencies: `verdi data core.dict show {outputs.comparison.pk}`')
    others = [row for row in summary['rows'] if row['reason']]
    if others:
        lines = [[row.get('rank'), row.get('id'), row['label'], row['reason'], row['pk']] for row in others[:rows]]
        show_table(make_table('Not accepted', ['rank', 'id', 'verdict', 'reason', 'process'], lines, 4))
    counts = ', '.join(f'{number} {label}' for label, number in summary['counts'].items())
    echo.echo(
        f'{counts}; {summary["calculations"]} calculations, {summary["reused"]} reused, '
        f'{summary["core_hours"]:.2f} core-hours'
    )
