"""``verdi data goectp``: list, show and export the nodes of this package."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from aiida.cmdline.params import options
from aiida.cmdline.utils import decorators
from aiida.plugins import DataFactory

from aiida_goectp.cli import echo
from aiida_goectp.cli.options import (
    FORCE,
    JSON,
    OUTPUT,
    RAW,
    ROWS,
    TABLE_FORMATS,
    export_format,
    format_option,
    write_output,
)
from aiida_goectp.cli.params import DataParam

__all__ = ('data_goectp',)

# type → attributes in the list, and formats of the export, the native one first
_TYPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    'crystals': (('number', 'atoms', 'failures'), ('npz', 'json', 'csv', 'cif', 'extxyz')),
    'dataset': (('number', 'trainable', 'functionals', 'splits'), ('npz', 'jsonl', 'csv')),
    'dielectric': (('formula', 'engine', 'functional', 'total', 'band_gap'), ('npz', 'json', 'csv', 'cif')),
    'model': (('card.name', 'card.preset', 'content_hash'), ('safetensors', 'json')),
    'picks': (('number', 'figure_of_merit'), TABLE_FORMATS),
    'predictions': (('number', 'failed', 'model_hash'), TABLE_FORMATS),
    'ranking': (('number', 'ranked', 'figure_of_merit'), TABLE_FORMATS),
}


@click.group('goectp', cls=echo.CommandGroup)
def data_goectp() -> None:
    """List, show and export the nodes of aiida-goectp.

    Crystals, datasets, dielectric responses, models, picks, predictions and rankings.
    """


def _add_group(kind: str, columns: tuple[str, ...], formats: tuple[str, ...]) -> None:
    node_type = DataParam(f'goectp.{kind}')

    @data_goectp.group(kind, cls=echo.CommandGroup, help=f'Nodes of type goectp.{kind}.')
    def group() -> None:
        pass

    @group.command('list')
    @options.PAST_DAYS()
    @JSON
    @RAW
    @decorators.with_dbenv()
    def list_(past_days: int | None) -> None:
        """List stored nodes."""
        _list(kind, columns, past_days)

    @group.command('show')
    @click.argument('node', type=node_type)
    @ROWS
    @JSON
    @RAW
    @decorators.with_dbenv()
    def show(node: Any, rows: int) -> None:
        """Show the content of a node."""
        from aiida_goectp.cli.views.nodes import print_node

        print_node(node, rows)

    @group.command('export')
    @click.argument('node', type=node_type)
    @format_option(formats)
    @OUTPUT(help=f'File to write; - is standard output.  [default: {kind}-PK.FORMAT]')
    @FORCE
    @decorators.with_dbenv()
    def export(node: Any, file_format: str | None, output: Path | None, force: bool) -> None:
        """Write a node to a file."""
        from aiida_goectp.cli.views.exports import export_pieces

        chosen = export_format(file_format, output, formats)
        write_output(output or Path(f'{kind}-{node.pk}.{chosen}'), export_pieces(node, chosen), force)


def _list(kind: str, columns: tuple[str, ...], past_days: int | None) -> None:
    from aiida.common import timezone
    from aiida.orm import QueryBuilder

    from aiida_goectp.core.formats.text_tables import make_table, show_table

    cls = DataFactory(f'goectp.{kind}')
    filters = {} if past_days is None else {'ctime': {'>': timezone.now() - timedelta(days=past_days)}}
    query = QueryBuilder().append(
        cls, filters=filters, project=['id', 'label', *(f'attributes.{name}' for name in columns)]
    )
    rows = query.order_by({cls: {'id': 'asc'}}).all()
    if echo.output_format() == 'json':
        names = ['pk', 'label', *(name.removeprefix('card.') for name in columns)]
        echo.echo_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    if not rows:
        echo.echo(f'no node of type goectp.{kind}')
        return
    names = ['pk', 'label', *(name.removeprefix('card.').replace('_', ' ') for name in columns)]
    show_table(make_table(f'goectp.{kind}', names, ([str(row[0]), *row[1:]] for row in rows), 2))


for _kind, (_columns, _formats) in _TYPES.items():
    _add_group(_kind, _columns, _formats)
