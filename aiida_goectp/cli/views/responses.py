"""Tables of responses, verdicts, and predictions beside what DFPT says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from aiida_goectp.cli.views.tables import make_table, show_table, text_of

if TYPE_CHECKING:
    from rich.table import Table

    from aiida_goectp.data.dielectric import DielectricData

__all__ = ('comparison_table', 'gates_table', 'show_response', 'show_verification', 'tensor_text')

_SMALL = 5e-3  # off-diagonal entries below this part of the largest are not worth two more lines
_PARTS = {'electronic': 'ε∞', 'ionic': 'ε ionic', 'total': 'ε total'}


def tensor_text(tensor: Any, *, rows: bool | None = None) -> str:
    """Return a tensor for people: its diagonal on one line if there is nothing beside it, else three rows.

    :param tensor: (3, 3), or ``None``
    :param rows: three rows whatever it holds, or its diagonal alone; decided by the tensor if not given
    """
    if tensor is None:
        return ''
    array = np.asarray(tensor, dtype=np.float64)
    if rows is None:
        rows = not is_diagonal(array)
    if not rows:
        return '  '.join(f'{value:.2f}' for value in np.diag(array))
    return '\n'.join('  '.join(f'{value:6.2f}' for value in line) for line in array)


def is_diagonal(tensor: Any) -> bool:
    """Return whether nothing worth a line stands beside the diagonal."""
    array = np.asarray(tensor, dtype=np.float64)
    return bool(np.abs(array - np.diag(np.diag(array))).max() <= _SMALL * np.abs(array).max())


def comparison_table(rows: Sequence[Mapping[str, Any]], verdicts: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return predicted and computed tensors side by side, three lines a crystal, in the frame of the prediction.

    :param rows: of the output ``comparison``
    :param verdicts: rows of the output ``summary`` by name of the structure
    """
    lines: list[list[object]] = []
    for row in rows:
        verdict = verdicts.get(str(row['structure']), {})
        head: list[object] = [row.get('rank'), row.get('id')]
        tail: list[object] = [verdict.get('label', '')]
        if 'problem' in row:
            lines.append([*head, '', row['problem'], '', None, None, *tail])
            continue
        for part, sign in _PARTS.items():
            entry = row[part]
            tensors = [entry[name] for name in ('predicted', 'dfpt') if entry[name] is not None]
            wide = any(not is_diagonal(tensor) for tensor in tensors)
            average = '' if entry['predicted_average'] is None else f'average {entry["predicted_average"]:.2f}'
            predicted = tensor_text(entry['predicted'], rows=wide) or average
            computed = tensor_text(entry['dfpt'], rows=wide)
            error = '' if entry['error'] is None else f'{entry["error"]:+.0%}'
            tensor_error = '' if entry['tensor_error'] is None else f'{entry["tensor_error"]:.0%}'
            lines.append([*head, sign, predicted, computed, error, tensor_error, *tail])
            head, tail = ['', ''], ['']
    columns = ['rank', 'id', '', 'predicted', 'DFPT', 'average', 'tensor', 'verdict']
    return make_table(f'Predicted and computed, {len(rows)}; errors of the prediction', columns, lines, 5)


def gates_table(quality: Mapping[str, Any]) -> Table:
    """Return every gate with its number and its threshold.

    :param quality: as the output ``quality`` of an engine holds it
    """
    words = {True: 'passed', False: 'FAILED', None: 'not judged'}
    lines = [
        [gate['name'], gate['part'], words[gate['passed']], gate['message'], gate['value'], gate['threshold']]
        for gate in quality['gates']
    ]
    columns = ['gate', 'part', 'verdict', '', 'number', 'threshold']
    return make_table(f'Gates: {quality["label"]}', columns, lines, 4)


def show_response(node: DielectricData) -> None:
    """Print a response."""
    response = node.dielectric
    lines: list[list[object]] = []
    for part, sign in _PARTS.items():
        tensor = getattr(response, part)
        if tensor is not None:
            lines.append([sign, tensor_text(tensor), float(np.trace(tensor) / 3)])
    title = f'{node.base.attributes.get("formula")}, {response.functional} by {response.engine}'
    show_table(make_table(title, ['', 'tensor', 'average'], lines, 2))
    facts = {
        'band gap (eV)': response.band_gap,
        'largest force (eV/Å)': response.max_force,
        'lowest frequency (THz)': None if response.frequencies is None else float(response.frequencies.min()),
    }
    known = [f'{name} {text_of(value)}' for name, value in facts.items() if value is not None]
    click.echo(', '.join([*known, 'converged' if response.scf_converged else 'NOT converged']))
    lattice = '; '.join(' '.join(f'{value:.4f}' for value in row) for row in np.asarray(response.crystal.lattice))
    click.echo(f'frame: {len(response.crystal.atomic_numbers)} atoms in the cell {lattice} Å')


def show_verification(outputs: Any, rows: int) -> None:
    """Print what a verification came to.

    :param outputs: of the work chain
    :param rows: crystals at most
    """
    summary = outputs.summary.get_dict()
    verdicts = {row['structure']: row for row in summary['rows']}
    compared = outputs.comparison.get_dict()['rows']
    if compared:
        show_table(comparison_table(compared[:rows], verdicts))
    others = [row for row in summary['rows'] if row['reason']]
    if others:
        lines = [[row.get('rank'), row.get('id'), row['label'], row['reason'], row['pk']] for row in others[:rows]]
        show_table(make_table('Not accepted, and why', ['rank', 'id', 'verdict', 'reason', 'process'], lines, 4))
    counts = ', '.join(f'{number} {label}' for label, number in summary['counts'].items())
    click.echo(
        f'{counts}; {summary["calculations"]} calculations, {summary["reused"]} taken over, '
        f'{summary["core_hours"]:.2f} core-hours'
    )
