"""``aiida-goectp model``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.groups import VerdiCommandGroup
from aiida.cmdline.params import options
from aiida.cmdline.params.types import DataParamType
from aiida.cmdline.utils import decorators, echo

if TYPE_CHECKING:
    from aiida_goectp.cli.views.models import Known
    from aiida_goectp.data.model import ModelData

__all__ = ('model',)


class _AnyModel(DataParamType):
    """A stored model by PK, UUID or label, or else a shipped one by name, which is not stored for that."""

    name = 'MODEL'

    def __init__(self) -> None:
        super().__init__(sub_classes=('aiida.data:goectp.model',))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the node, or the name of a shipped model."""
        from aiida_goectp.core.formats.model_card import shipped_models

        return value if value in shipped_models() else super().convert(value, param, ctx)


@click.group('model', cls=VerdiCommandGroup)
def model() -> None:
    """Models that are stored in the profile, or ship with the package."""


@model.command('list')
@decorators.with_dbenv()
def model_list() -> None:
    """List the models that ship and those that are stored, side by side, with what each reached."""
    from aiida.orm import QueryBuilder

    from aiida_goectp.cli.views.models import Known, model_table
    from aiida_goectp.cli.views.tables import show_table
    from aiida_goectp.core.formats.model_card import shipped_models
    from aiida_goectp.data.model import ModelData

    known = {item.content_hash: item for item in map(_shipped, shipped_models())}
    stored = QueryBuilder().append(ModelData).order_by({ModelData: {'id': 'asc'}}).all(flat=True)
    for node in stored:
        before = known.get(node.content_hash, Known(node.card, node.content_hash))
        known[node.content_hash] = before._replace(pks=[*before.pks, node.pk])
    if not known:
        echo.echo('no models; store one with `aiida-goectp model import FILE`')
        return
    show_table(model_table(list(known.values())))
    if any(item.ships and not item.pks for item in known.values()):
        echo.echo('a model that ships is stored by `aiida-goectp model install NAME`, or when it is used first')


def _shipped(name: str) -> Known:
    from aiida_goectp.cli.views.models import Known
    from aiida_goectp.core.formats.model_card import model_hash, read_card, resolve_model

    path = resolve_model(name)
    return Known(read_card(path), model_hash(path), ships=True)


@model.command('show')
@click.argument('which', metavar='MODEL', type=_AnyModel())
@decorators.with_dbenv()
def model_show(which: Any) -> None:
    """Print the card of MODEL: what it was trained on, how good it is, and how well it knows that.

    MODEL is a node, or the name of a shipped model.
    """
    from aiida_goectp.cli.views.models import Known, show_card

    if isinstance(which, str):
        from aiida_goectp.data.model import ModelData

        known = _shipped(which)
        node = ModelData.find(known.content_hash)
        show_card(known._replace(pks=[node.pk] if node is not None and node.pk else []))
    else:
        show_card(Known(which.card, which.content_hash, [which.pk]))


@model.command('install')
@click.argument('names', nargs=-1, metavar='[NAME]...')
@decorators.with_dbenv()
def model_install(names: tuple[str, ...]) -> None:
    """Store shipped models in the profile, all of them if none is named; a model is stored only once."""
    from aiida_goectp.core.formats.model_card import resolve_model, shipped_models

    unknown = [name for name in names if name not in shipped_models()]
    if unknown or not shipped_models():
        listed = ', '.join(shipped_models()) or 'none'
        raise click.BadParameter(
            f'{", ".join(unknown)}: no such shipped model; there are: {listed}. A file is stored by '
            '`aiida-goectp model import FILE`',
            param_hint='NAME',
        )
    for name in names or shipped_models():
        _store(resolve_model(name))


@model.command('import')
@click.argument('path', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    '--target',
    type=click.Choice(['electronic', 'ionic', 'total']),
    help="PATH is a checkpoint of the authors' code, trained on this part.",
)
@click.option('--name', help='Of the imported checkpoint; the name of the file if not given.')
@decorators.with_dbenv()
def model_import(path: Path, target: str | None, name: str | None) -> None:
    """Store the model file PATH; the same model is stored only once.

    A checkpoint that was trained with the authors' code is taken as well, with --target. Tensors are read from it and
    nothing else; a file that holds more is refused.
    """
    from aiida_goectp.core.formats.npz import FormatError

    try:
        if target is None:
            if name is not None:
                raise click.UsageError('--name goes with --target: a model file has its name in its card')
            _refuse_checkpoint(path)
            _store(path)
            return
        with TemporaryDirectory() as folder:
            converted = Path(folder) / 'model.safetensors'
            from aiida_goectp.core.network.imports import import_published

            import_published(path, converted, target, name or path.stem)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            _store(converted, f'imported from the checkpoint {path.name}, sha256 {digest}')
    except FormatError as error:
        raise click.BadParameter(str(error), param_hint='PATH') from error


def _refuse_checkpoint(path: Path) -> None:
    """Say what to do with a checkpoint of torch: a zip archive, or a bare pickle of protocol 2 and above."""
    with path.open('rb') as stream:
        beginning = stream.read(4)
    if beginning == b'PK\x03\x04' or beginning[:1] == b'\x80':
        raise click.UsageError(
            f"{path} looks like a checkpoint of torch, not like a model of this package; if the authors' code wrote "
            'it, say what that network was trained on: --target electronic, ionic or total'
        )


def _store(path: Path, description: str = '') -> ModelData:
    """Store a model file unless it has been, and say which of the two it was."""
    from aiida_goectp.core.formats.model_card import model_hash
    from aiida_goectp.data.model import ModelData

    there = ModelData.find(model_hash(path))
    if there is not None:
        echo.echo_report(f'model node {there.pk} holds it already: {there.card.name}, {there.content_hash[:10]}')
        return there
    node = ModelData(path)
    node.description = description
    node.store()
    echo.echo_success(f'model node {node.pk}: {node.card.name}, {node.content_hash[:10]}')
    return node


@model.command('export')
@click.argument('which', metavar='MODEL', type=_AnyModel())
@click.option(
    '-o', '--output', type=click.Path(dir_okay=False, path_type=Path), help='File to write; NAME.safetensors.'
)
@options.FORCE(help='Overwrite the file if it is there.')
@decorators.with_dbenv()
def model_export(which: Any, output: Path | None, force: bool) -> None:
    """Write MODEL to a file, which `goectp predict --model FILE` and `aiida-goectp model import` read.

    MODEL is a node, or the name of a shipped model.
    """
    from aiida_goectp.core.formats.model_card import resolve_model

    if isinstance(which, str):
        name, content = which, resolve_model(which).read_bytes()
    else:
        name, content = which.card.name, which.content
    path = output or Path(f'{_plain(name)}.safetensors')
    if path.exists() and not force:
        raise click.BadParameter(f'{path} is there already; overwrite it with --force', param_hint='--output')
    path.write_bytes(content)
    echo.echo_success(f'wrote {path}')


def _plain(name: str) -> str:
    """Return a name that is one of a file here, whatever a card from outside says."""
    return ''.join(char if char.isalnum() or char in '-_.' else '_' for char in name).lstrip('.') or 'model'
