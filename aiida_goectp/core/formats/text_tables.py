"""Plain tables for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aiida_goectp.core.formats.output_format import output_format
from aiida_goectp.core.formats.terminal import echo, printable

__all__ = ('make_table', 'show_table', 'table_title', 'text_of')

_WIDTH = 120
"""characters per line if the output is not a terminal"""


def show_table(table: Table) -> None:
    """Print a table to standard output; with ``--raw`` its cells only, separated by tabs."""
    if output_format() == 'raw':
        for row in zip(*(column.cells for column in table.columns), strict=True):
            echo('\t'.join(' '.join(str(cell).split()) for cell in row), keep='\t')
        return
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)


def make_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1, optional: Sequence[str] = ()
) -> Table:
    """Return a table; text in it is made printable and is no markup.

    :param rows: text, numbers, or ``rich`` text with line breaks
    :param left: number of columns, from the left, that are aligned to the left; the others are aligned to the right
    :param optional: names of columns that are omitted if they are empty in all rows
    """
    cells = [[item if isinstance(item, Text) else Text(printable(text_of(item))) for item in row] for row in rows]
    empty = {place for place, name in enumerate(columns) if name in optional and not any(row[place] for row in cells)}
    left -= sum(place < left for place in empty)
    columns = [name for place, name in enumerate(columns) if place not in empty]
    cells = [[cell for place, cell in enumerate(row) if place not in empty] for row in cells]
    table = Table(title=Text(printable(title)), title_justify='left', box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(Text(printable(column)), justify='left' if index < left else 'right', overflow='fold')
    for row in cells:
        table.add_row(*row)
    return table


def text_of(value: object) -> str:
    """Return a value as text, numbers with four digits; empty for None and NaN."""
    if value is None:
        return ''
    if isinstance(value, float | np.floating):
        return '' if np.isnan(value) else f'{value:.4g}'
    return str(value)


def table_title(name: str, shown: int, total: int) -> str:
    """Return a title with the number of rows."""
    return f'{name}, {total}' if shown >= total else f'{name}, {shown} of {total}'
