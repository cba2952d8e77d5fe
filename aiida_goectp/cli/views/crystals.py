"""Tables of crystals, and of rows that could not be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from aiida_goectp.core.crystals import CrystalSet, Failure
from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.crystals.property_table import TableReport
from aiida_goectp.core.crystals.readers import LeftOut, LeftOutFile
from aiida_goectp.core.formats.text_tables import make_table, show_table, table_title
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.report.words import spaced

__all__ = ('crystals_table', 'failure_table', 'import_content', 'show_import')

_MAX_COLUMNS = 6
"""property columns in a table"""

_LEFT_OUT = {
    LeftOut.UNKNOWN_KIND: 'unknown kind of file',
    LeftOut.HIDDEN: 'hidden',
    LeftOut.RUN_FILE: 'status, lock or partial file of a run of goectp',
    LeftOut.SAME_CRYSTAL: 'another file of the folder has this crystal, such as CONTCAR beside POSCAR',
    LeftOut.SUBFOLDER: 'subfolder, read it with --recursive',
}


def crystals_table(crystals: CrystalSet, rows: int) -> Table:
    """Return the first crystals with formula, size and property columns."""
    from ase.formula import Formula

    n = min(rows, len(crystals))
    names = sorted(crystals.properties)[:_MAX_COLUMNS]
    lines = []
    for row in range(n):
        crystal = crystals[row]
        formula = Formula.from_list(symbols_of(crystal.atomic_numbers)).format('metal')
        volume = abs(float(np.linalg.det(crystal.lattice)))
        values = [crystals.properties[name][row] for name in names]
        lines.append([crystal.id, formula, len(crystal.atomic_numbers), volume, *values])
    columns = ['id', 'formula', 'atoms', 'volume (Å³)', *names]
    return make_table(table_title('Crystals', n, len(crystals)), columns, lines, 2)


def show_import(
    node: CrystalsData, left_out: Sequence[LeftOutFile], report: TableReport | None, reduced: Sequence[str] = ()
) -> None:
    """Print the rows that could not be read, and the counts of all that was read or left out, with reasons.

    :param left_out: files and folders that were not read
    :param report: what the table of properties contributed
    :param reduced: ids of crystals that were reduced to their primitive cells
    """
    failures = node.crystals.failures
    if failures:
        show_table(failure_table(failures))
    lines: list[list[object]] = [['crystals', '', len(node), '']]
    if reduced:
        lines.append(['crystals', 'reduced to their primitive cells', len(reduced), reduced[0]])
    lines += _counted('failed', [(spaced(failure.code), failure.id) for failure in failures])
    lines += _counted('left out', [(_LEFT_OUT[item.reason], str(item.path)) for item in left_out])
    if report is not None:
        lines.append(['rows of the table', 'used', report.rows, ''])
        lines += _counted('rows of the table', [('left out: unknown id', name) for name in report.unknown])
        if report.without_row:
            lines.append(['crystals', 'without a row in the table', report.without_row, ''])
    for name in node.columns:
        kind = 'text' if node.crystals.properties[name].dtype.kind == 'U' else 'numbers'
        lines.append(['property', f'{name}: {kind}', _present(node.crystals.properties[name]), ''])
    show_table(make_table('Import', ['', 'reason', 'number', 'first'], lines, 2))


def import_content(
    node: CrystalsData, left_out: Sequence[LeftOutFile], report: TableReport | None, reduced: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what was read and left out as plain data.

    :param left_out: files and folders that were not read
    :param report: what the table of properties contributed
    :param reduced: ids of crystals that were reduced to their primitive cells
    """
    return {
        'crystals': len(node),
        'reduced': list(reduced),
        'columns': list(node.columns),
        'failures': [failure._asdict() for failure in node.crystals.failures],
        'left_out': [{'path': str(item.path), 'reason': item.reason.value} for item in left_out],
        'property_table': None if report is None else report._asdict(),
    }


def _counted(what: str, items: Sequence[tuple[str, str]]) -> list[list[object]]:
    """Return one line per reason: what, reason, number, first item."""
    firsts: dict[str, str] = {}
    for reason, name in items:
        firsts.setdefault(reason, name)
    counts = Counter(reason for reason, _ in items)
    return [[what, reason, number, firsts[reason]] for reason, number in counts.most_common()]


def _present(column: np.ndarray) -> int:
    """Return the number of rows with a value."""
    return int((column != '').sum() if column.dtype.kind == 'U' else np.isfinite(column.astype(np.float64)).sum())


def failure_table(failures: Sequence[Failure], rows: int = 20) -> Table:
    """Return the rows that could not be read, with the reason."""
    lines = [[failure.id, spaced(failure.code), failure.message] for failure in failures[:rows]]
    return make_table(table_title('Failures', len(lines), len(failures)), ['id', 'reason', 'message'], lines, 3)
