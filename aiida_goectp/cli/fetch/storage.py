"""Options of all databases, and the storage of downloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_goectp.cli import echo
from aiida_goectp.cli.options import JSON, LABEL, RAW
from aiida_goectp.core.formats.numbers import FiniteFloat

if TYPE_CHECKING:
    from aiida_goectp.databases.download import Download

__all__ = ('begin_download', 'download_options', 'named_values', 'store_download')


def download_options(column: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds the options that all databases have.

    :param column: example of COLUMN=PROPERTY
    """
    shared = (
        click.option(
            '--column',
            'columns',
            multiple=True,
            metavar='COLUMN=PROPERTY',
            help=f'Store a property of the database as a column, such as {column}; may be given several times.',
        ),
        click.option(
            '--delay',
            type=FiniteFloat(0.0, 60.0),
            default=0.5,
            show_default=True,
            help='Pause between requests in seconds; longer if the database asks for it.',
        ),
        click.option(
            '--max',
            'limit',
            type=click.IntRange(min=1),
            default=10_000,
            show_default=True,
            help='Maximum number of crystals.',
        ),
        click.option('-q', '--quiet', is_flag=True, help='Show no progress.'),
        LABEL,
        JSON,
        RAW,
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(shared):
            command = option(command)
        return command

    return decorate


def named_values(items: tuple[str, ...], option: str, form: str) -> dict[str, str]:
    """Return name → value of items such as COLUMN=PROPERTY.

    :param items: values of the option
    :param option: its name, for messages
    :param form: of an item
    :raises click.BadParameter: an item of another form, or a name that is repeated
    """
    found: dict[str, str] = {}
    for text in items:
        name, sign, value = text.partition('=')
        if not (sign and name and value):
            raise click.BadParameter(f'{text!r}; expected {form}', param_hint=option)
        if name in found:
            raise click.BadParameter(f'{name!r} is given twice', param_hint=option)
        found[name] = value
    return found


def begin_download(query: Mapping[str, Any]) -> Download:
    """Return the download of a query, and report what an earlier run left.

    :param query: what defines the answer, see :class:`.Download`
    """
    from aiida_goectp.databases.download import Download

    part = Download(Path(), query)
    if part.number:
        echo.echo_report(f'{part.number} entries were downloaded before, see {part.path}; resuming')
    return part


def store_download(part: Download, query: Mapping[str, Any], name: str, content: bytes, label: str) -> None:
    """Store the answer, the query and the crystals, and remove the partial file.

    :param part: complete download
    :param query: what defines the answer
    :param name: of the file of the answer
    :param content: of this file
    :param label: of the node of crystals
    """
    import io

    from aiida import orm

    from aiida_goectp.calculations.structures import import_structures
    from aiida_goectp.cli.imports import report_import

    date = datetime.now(timezone.utc).isoformat(timespec='seconds')
    inputs: dict[str, Any] = {
        'file_00000': orm.SinglefileData(io.BytesIO(content), filename=name),
        'query': orm.Dict(dict(query) | {'date': date, 'entries': part.number}),
    }
    node: Any = import_structures(**inputs)
    if part.total is not None and part.total > part.number:
        echo.echo_report(f'the query has {part.total} entries, of which {part.number} were downloaded; see --max')
    part.remove()
    report_import(node, [], None, label)
