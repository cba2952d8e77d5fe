"""Text for terminals and spreadsheets: the only place that prepares ids, labels and messages for display.

Files and nodes may come from anybody. A terminal executes escape sequences, right-to-left marks reorder a line, rich
reads ``[red]`` as markup, and a spreadsheet executes a cell that begins with ``=``. Every printer of the package passes
its text through the functions of this module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import click

__all__ = (
    'CleanErrorsMixin',
    'RowsOnDemand',
    'csv_cell',
    'echo',
    'json_pieces',
    'json_text',
    'printable',
    'write_bytes',
)

_PIECE = 20_000
"""tokens of JSON that are joined to one piece"""

_FORMULA = ('=', '+', '-', '@', '\uff1d', '\uff0b', '\uff0d', '\uff20')
"""first characters of a cell that spreadsheets execute, also in their full width (OWASP, CSV injection)"""

_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?')


def printable(value: object, *, keep: str = '') -> str:
    r"""Return text in which characters that are not printable are written as escapes, such as ``\x1b``.

    Not printable are control characters, marks of the writing direction, invisible characters, and spaces other than
    the ordinary one, as :meth:`str.isprintable` defines them.

    :param value: converted to text
    :param keep: characters to keep: the line break of our own text of several lines, the tab of tables
    """
    text = str(value)
    if _without(text, keep).isprintable():
        return text
    return ''.join(char if char.isprintable() or char in keep else _escaped(char) for char in text)


def _without(text: str, chars: str) -> str:
    for char in chars:
        text = text.replace(char, '')
    return text


def _escaped(char: str) -> str:
    return char.encode('unicode_escape').decode('ascii')


def csv_cell(value: Any) -> Any:
    """Return a cell of a CSV table: numbers unchanged, text printable and never a formula.

    A text that begins with ``=``, ``+``, ``-`` or ``@``, perhaps after spaces, with a tab or a carriage return, and is
    not a number, gets a leading apostrophe, by which spreadsheets recognise text.
    """
    if not isinstance(value, str) or value.isalnum():
        return value
    text = printable(value)
    formula = value.lstrip().startswith(_FORMULA) or value.startswith(('\t', '\r'))
    return f"'{text}" if formula and not _NUMBER.fullmatch(value) else text


def json_text(content: Any, indent: int | None = None) -> str:
    r"""Return JSON in which characters that are not printable are escaped as ``\u``; the content is the same.

    :param content: plain objects
    :param indent: spaces per level; one line if not given
    """
    return _printable_json(json.dumps(content, indent=indent, ensure_ascii=False))


class RowsOnDemand(list[Any]):
    """A list of which :func:`json_pieces` has one row at a time in memory.

    :param rows: returns the rows; called each time that the list is written
    :param count: number of rows
    """

    def __init__(self, rows: Callable[[], Iterable[Any]], count: int) -> None:
        super().__init__()
        self._rows, self._count = rows, count

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows())

    def __len__(self) -> int:
        return self._count


def json_pieces(content: Any, indent: int) -> Iterator[str]:
    """Yield consecutive pieces of :func:`json_text`, so that the whole text is never in memory.

    :param content: plain objects, of which lists may be :class:`RowsOnDemand`
    :param indent: spaces per level
    """
    tokens = json.JSONEncoder(indent=indent, ensure_ascii=False).iterencode(content)
    while piece := ''.join(islice(tokens, _PIECE)):
        yield _printable_json(piece)


def _printable_json(text: str) -> str:
    if _without(text, '\n').isprintable():
        return text
    return ''.join(char if char.isprintable() or char == '\n' else _json_escaped(char) for char in text)


def _json_escaped(char: str) -> str:
    return json.dumps(char)[1:-1] if ord(char) > 0xFFFF else f'\\u{ord(char):04x}'


def echo(text: object = '', *, err: bool = False, keep: str = '') -> None:
    """Print text to standard output, made printable.

    :param err: print to standard error
    :param keep: as for :func:`printable`
    """
    click.echo(printable(text, keep=keep), err=err)


def write_bytes(content: bytes) -> None:
    """Write the content of a file to standard output, unchanged: a file is not displayed, but redirected."""
    stream = click.get_binary_stream('stdout')
    stream.write(content)
    stream.flush()


class CleanErrorsMixin(click.Group):
    """Group whose error messages are made printable; they may contain ids, labels and file names."""

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = printable(error.message, keep='\n')
            raise
