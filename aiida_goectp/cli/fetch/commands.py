"""``aiida-goectp fetch optimade``: download crystals, and store them with their source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.options import LABEL

if TYPE_CHECKING:
    from aiida_goectp.databases.download import Download

__all__ = ('fetch',)


@click.group()
def fetch() -> None:
    """Download crystals from databases.

    The answer of the database, URL, query and date are stored as inputs of the node of crystals. An interrupted
    download is kept in a file *.partial in the current folder; the same command resumes.
    """


def _limits(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all databases have."""
    shared = (
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
    )
    for option in reversed(shared):
        command = option(command)
    return command


@fetch.command()
@click.argument('url')
@click.option(
    '--filter', 'text', default='', help='Filter of OPTIMADE, such as \'elements HAS ALL "Ti","O" AND nsites<20\'.'
)
@click.option(
    '--column',
    'columns',
    multiple=True,
    metavar='COLUMN=PROPERTY',
    help='Store a property of the database as a column, such as band_gap=_xyz_gap; may be given several times.',
)
@click.option(
    '--page-limit', type=click.IntRange(min=1), help='Crystals per request.  [default: as the database decides]'
)
@click.option(
    '--delay',
    type=click.FloatRange(0.0, 60.0),
    default=0.5,
    show_default=True,
    help='Pause between requests in seconds; longer if the database asks for it.',
)
@_limits
@decorators.with_dbenv()
def optimade(
    url: str,
    text: str,
    columns: tuple[str, ...],
    page_limit: int | None,
    delay: float,
    limit: int,
    quiet: bool,
    label: str,
) -> None:
    """Download crystals from an OPTIMADE database.

    URL: base URL of the database without version, such as https://optimade.materialsproject.org. Addresses are listed
    on https://www.optimade.org/providers-dashboard. The id of a crystal is its id in the database. Band gap and energy
    above the hull of OQMD and Alexandria become the columns of filters; --column adds properties of any database.
    Needs the extra: pip install 'aiida-goectp[optimade]'.
    """
    from aiida_goectp.databases.download import Download, DownloadError, download
    from aiida_goectp.databases.optimade import Optimade, check_filter, file_content

    chosen = dict(_pair(item) for item in columns)
    try:
        database = Optimade(url, delay)
        check_filter(text)
        named = database.columns(chosen)
        query = {'source': 'optimade', 'url': database.url, 'filter': text, 'columns': named, 'max': limit}
        part = _begin(Download, query)
        pages = database.pages(text, list(named), page_limit, part.next)
        download(part, pages, limit, quiet)
    except DownloadError as error:
        echo.echo_critical(f'{error}')
    _store(part, query, 'structures.optimade.jsonl.gz', partial(file_content, part, named), label)


def _pair(text: str) -> tuple[str, str]:
    """Return property and column of COLUMN=PROPERTY."""
    column, sign, name = text.partition('=')
    if not (sign and column and name):
        raise click.BadParameter(f'{text!r}; expected COLUMN=PROPERTY', param_hint='--column')
    return name, column


def _begin(kind: type[Download], query: Mapping[str, Any]) -> Download:
    """Return the download of a query, and report what an earlier run left."""
    part = kind(Path(), query)
    if part.number:
        echo.echo_report(f'{part.number} entries were downloaded before, see {part.path}; resuming')
    return part


def _store(part: Download, query: Mapping[str, Any], name: str, content: Callable[[], bytes], label: str) -> None:
    """Store the answer, the query and the crystals, and remove the partial file."""
    import io

    from aiida import orm

    from aiida_goectp.calculations.structures import import_structures
    from aiida_goectp.cli.imports import report_import

    date = datetime.now(timezone.utc).isoformat(timespec='seconds')
    inputs: dict[str, Any] = {
        'file_00000': orm.SinglefileData(io.BytesIO(content()), filename=name),
        'query': orm.Dict(dict(query) | {'date': date, 'entries': part.number}),
    }
    node: Any = import_structures(**inputs)
    part.remove()
    report_import(node, [], None, label)
