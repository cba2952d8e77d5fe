"""Plain tables for the terminal."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from aiida_goectp.core.formats.output_format import output_format
from aiida_goectp.core.formats.terminal import echo, printable

__all__ = ('make_table', 'show_table', 'table_title', 'text_of')

_WIDTH = 120
"""characters per line if the output is not a terminal"""
_UNLIMITED = 10_000
_PIECE = re.compile(r'\S+(?: ±)?(?: ×\S+)?')
"""what stays on one line"""


def show_table(table: Table) -> None:
    """Print a table to standard output; with ``--raw`` its cells only, separated by tabs."""
    if output_format() == 'raw':
        for row in zip(*(column.cells for column in table.columns), strict=True):
            echo('\t'.join(' '.join(str(cell).split()) for cell in row), keep='\t')
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    omitted: list[str] = []
    if _whole_width(table, console) > console.width:
        table.collapse_padding, table.pad_edge = True, False
    if _whole_width(table, console) > console.width:
        while not _keep_words_whole(table, console.width) and len(table.columns) > 2:
            omitted.append(_omit_widest(table))
    console.print(table)
    if omitted:
        names = ', '.join(omitted)
        echo(f'no room in {console.width} columns for: {names}; a wider terminal or --raw shows all', err=True)


def _whole_width(table: Table, console: Console) -> int:
    """Return the width of a table of which nothing is broken."""
    return console.measure(table, options=console.options.update(width=_UNLIMITED)).maximum


def _omit_widest(table: Table) -> str:
    """Remove the column whose pieces are longest, the last of several, but not the first one, and return its name."""
    widest = max(reversed(table.columns[1:]), key=lambda column: _narrowest(column, ', ')[0])
    table.columns.remove(widest)
    return ' '.join(str(widest.header).split())


def _keep_words_whole(table: Table, width: int) -> bool:
    """Break only text and lists to narrow a table, no id and no number with its uncertainty, if that is enough.

    If it is not, numbers are broken before their uncertainty, and nothing else, if that is enough.

    :param table: wider than the terminal; changed if it becomes narrow enough
    :param width: of the terminal, in characters
    :return: whether that is enough
    """
    frame = 2 * len(table.columns)  # and collapsed padding
    for separators in (',', ', '):
        widths = [_narrowest(column, separators if column.justify == 'right' else ', ') for column in table.columns]
        room = width - frame - sum(least for least, _ in widths)
        if room >= 0:
            break
    else:
        return False
    for column, (least, whole) in zip(table.columns, widths, strict=True):
        column.width = min(whole, least + room)
        room -= column.width - least
        column.header = Text(textwrap.fill(str(column.header), column.width))
    return True


def _narrowest(column: Column, separators: str) -> tuple[int, int]:
    """Return the width of the longest piece of a column, and that of its longest line.

    :param separators: characters at which, and at spaces, a text with one of them is broken
    """
    texts = [str(cell) for cell in column.cells]
    breaks = any(char in text for text in texts for char in separators)
    pieces = chain.from_iterable(_PIECE.findall(text) if breaks else text.splitlines() for text in texts)
    least = max(map(cell_len, [*str(column.header).split(), *pieces]), default=1)
    return least, max(map(cell_len, [str(column.header), *chain.from_iterable(map(str.splitlines, texts))]), default=1)


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
