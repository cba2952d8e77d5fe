"""``aiida-goectp import``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.options import JSON, LABEL, RAW
from aiida_goectp.cli.params import FILE

if TYPE_CHECKING:
    from aiida_goectp.core.crystals.property_table import TableReport
    from aiida_goectp.core.crystals.readers import LeftOutFile

__all__ = ('import_', 'report_import')

_TABLE = ('id_column', 'ignore_unknown', 'missing', 'text')
"""options that are settings of the table of properties"""


@click.command('import')
@click.argument('paths', nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option('--recursive', is_flag=True, help='Read also files in subfolders.')
@click.option('--group', help='Read the StructureData, CifData and crystals of this AiiDA group instead of files.')
@click.option('--archive', type=FILE, help='Import an AiiDA archive, and read its StructureData, CifData and crystals.')
@click.option('--properties', type=FILE, help='Table of property columns by id, separated by comma, semicolon or tab.')
@click.option('--id-column', help='Column of the table with the ids of the crystals.  [default: id]')
@click.option('--ignore-unknown', is_flag=True, help='Leave out rows of the table whose id no crystal has.')
@click.option(
    '--missing',
    multiple=True,
    metavar='WORD',
    help='Entry of the table that stands for a missing value, e.g. N/A; may be given several times.',
)
@click.option(
    '--text-column',
    'text',
    multiple=True,
    metavar='COLUMN',
    help='Column of the table that is text, also if entries are numbers; may be given several times.',
)
@click.option(
    '--primitive',
    is_flag=True,
    help='Reduce the crystals to their primitive cells, in the same Cartesian frame; DFPT costs less in them.',
)
@LABEL
@JSON
@RAW
@decorators.with_dbenv()
def import_(
    paths: tuple[Path, ...],
    recursive: bool,
    group: str | None,
    archive: Path | None,
    properties: Path | None,
    primitive: bool,
    label: str,
    **values: Any,
) -> None:
    """Import crystals from files, an AiiDA group or an archive.

    PATHS: CIF, POSCAR, extended XYZ, JSON of pymatgen, databases and trajectories of ASE, phonopy.yaml, pw.in,
    geometry.in, JSON lines or crystals.npz, compressed or not, and folders of these. The result
    is one node of crystals. Each file is stored as a node, so that the provenance of each crystal starts with its file.
    The id of a crystal is the name of its file, or that of its folder if the file is called POSCAR or CONTCAR. What
    was not read is listed with the reason.
    """
    from aiida_goectp.calculations.structures import import_group, import_structures, reduce_to_primitive
    from aiida_goectp.cli.files import archive_group, file_inputs, group_inputs, store_inputs

    if [bool(paths), bool(group), bool(archive)].count(True) != 1:
        raise click.UsageError('give one of PATHS, --group and --archive')
    table = {name: values[name] for name in _TABLE if values[name]}
    if table and properties is None:
        raise click.UsageError(f'--{next(iter(table)).replace("_", "-")} requires --properties')
    source = archive_group(archive) if archive else group
    process: Any = import_group if source else import_structures
    inputs, left_out = (group_inputs(source), []) if source else file_inputs(paths, recursive)
    report = None if properties is None else _add_properties(process, inputs, properties, table)
    store_inputs(inputs)
    node = process(**inputs)
    if not primitive or len(node) == 0:
        report_import(node, left_out, report, label)
        return
    reduced = reduce_to_primitive(node)
    changed = node.crystals.ids[node.crystals.atom_counts != reduced.crystals.atom_counts]
    report_import(reduced, left_out, report, label, changed.tolist())


def report_import(
    node: Any,
    left_out: Sequence[LeftOutFile],
    report: TableReport | None,
    label: str,
    reduced: Sequence[str] = (),
) -> None:
    """Label a new node of crystals and print what it contains.

    :param node: the node
    :param left_out: files and folders that were not read
    :param report: what the table of properties contributed
    :param label: of the node
    :param reduced: ids of crystals that were reduced to their primitive cells
    """
    from aiida_goectp.cli.views.crystals import import_content, show_import
    from aiida_goectp.cli.views.node_content import print_identity

    node.label = label
    print_identity(node, **import_content(node, left_out, report, reduced))
    if echo.output_format() != 'json':
        show_import(node, left_out, report, reduced)
    if len(node) == 0:
        echo.echo_critical(f'no crystal could be read, see the table above; the node is {node.pk}')
    echo.echo_success(f'crystals node {node.pk}: {len(node)} crystals, {len(node.crystals.failures)} failures')
    echo.echo(f'next: aiida-goectp screen {node.pk}')


def _add_properties(process: Any, inputs: dict[str, Any], file: Path, table: dict[str, Any]) -> Any:
    """Add the table of properties to the inputs, and return what it contributes; nothing is stored.

    :raises click.BadParameter: an invalid table, or one that does not fit the crystals
    """
    from aiida import orm

    from aiida_goectp.cli.files import single_file
    from aiida_goectp.core.crystals.property_table import PropertyTable, TableSettings
    from aiida_goectp.core.formats.settings import read_settings

    try:
        settings = read_settings(TableSettings, table, 'table')
        read = PropertyTable.read(file.name, file.read_bytes(), settings)
        crystals = process(**inputs, metadata={'store_provenance': False}).crystals
        report = read.add_to(crystals, settings.ignore_unknown)[1]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint='--properties') from error
    inputs['properties'] = single_file(file)
    if table:
        inputs['table'] = orm.Dict(settings.model_dump(mode='json', exclude_defaults=True))
    return report
