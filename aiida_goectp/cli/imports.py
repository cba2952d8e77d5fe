"""``aiida-goectp import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.utils import decorators, echo

if TYPE_CHECKING:
    from aiida.orm import Group

__all__ = ('file_inputs', 'import_', 'single_file', 'store_inputs')

_MANY = 200
"""a folder of more files becomes one node, so that the graph stays one that can be looked at"""


@click.command('import')
@click.argument('paths', nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option('--group', help='Take the StructureData of this AiiDA group instead of files.')
@click.option(
    '--properties',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='CSV table of properties: id, then columns.',
)
@click.option('--label', default='', help='Label of the node.')
@decorators.with_dbenv()
def import_(paths: tuple[Path, ...], group: str | None, properties: Path | None, label: str) -> None:
    """Read crystals from files, folders or an AiiDA group into one node.

    PATHS: CIF, POSCAR, extended XYZ, JSON lines or crystals.npz, compressed or not, and folders of them. Each file
    becomes a node, so that every crystal can be traced back to what you gave. What cannot be read is listed.
    """
    from aiida_goectp.calculations.structures import import_group, import_structures

    if bool(paths) == bool(group):
        raise click.UsageError('give either PATHS or --group')
    process: Any
    if group:
        process, inputs = import_group, _group_inputs(_load_group(group))
    else:
        process, inputs = import_structures, file_inputs(paths)
    if properties is not None:
        inputs['properties'] = single_file(properties)
    store_inputs(inputs)
    try:
        node = process(**inputs)
    except ValueError as error:
        echo.echo_critical(str(error))
    _report(node, label)


def _report(node: Any, label: str) -> None:
    from aiida_goectp.cli.views.tables import failure_table, show_table

    node.label = label
    crystals = node.crystals
    if crystals.failures:
        show_table(failure_table(crystals.failures))
    if len(node) == 0:
        echo.echo_critical(f'not one crystal could be read; see the table. The node is {node.pk}')
    columns = f', columns: {", ".join(node.columns)}' if node.columns else ', no property columns'
    echo.echo_success(f'crystals node {node.pk}: {len(node)} crystals, {len(crystals.failures)} failures{columns}')
    echo.echo(f'next: aiida-goectp screen {node.pk}')


def _load_group(label: str) -> Group:
    from aiida.common.exceptions import MultipleObjectsError, NotExistent
    from aiida.orm import load_group

    try:
        return load_group(label)
    except (NotExistent, MultipleObjectsError) as error:
        raise click.BadParameter(f'{error}; `verdi group list -A` lists the groups', param_hint='--group') from error


def _group_inputs(group: Group) -> dict[str, Any]:
    """Return the structures of a group by a name that says which they are: formula and start of the UUID."""
    from aiida.orm import StructureData

    inputs = {}
    for node in group.nodes:
        if isinstance(node, StructureData):
            inputs[f'{_letters(node.get_formula("hill_compact"))}_{node.uuid[:8]}'] = node
    if not inputs:
        raise click.BadParameter(f'the group {group.label} holds no StructureData', param_hint='--group')
    return inputs


def _letters(formula: str) -> str:
    return ''.join(char if char.isalnum() else '_' for char in formula).strip('_') or 'X'


def single_file(path: Path) -> Any:
    """Return an unstored node of a file."""
    from aiida.orm import SinglefileData

    return SinglefileData(path.absolute(), filename=path.name)


def file_inputs(paths: tuple[Path, ...]) -> dict[str, Any]:
    """Return an unstored node for each file, by a name that keeps the order.

    :raises click.BadParameter: a path with nothing to read
    """
    from aiida.orm import FolderData

    from aiida_goectp.core.crystals.readers import structure_files
    from aiida_goectp.core.formats.npz import FormatError

    nodes: list[Any] = []
    for path in paths:
        try:
            files = structure_files(path)
        except FormatError as error:
            raise click.BadParameter(str(error), param_hint='PATHS') from error
        if len(files) <= _MANY:
            nodes += [single_file(file) for file in files]
            continue
        folder = FolderData()
        for file in files:
            folder.base.repository.put_object_from_file(str(file.absolute()), file.name)
        nodes.append(folder)
    return {f'file_{index:05d}': node for index, node in enumerate(nodes)}


def store_inputs(inputs: dict[str, Any]) -> None:
    """Store new nodes in one transaction, which is several times quicker than one by one."""
    from aiida.manage import get_manager

    with get_manager().get_profile_storage().transaction():
        for node in inputs.values():
            if not node.is_stored:
                node.store()
