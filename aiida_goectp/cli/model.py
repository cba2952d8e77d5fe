"""``aiida-goectp model``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.options import FORCE, JSON, OUTPUT, RAW, write_output
from aiida_goectp.cli.params import FILE, TENSOR_PART, ModelOrPathParam

if TYPE_CHECKING:
    from aiida_goectp.cli.views.models import ModelEntry

__all__ = ('model',)


@click.group('model', cls=echo.CommandGroup)
def model() -> None:
    """List, show, import and export models."""


@model.command('list')
@JSON
@RAW
@decorators.with_dbenv()
def model_list() -> None:
    """List shipped and stored models with their errors."""
    from aiida.orm import QueryBuilder

    from aiida_goectp.cli.views.models import ModelEntry, model_table
    from aiida_goectp.core.formats.model_card import resolve_model, shipped_models
    from aiida_goectp.core.formats.text_tables import show_table
    from aiida_goectp.data.model import ModelData

    models = {entry.content_hash: entry for entry in map(_entry_of_file, map(resolve_model, shipped_models()))}
    stored = QueryBuilder().append(ModelData).order_by({ModelData: {'id': 'asc'}}).all(flat=True)
    for node in stored:
        entry = models.get(node.content_hash, ModelEntry(node.card, node.content_hash))
        models[node.content_hash] = entry._replace(pks=[*entry.pks, node.pk])
    if echo.output_format() == 'json':
        echo.echo_json([_plain(entry) for entry in models.values()])
        return
    if not models:
        echo.echo('no model is stored; store one with `aiida-goectp model import FILE`')
        return
    show_table(model_table(list(models.values())))
    if any(entry.ships and not entry.pks for entry in models.values()):
        echo.echo('shipped models are stored when first used, or with `aiida-goectp model install NAME`')


def _entry_of_file(path: Path) -> ModelEntry:
    from aiida_goectp.cli.views.models import ModelEntry
    from aiida_goectp.core.formats.model_card import model_hash, read_card, resolve_model, shipped_models

    ships = path in map(resolve_model, shipped_models())
    return ModelEntry(read_card(path), model_hash(path), ships=ships)


@model.command('show')
@click.argument('which', metavar='MODEL', type=ModelOrPathParam())
@JSON
@RAW
@decorators.with_dbenv()
def model_show(which: Any) -> None:
    """Print the model card of MODEL.

    The card contains training data, settings, metrics and calibration. MODEL is a node, the name of a shipped model, or
    a model file.
    """
    from aiida_goectp.cli.views.models import ModelEntry, show_card
    from aiida_goectp.data.model import ModelData

    if isinstance(which, Path):
        entry = _entry_of_file(which)
        node = ModelData.find(entry.content_hash)
        entry = entry._replace(pks=[node.pk] if node is not None and node.pk else [])
    else:
        entry = ModelEntry(which.card, which.content_hash, [which.pk])
    if echo.output_format() == 'json':
        echo.echo_json(_plain(entry))
    else:
        show_card(entry)


def _plain(entry: ModelEntry) -> dict[str, Any]:
    """Return hash, PKs and card of a model as plain data."""
    card = entry.card.model_dump(mode='json')
    return {'hash': entry.content_hash, 'pks': list(entry.pks), 'shipped': entry.ships, 'card': card}


@model.command('install')
@click.argument('names', nargs=-1, metavar='[NAME]...')
@JSON
@RAW
@decorators.with_dbenv()
def model_install(names: tuple[str, ...]) -> None:
    """Store shipped models in the profile.

    Without NAME, all models are stored. A model that is stored is not stored again.
    """
    from aiida_goectp.core.formats.model_card import resolve_model, shipped_models

    unknown = [name for name in names if name not in shipped_models()]
    if unknown or not shipped_models():
        raise click.BadParameter(
            f'{", ".join(unknown)}: unknown shipped model; available: {", ".join(shipped_models()) or "none"}. Store a '
            'file with `aiida-goectp model import FILE`',
            param_hint='NAME',
        )
    from aiida_goectp.cli.views.node_content import node_identity, print_items

    nodes = [_store(resolve_model(name)) for name in names or shipped_models()]
    print_items([{**node_identity(node), 'hash': node.content_hash} for node in nodes])


@model.command('import')
@click.argument('path', type=FILE)
@click.option(
    '--target',
    type=TENSOR_PART,
    help='PATH is a checkpoint of the published GoeCTP code, trained on this tensor.',
)
@click.option('--name', help='Name of the model from a published checkpoint.  [default: name of the file]')
@JSON
@RAW
@decorators.with_dbenv()
def model_import(path: Path, target: str | None, name: str | None) -> None:
    """Store the model file PATH.

    A model that is stored is not stored again. With --target, PATH is a checkpoint of the published GoeCTP code. Only
    tensors are read from it; a file with other content is refused.
    """
    from aiida_goectp.core.formats.errors import FormatError

    try:
        if target is None:
            if name is not None:
                raise click.UsageError('--name requires --target; a model file contains its name')
            _refuse_checkpoint(path)
            _print_stored(path)
            return
        from aiida_goectp.core.network.imports import import_published

        with TemporaryDirectory() as folder:
            converted = Path(folder) / 'model.safetensors'
            import_published(path, converted, target, name or path.stem)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            _print_stored(converted, f'imported from the checkpoint {path.name}, sha256 {digest}')
    except FormatError as error:
        raise click.BadParameter(str(error), param_hint='PATH') from error


def _refuse_checkpoint(path: Path) -> None:
    """Refuse a checkpoint of torch: a zip archive, or a pickle of protocol 2 or later.

    A model file begins with the length of its header, of which any byte may be that of a pickle, and the header.

    :raises click.UsageError: the file is one
    """
    with path.open('rb') as stream:
        start = stream.read(9)
    if start[8:] != b'{' and (start[:4] == b'PK\x03\x04' or start[:1] == b'\x80'):
        raise click.UsageError(
            f'{path} is a checkpoint of torch, not a model file of this package; for a checkpoint of the published '
            'GoeCTP code, give the tensor it was trained on: --target electronic, ionic or total'
        )


def _print_stored(path: Path, description: str = '') -> None:
    from aiida_goectp.cli.views.node_content import print_identity

    node = _store(path, description)
    print_identity(node, hash=node.content_hash)


def _store(path: Path, description: str = '') -> Any:
    """Store a model file unless it is stored, report the node, and return it."""
    from aiida_goectp.core.formats.model_card import model_hash
    from aiida_goectp.data.model import ModelData

    stored = ModelData.find(model_hash(path))
    if stored is not None:
        echo.echo_report(f'model node {stored.pk} is already stored: {stored.card.name}, {stored.content_hash[:10]}')
        return stored
    node = ModelData(path)
    node.description = description
    node.store()
    echo.echo_success(f'model node {node.pk}: {node.card.name}, {node.content_hash[:10]}')
    return node


@model.command('export')
@click.argument('which', metavar='MODEL', type=ModelOrPathParam())
@OUTPUT(help='File to write; - is standard output.  [default: NAME.safetensors]')
@FORCE
@decorators.with_dbenv()
def model_export(which: Any, output: Path | None, force: bool) -> None:
    """Write MODEL to a file.

    `goectp predict --model FILE` and `aiida-goectp model import` read the file. MODEL is a node, the name of a shipped
    model, or a model file.
    """
    if isinstance(which, Path):
        name, content = which.stem, which.read_bytes()
    else:
        name, content = which.card.name, which.content
    # the name in a card may contain path separators
    stem = ''.join(char if char.isalnum() or char in '-_.' else '_' for char in name).lstrip('.') or 'model'
    write_output(output or Path(f'{stem}.safetensors'), content, force)
