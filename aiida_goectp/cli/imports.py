"""``aiida-goectp import``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.utils import decorators, echo

from aiida_goectp.cli.options import LABEL
from aiida_goectp.cli.params import FILE

__all__ = ('import_',)


@click.command('import')
@click.argument('paths', nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option('--group', help='Read the StructureData of this AiiDA group instead of files.')
@click.option('--properties', type=FILE, help='CSV table of property columns; the first column is id.')
@LABEL
@decorators.with_dbenv()
def import_(paths: tuple[Path, ...], group: str | None, properties: Path | None, label: str) -> None:
    """Import crystals from files, folders or an AiiDA group.

    PATHS: CIF, POSCAR, extended XYZ, JSON lines or crystals.npz, compressed or not, and folders of these. The result
    is one node of crystals. Each file is stored as a node, so that the provenance of each crystal starts with its file.
    Unreadable entries are listed.
    """
    from aiida_goectp.calculations.structures import import_group, import_structures
    from aiida_goectp.cli.files import file_inputs, group_inputs, single_file, store_inputs

    if bool(paths) == bool(group):
        raise click.UsageError('give either PATHS or --group')
    process: Any = import_group if group else import_structures
    inputs = group_inputs(group) if group else file_inputs(paths)
    if properties is not None:
        inputs['properties'] = single_file(properties)
    store_inputs(inputs)
    try:
        node = process(**inputs)
    except ValueError as error:
        echo.echo_critical(str(error))
    node.label = label
    _report(node)


def _report(node: Any) -> None:
    from aiida_goectp.cli.views.crystals import failure_table
    from aiida_goectp.cli.views.tables import show_table

    failures = node.crystals.failures
    if failures:
        show_table(failure_table(failures))
    if len(node) == 0:
        echo.echo_critical(f'no crystal could be read, see the table above; the node is {node.pk}')
    columns = f'columns: {", ".join(node.columns)}' if node.columns else 'no property columns'
    echo.echo_success(f'crystals node {node.pk}: {len(node)} crystals, {len(failures)} failures, {columns}')
    echo.echo(f'next: aiida-goectp screen {node.pk}')
