"""Tables of datasets, and of the report of a join."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_goectp.cli import echo
from aiida_goectp.cli.views.crystals import failure_table
from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.splits import SPLIT_PARTS
from aiida_goectp.core.dielectric.tensors import PART_SYMBOLS, polycrystalline_average
from aiida_goectp.core.formats.text_tables import make_table, show_table, table_title
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.report.words import spaced

__all__ = ('is_import_report', 'is_join_report', 'show_calculations', 'show_dataset', 'show_join_report')

_NOT_FILLED = {
    'unknown_functional': 'rows of unknown functional and different origin; state the functional of their files',
    'other_cell': 'force constants for a row with more atoms than its primitive cell',
}
"""reason in the report of a join → explanation"""


def show_dataset(node: DatasetData, rows: int) -> None:
    """Print counts, splits, failed gates, the first rows, and the rows that could not be read."""
    data, get = node.dataset, node.base.attributes.get
    functionals = ', '.join(f'{count} {name}' for name, count in get('functionals').items())
    echo.echo(
        f'{len(node)} rows ({functionals}), {get("trainable")} trainable: {get("electronic")} with electronic, '
        f'{get("ionic")} with ionic label; {get("born_charges")} rows with Born charges'
    )
    if node.splits:
        lines = [
            [name, str(data.split_settings[name].get('kind')), str(data.split_settings[name].get('seed', ''))]
            + [str(counts.get(part, 0)) for part in SPLIT_PARTS]
            for name, counts in node.splits.items()
        ]
        show_table(make_table('Splits', ['name', 'kind', 'seed', *SPLIT_PARTS], lines, 2))
    names, counts = np.unique(data.failed_gates[data.failed_gates != ''], return_counts=True)
    if len(names):
        order = np.argsort(-counts, kind='stable')[:rows]
        lines = [[str(names[place]), str(counts[place])] for place in order]
        show_table(make_table('Failed gates', ['gates', 'rows'], lines))
    _show_rows(data, rows)
    if data.crystals.failures:
        show_table(failure_table(data.crystals.failures, rows))


def _show_rows(data: Dataset, rows: int) -> None:
    n = min(rows, len(data))
    parts = ('electronic', 'ionic')
    averages = [polycrystalline_average(getattr(data, part)[:n]) for part in parts]
    trainable = data.trainable
    lines = [
        [str(data.crystals.ids[row]), formula(data.crystals[row].atomic_numbers), str(data.functional[row])]
        + ['' if trainable[row] else 'no', str(data.failed_gates[row])]
        + [column[row] for column in averages]
        for row in range(n)
    ]
    columns = ['id', 'formula', 'functional', 'trainable', 'failed gates', *(PART_SYMBOLS[part] for part in parts)]
    show_table(make_table(table_title('Rows', n, len(data)), columns, lines, 5))


def is_join_report(content: Mapping[str, Any]) -> bool:
    """Return whether a dictionary is the report of a join."""
    return {'rows_given', 'duplicates', 'filled', 'disagreements'} <= set(content)


def show_join_report(report: Mapping[str, Any], rows: int) -> None:
    """Print the counts of a join, and the labels that disagree, largest difference first."""
    echo.echo(
        f'{sum(report["rows_given"])} rows of {len(report["rows_given"])} datasets gave {report["rows"]} rows: '
        f'{len(report["duplicates"])} duplicates left out, {len(report["filled"])} missing parts filled in, '
        f'{len(report["disagreements"])} labels differ by more than {report["tolerance"]:.0%}'
    )
    for reason, count in Counter(entry['reason'] for entry in report.get('not_filled', ())).items():
        echo.echo(f'{count} missing parts not filled in: {_NOT_FILLED.get(reason, reason)}')
    entries = sorted(report['disagreements'], key=lambda entry: -entry['difference'])[:rows]
    lines = [
        [
            *(f'{entry[side]["id"]} (set {entry[side]["part"]})' for side in ('kept', 'other')),
            entry['target'],
            entry['average'],
            entry['other_average'],
            f'{entry["difference"]:.0%}',
        ]
        for entry in entries
    ]
    if lines:
        columns = ['kept', 'left out', 'label', 'average kept', 'left out', 'tensors differ by']
        show_table(make_table('Disagreements', columns, lines, 3))


def is_import_report(content: Mapping[str, Any]) -> bool:
    """Return whether a dictionary is the report of an import of calculations."""
    return {'calculations', 'programs', 'imported', 'refused', 'duplicates'} <= set(content)


def _functional(item: Mapping[str, Any]) -> str:
    """Return the functional of a row, with that of its files if the user gave it; older reports do not contain it."""
    stated = item.get('stated', item['functional'])
    return str(item['functional']) if stated == item['functional'] else f'{item["functional"]} (files: {stated})'


def show_calculations(report: Mapping[str, Any], rows: int) -> None:
    """Print the rows of an import of calculations, those without label, and equal crystals."""
    lines = [
        [item['id'], item['program'], _functional(item), item['label'], item['reason']]
        for item in report['imported'][:rows]
    ]
    if lines:
        title = table_title('Calculations', len(lines), len(report['imported']))
        show_table(make_table(title, ['id', 'program', 'functional', 'verdict', 'reason'], lines, 5, ('reason',)))
    lines = [
        [item['folder'], item['program'], spaced(item['code']), item['message'].removeprefix(f'{item["folder"]}: ')]
        for item in report['refused'][:rows]
    ]
    if lines:
        title = table_title('Not imported', len(lines), len(report['refused']))
        show_table(make_table(title, ['folder', 'program', 'reason', 'message'], lines, 4))
    lines = [[item['kept'], item['other']] for item in report['duplicates'][:rows]]
    if lines:
        title = table_title('Equal crystals of one functional', len(lines), len(report['duplicates']))
        kept = 'left out' if report['joined'] else 'equal'
        show_table(make_table(title, ['crystal', kept], lines, 2))
        if not report['joined']:
            echo.echo('one row of each crystal is kept with --join')
