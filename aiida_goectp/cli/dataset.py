"""``aiida-goectp dataset``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.options import (
    FORCE,
    JSON,
    LABEL,
    OUTPUT,
    RAW,
    ROWS,
    THRESHOLDS,
    export_format,
    format_option,
    parse_thresholds,
    write_output,
)
from aiida_goectp.cli.params import DATASET, FILE, SPLIT_PART, FunctionalParam, NodeParam
from aiida_goectp.core.formats.numbers import FiniteFloat

__all__ = ('dataset',)

_FORMATS = ('npz', 'jsonl', 'csv')


@click.group('dataset', cls=echo.CommandGroup)
def dataset() -> None:
    """Create, split, show and export datasets."""


@dataset.command('import')
@click.argument('file', type=FILE)
@click.option('--functional', type=FunctionalParam(), help='Functional of rows without one: PBEsol, PBE, PBE+U, …')
@click.option('--split-file', type=FILE, help='JSON file of splits: splits → name → train, validation, test → ids.')
@LABEL
@JSON
@RAW
@decorators.with_dbenv()
def dataset_import(file: Path, functional: str | None, split_file: Path | None, label: str) -> None:
    """Import a dataset from FILE and evaluate the gates.

    FILE is a dataset.npz, or labelled JSON lines (.jsonl, .jsonl.gz).
    """
    from aiida import orm

    from aiida_goectp.calculations.datasets import import_dataset
    from aiida_goectp.cli.files import single_file

    inputs: dict[str, Any] = {'file': single_file(file)}
    if functional is not None:
        inputs['functional'] = orm.Str(functional)
    if split_file is not None:
        inputs['splits'] = single_file(split_file)
    _create(import_dataset, inputs, label)


@dataset.command('from-dielectric')
@click.argument('nodes', nargs=-1, required=True, type=NodeParam())
@LABEL
@JSON
@RAW
@decorators.with_dbenv()
def dataset_from_dielectric(nodes: tuple[Any, ...], label: str) -> None:
    """Create a dataset of computed dielectric tensors.

    Each row has its gate results. NODES: dielectric responses, work chains of an engine, or verifications, given by PK,
    UUID or label.
    """
    from aiida_goectp.calculations import datasets
    from aiida_goectp.cli.queries import responses_with_gates

    inputs: dict[str, Any] = {'responses': {}, 'qualities': {}}
    for index, (response, gates) in enumerate(responses_with_gates(nodes)):
        name = f'row_{index:05d}'
        inputs['responses'][name], inputs['qualities'][name] = response, gates
    _create(datasets.dataset_from_dielectric, inputs, label)


@dataset.command('import-calculations')
@click.argument('folders', nargs=-1, metavar='FOLDER…', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--group', help='Read the VASP calculations of this AiiDA group instead of folders.')
@click.option(
    '--recursive/--no-recursive', default=True, show_default=True, help='Read also calculations in subfolders.'
)
@click.option('--functional', type=FunctionalParam(), help='Functional of calculations whose files state none.')
@click.option(
    '--unnamed-functional',
    type=FunctionalParam(),
    help='Functional of calculations whose files state one without a name here; else they are not imported.',
)
@THRESHOLDS
@click.option('--join', is_flag=True, help='Keep equal crystals of one functional once, as `dataset join` does.')
@ROWS
@LABEL
@JSON
@RAW
@decorators.with_dbenv()
def dataset_import_calculations(folders: tuple[Path, ...], label: str, **values: Any) -> None:
    """Import finished DFPT calculations, one row each.

    They are read from FOLDERs or, with --group, from the profile.

    Recognised are runs of VASP (vasprun.xml, OUTCAR), of pw.x and ph.x at Γ, and phonopy sets (FORCE_SETS or
    FORCE_CONSTANTS, with BORN), compressed or not. The same gates decide on their labels as in a verification.
    Calculations without label are listed with the reason.
    """
    from aiida import orm

    from aiida_goectp.calculations.datasets import calculation_inputs, import_calculations
    from aiida_goectp.cli.files import calculations_of_group
    from aiida_goectp.cli.views.datasets import show_calculations
    from aiida_goectp.cli.views.node_content import print_identity
    from aiida_goectp.core.dfpt.collect import collect_calculations

    if bool(folders) == bool(values['group']):
        raise click.UsageError('give either FOLDER… or --group')
    thresholds = parse_thresholds(values['thresholds'])
    if values['group']:
        found, retrieved = calculations_of_group(values['group'])
    else:
        found, retrieved = _calculations_in(folders, values['recursive']), {}
    with click.progressbar(collect_calculations(found), len(found), label='reading', file=sys.stderr) as collected:
        inputs: dict[str, Any] = {**calculation_inputs(list(collected)), **retrieved}
    for name in ('functional', 'unnamed_functional'):
        if values[name] is not None:
            inputs[name] = orm.Str(values[name])
    if thresholds:
        inputs['thresholds'] = orm.Dict(thresholds)
    if values['join']:
        inputs['join'] = orm.Bool(True)
    result = import_calculations(**inputs)
    node, report = result['dataset'], result['report'].get_dict()
    node.label = label
    print_identity(node, **report)
    if echo.output_format() != 'json':
        show_calculations(report, values['rows'])
    if not len(node):
        echo.echo_critical(f'no calculation gives a row, see the reasons; the node is {node.pk}')
    _show_created(node)


def _calculations_in(folders: tuple[Path, ...], recursive: bool) -> Any:
    """Return the calculations in folders.

    :raises click.BadParameter: no calculation in one of them
    """
    from aiida_goectp.core.dfpt.folders import find_calculations

    try:
        return find_calculations(folders, recursive=recursive)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint='FOLDER…') from error


@dataset.command('join')
@click.argument('datasets', nargs=-1, required=True, type=DATASET)
@click.option(
    '--tolerance',
    type=FiniteFloat(min=0),
    help='Report labels whose relative difference is larger than this.  [default: 0.1]',
)
@click.option(
    '--newcomers',
    type=SPLIT_PART,
    help='Part of a split for the rows of datasets without that split.  [default: none]',
)
@LABEL
@JSON
@RAW
@decorators.with_dbenv()
def dataset_join(datasets: tuple[Any, ...], tolerance: float | None, newcomers: str | None, label: str) -> None:
    """Join DATASETS into one without duplicate crystals.

    Of different labels of a crystal, that of the first dataset is kept.
    """
    from aiida import orm

    from aiida_goectp.calculations.datasets import join_datasets
    from aiida_goectp.cli.views.nodes import show_node

    inputs: dict[str, Any] = {f'set_{index:03d}': node for index, node in enumerate(datasets)}
    if tolerance is not None:
        inputs['tolerance'] = orm.Float(tolerance)
    if newcomers is not None:
        inputs['newcomers'] = orm.Str(newcomers)
    node = _create(join_datasets, inputs, label)
    if echo.output_format() != 'json':
        show_node(node.creator.outputs.report, 20)


@dataset.command('split')
@click.argument('node', metavar='DATASET', type=DATASET)
@click.option('--name', help='Name of the split.  [default: KIND-SEED]')
@click.option(
    '--kind',
    type=click.Choice(['random', 'formula']),
    default='random',
    show_default=True,
    help='Assign single rows, or all rows of a reduced formula together.',
)
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of the random numbers.')
@click.option(
    '--fractions',
    type=float,
    nargs=3,
    metavar='TRAIN VALIDATION TEST',
    help='Fractions of the rows, which add up to 1.  [default: 0.8 0.1 0.1]',
)
@click.option('--split-file', type=FILE, help='Add the splits of this JSON file instead.')
@LABEL
@JSON
@RAW
@decorators.with_dbenv()
def dataset_split(node: Any, label: str, split_file: Path | None, **values: Any) -> None:
    """Create a dataset with an additional split.

    The parts of a split are train, validation and test. With the kind `formula`, no reduced formula occurs in two
    parts.
    """
    from aiida import orm

    from aiida_goectp.calculations.datasets import add_splits, split_dataset
    from aiida_goectp.cli.files import single_file

    if split_file is not None:
        _create(add_splits, {'dataset': node, 'splits': single_file(split_file)}, label)
        return
    name = values['name'] or f'{values["kind"]}-{values["seed"]}'
    inputs = {'dataset': node, 'name': orm.Str(name), 'kind': orm.Str(values['kind']), 'seed': orm.Int(values['seed'])}
    if values['fractions']:
        inputs['fractions'] = orm.List(list(values['fractions']))
    _create(split_dataset, inputs, label)


@dataset.command('show')
@click.argument('node', metavar='DATASET', type=DATASET)
@ROWS
@JSON
@RAW
@decorators.with_dbenv()
def dataset_show(node: Any, rows: int) -> None:
    """Show labels, gates and splits of a dataset."""
    from aiida_goectp.cli.views.nodes import print_node

    print_node(node, rows)


@dataset.command('export')
@click.argument('node', metavar='DATASET', type=DATASET)
@format_option(_FORMATS)
@OUTPUT(help='File to write; - is standard output.  [default: dataset-PK.FORMAT]')
@FORCE
@decorators.with_dbenv()
def dataset_export(node: Any, file_format: str | None, output: Path | None, force: bool) -> None:
    """Write a dataset to a file.

    `goectp train` reads npz and jsonl; jsonl contains no splits, csv only polycrystalline averages of the tensors.
    """
    from aiida_goectp.cli.views.exports import export_pieces

    chosen = export_format(file_format, output, _FORMATS)
    write_output(output or Path(f'dataset-{node.pk}.{chosen}'), export_pieces(node, chosen), force)


def _create(process: Callable[..., Any], inputs: dict[str, Any], label: str) -> Any:
    """Run a calcfunction, print counts of its dataset, and return the dataset.

    :raises click.UsageError: invalid inputs; nothing is stored
    """
    from aiida_goectp.cli.views.node_content import print_identity

    try:
        result = process(**inputs)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    node = result['dataset'] if isinstance(result, dict) else result
    node.label = label
    print_identity(node, summary=dict(node.base.attributes.all))
    _show_created(node)
    if failures := node.base.attributes.get('failures'):
        echo.echo_warning(f'{failures} rows are not valid crystals; see the reasons with `aiida-goectp show {node.pk}`')
    return node


def _show_created(node: Any) -> None:
    """Print counts of a dataset."""
    get = node.base.attributes.get
    splits = '; '.join(
        f'{name}: ' + ', '.join(f'{number} {part}' for part, number in counts.items())
        for name, counts in node.splits.items()
    )
    echo.echo_success(
        f'dataset node {node.pk}: {len(node)} rows, {get("trainable")} trainable ({get("electronic")} with electronic, '
        f'{get("ionic")} with ionic label)' + (f'; splits {splits}' if splits else '')
    )
