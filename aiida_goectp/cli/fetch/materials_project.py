"""``aiida-goectp fetch materials-project``."""

from __future__ import annotations

import os
from pathlib import Path

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.fetch.storage import begin_download, download_options, named_values, store_download
from aiida_goectp.cli.params import FILE

__all__ = ('materials_project',)

_VARIABLE = 'MP_API_KEY'
_MAX_KEY_FILE = 4096
"""bytes"""


@click.command('materials-project')
@click.option(
    '--filter',
    'filters',
    multiple=True,
    metavar='NAME=VALUE',
    help='Filter of the summary endpoint, such as elements=Ti,O or nsites_max=20; may be given several times.',
)
@click.option(
    '--api-key-file', type=FILE, help=f'File with the API key.  [default: the environment variable {_VARIABLE}]'
)
@click.option('--url', help='Base URL of the service.  [default: https://api.materialsproject.org]')
@click.option(
    '--page-limit', type=click.IntRange(1, 1000), default=500, show_default=True, help='Crystals per request.'
)
@download_options('eps_electronic_mp=e_electronic')
@decorators.with_dbenv()
def materials_project(
    filters: tuple[str, ...],
    api_key_file: Path | None,
    url: str | None,
    page_limit: int,
    columns: tuple[str, ...],
    delay: float,
    limit: int,
    quiet: bool,
    label: str,
) -> None:
    """Download crystals from the Materials Project.

    Filters have the names of its documentation, https://api.materialsproject.org/docs, endpoint materials/summary. The
    id of a crystal is its id in the Materials Project; band gap, energy above the hull and formula are columns, and
    --column adds others. Deprecated materials are left out, unless a filter asks for them. The API key of
    your account is read from a file or from the environment variable MP_API_KEY, and is not stored.
    """
    from aiida_goectp.databases.download import DownloadError, download
    from aiida_goectp.databases.materials_project import (
        URL,
        MaterialsProject,
        check_key,
        file_content,
        named_columns,
        read_filter,
    )

    chosen = {name: column for column, name in named_values(columns, '--column', 'COLUMN=PROPERTY').items()}
    conditions = named_values(filters, '--filter', 'NAME=VALUE')
    try:
        checked, named = read_filter(conditions), named_columns(chosen)
        service = MaterialsProject(check_key(*_key_text(api_key_file)), url or URL, delay)
        query = {'source': 'materials-project', 'url': service.url, 'filter': checked, 'columns': named, 'max': limit}
        query['database_version'] = service.version()
        part = begin_download(query)
        download(part, service.pages(checked, list(named), page_limit, limit, part.next), limit, quiet)
    except DownloadError as error:
        echo.echo_critical(f'{error}')
    store_download(part, query, 'structures.pymatgen.jsonl.gz', file_content(part, named), label)


def _key_text(file: Path | None) -> tuple[str | None, str]:
    """Return what should be the API key, and where it comes from."""
    if file is None:
        return os.environ.get(_VARIABLE), f'the environment variable {_VARIABLE}'
    with file.open('rb') as stream:
        return stream.read(_MAX_KEY_FILE).decode('utf-8', 'replace'), str(file)
