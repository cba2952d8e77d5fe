"""``aiida-goectp fetch optimade``."""

from __future__ import annotations

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.fetch.storage import begin_download, download_options, named_values, store_download

__all__ = ('optimade',)


@click.command()
@click.argument('url')
@click.option(
    '--filter', 'text', default='', help='Filter of OPTIMADE, such as \'elements HAS ALL "Ti","O" AND nsites<20\'.'
)
@click.option(
    '--page-limit', type=click.IntRange(min=1), help='Crystals per request.  [default: as the database decides]'
)
@download_options('band_gap=_xyz_gap')
@decorators.with_dbenv()
def optimade(
    url: str,
    text: str,
    page_limit: int | None,
    columns: tuple[str, ...],
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
    from aiida_goectp.databases.download import DownloadError, download
    from aiida_goectp.databases.optimade import Optimade, check_filter, file_content

    chosen = {name: column for column, name in named_values(columns, '--column', 'COLUMN=PROPERTY').items()}
    try:
        database = Optimade(url, delay)
        check_filter(text)
        named = database.columns(chosen)
        query = {'source': 'optimade', 'url': database.url, 'filter': text, 'columns': named, 'max': limit}
        part = begin_download(query)
        download(part, database.pages(text, list(named), page_limit, part.next), limit, quiet)
    except DownloadError as error:
        echo.echo_critical(f'{error}')
    store_download(part, query, 'structures.optimade.jsonl.gz', file_content(part, named), label)
