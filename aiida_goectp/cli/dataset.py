"""``aiida-goectp dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.groups import VerdiCommandGroup
from aiida.cmdline.params.types import DataParamType, NodeParamType
from aiida.cmdline.utils import decorators, echo

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ('dataset',)

_DATASET = DataParamType(sub_classes=('aiida.data:goectp.dataset',))
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LABEL = click.option('--label', default='', help='Label of the new node.')


@click.group('dataset', cls=VerdiCommandGroup)
def dataset() -> None:
    """Crystals with labels to learn from: made from files, from computed responses, from one another."""


@dataset.command('import')
@click.argument('file', type=_FILE)
@click.option('--functional', help='Of the rows that do not say: PBEsol, PBE, PBE+U, …')
@click.option('--split-file', type=_FILE, help='JSON of splits: splits → name → train, validation, test → ids.')
@_LABEL
@decorators.with_dbenv()
def dataset_import(file: Path, functional: str | None, split_file: Path | None, label: str) -> None:
    """Read FILE, a dataset.npz or labelled JSON lines (.jsonl, .jsonl.gz); every row is put to the gates."""
    from aiida import orm

    from aiida_goectp.calculations.datasets import import_dataset

    inputs: dict[str, Any] = {'file': orm.SinglefileData(file.absolute())}
    if functional is not None:
        inputs['functional'] = orm.Str(functional)
    if split_file is not None:
        inputs['splits'] = orm.SinglefileData(split_file.absolute())
    _made(import_dataset, inputs, label)


@dataset.command('from-dielectric')
@click.argument('nodes', nargs=-1, required=True, type=NodeParamType())
@_LABEL
@decorators.with_dbenv()
def dataset_from_dielectric(nodes: tuple[Any, ...], label: str) -> None:
    """Make a dataset of what was computed, each row with the verdict of the gates on it.

    NODES: dielectric responses, work chains of an engine, or whole verifications; PK, UUID or label.
    """
    from aiida_goectp.calculations.datasets import dataset_from_dielectric as make
    from aiida_goectp.cli.judged import judged_responses

    inputs: dict[str, Any] = {}
    for index, (response, quality) in enumerate(judged_responses(nodes)):
        inputs[f'dielectric_{index:05d}'] = response
        inputs[f'quality_{index:05d}'] = quality
    _made(make, inputs, label)


@dataset.command('join')
@click.argument('datasets', nargs=-1, required=True, type=_DATASET)
@click.option('--tolerance', type=float, help='Relative distance beyond which labels disagree.  [default: 0.1]')
@click.option(
    '--newcomers',
    type=click.Choice(['train', 'validation', 'test']),
    help='Part of the splits for rows of a dataset without that split; none if not given.',
)
@_LABEL
@decorators.with_dbenv()
def dataset_join(datasets: tuple[Any, ...], tolerance: float | None, newcomers: str | None, label: str) -> None:
    """Join DATASETS to one in which no crystal stands twice; where labels disagree, the first one wins."""
    from aiida import orm

    from aiida_goectp.calculations.datasets import join_datasets
    from aiida_goectp.cli.views.nodes import show_node

    inputs: dict[str, Any] = {f'set_{index:03d}': node for index, node in enumerate(datasets)}
    if tolerance is not None:
        inputs['tolerance'] = orm.Float(tolerance)
    if newcomers is not None:
        inputs['newcomers'] = orm.Str(newcomers)
    show_node(_made(join_datasets, inputs, label).creator.outputs.report, 20)


@dataset.command('split')
@click.argument('node', metavar='DATASET', type=_DATASET)
@click.option('--name', help='Name of the split; KIND-SEED if not given.')
@click.option('--kind', type=click.Choice(['random', 'formula']), default='random', show_default=True)
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    '--fractions',
    type=float,
    nargs=3,
    metavar='TRAIN VALIDATION TEST',
    help='They add up to 1.  [default: 0.8 0.1 0.1]',
)
@click.option('--split-file', type=_FILE, help='Take the splits of this JSON file instead.')
@_LABEL
@decorators.with_dbenv()
def dataset_split(node: Any, label: str, split_file: Path | None, **values: Any) -> None:
    """Make a dataset with one more split: train, validation and test, fixed for good.

    `formula` deals out all crystals of one reduced formula together, so that no composition stands in two parts.
    """
    from aiida import orm

    from aiida_goectp.calculations.datasets import add_splits, split_dataset

    if split_file is not None:
        _made(add_splits, {'dataset': node, 'splits': orm.SinglefileData(split_file.absolute())}, label)
        return
    name = values['name'] or f'{values["kind"]}-{values["seed"]}'
    inputs = {'dataset': node, 'name': orm.Str(name), 'kind': orm.Str(values['kind']), 'seed': orm.Int(values['seed'])}
    if values['fractions']:
        inputs['fractions'] = orm.List(list(values['fractions']))
    _made(split_dataset, inputs, label)


@dataset.command('show')
@click.argument('node', metavar='DATASET', type=_DATASET)
@click.option('-n', '--rows', default=20, show_default=True, type=click.IntRange(min=1), help='Rows of a table.')
@decorators.with_dbenv()
def dataset_show(node: Any, rows: int) -> None:
    """Show what a dataset holds: labels, functionals, gates and splits."""
    from aiida_goectp.cli.views.nodes import show_node

    show_node(node, rows)


@dataset.command('export')
@click.argument('node', metavar='DATASET', type=_DATASET)
@click.option(
    '-F', '--format', 'file_format', type=click.Choice(['npz', 'jsonl', 'csv']), default='npz', show_default=True
)
@click.option('-o', '--output', type=click.Path(dir_okay=False, writable=True, path_type=Path), help='File to write.')
@click.option('-f', '--force', is_flag=True, help='Overwrite the file if it is there.')
@decorators.with_dbenv()
def dataset_export(node: Any, file_format: str, output: Path | None, force: bool) -> None:
    """Write a dataset to a file that `goectp train` reads; csv holds averages alone."""
    from aiida_goectp.cli.views.exports import export_bytes

    path = output or Path(f'dataset-{node.pk}.{file_format}')
    if path.exists() and not force:
        raise click.BadParameter(f'{path} is there already; overwrite it with --force', param_hint='--output')
    path.write_bytes(export_bytes(node, file_format))
    echo.echo_success(f'wrote {path}')


def _made(make: Callable[..., Any], inputs: dict[str, Any], label: str) -> Any:
    """Run a calcfunction, say what came of it, and return the dataset.

    :raises click.UsageError: it refused its inputs; nothing was made
    """
    try:
        result = make(**inputs)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    node = result['dataset'] if isinstance(result, dict) else result
    node.label = label
    get = node.base.attributes.get
    parts = '; '.join(
        f'{name}: ' + ', '.join(f'{n} {part}' for part, n in of.items()) for name, of in node.splits.items()
    )
    echo.echo_success(
        f'dataset node {node.pk}: {len(node)} rows, {get("trainable")} trainable ({get("electronic")} with electronic, '
        f'{get("ionic")} with ionic label)' + (f'; splits {parts}' if parts else '')
    )
    if get('failures'):
        echo.echo_warning(f'{get("failures")} rows are no crystals; `aiida-goectp show {node.pk}` says why')
    return node
