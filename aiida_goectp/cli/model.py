"""``aiida-goectp model``."""

from __future__ import annotations

import click
from aiida.cmdline.groups import VerdiCommandGroup
from aiida.cmdline.utils import decorators, echo

__all__ = ('model',)


@click.group('model', cls=VerdiCommandGroup)
def model() -> None:
    """Models that are stored in the profile, or ship with the package."""


@model.command('list')
@decorators.with_dbenv()
def model_list() -> None:
    """List the stored models, and those that ship and are not stored yet."""
    from aiida.orm import QueryBuilder

    from aiida_goectp.cli.tables import model_table, show_table
    from aiida_goectp.data.model import ModelData
    from aiida_goectp.modelcard import model_hash, resolve_model, shipped_models

    stored = QueryBuilder().append(ModelData).order_by({ModelData: {'id': 'asc'}}).all(flat=True)
    if stored:
        show_table(model_table(stored))
    hashes = {node.content_hash for node in stored}
    missing = [name for name in shipped_models() if model_hash(resolve_model(name)) not in hashes]
    if missing:
        echo.echo(f'not stored yet: {", ".join(missing)}; `aiida-goectp setup` stores them')
    if not stored and not missing:
        echo.echo('no models; store one with `aiida-goectp model import FILE`')


@model.command('import')
@click.argument('path', type=click.Path(exists=True, dir_okay=False))
@decorators.with_dbenv()
def model_import(path: str) -> None:
    """Store the model file PATH; the same model is stored only once."""
    from aiida_goectp.data.model import ModelData
    from aiida_goectp.npzfile import FormatError

    try:
        node = ModelData.get_or_create(path)
    except FormatError as error:
        raise click.BadParameter(str(error), param_hint='PATH') from error
    echo.echo_success(f'model node {node.pk}: {node.card.name}, {node.content_hash[:10]}')
