"""``aiida-goectp show``."""

from __future__ import annotations

import click
from aiida.cmdline.params.types import NodeParamType
from aiida.cmdline.utils import decorators

__all__ = ('show',)


@click.command()
@click.argument('node', type=NodeParamType())
@click.option('-n', '--rows', default=20, show_default=True, type=click.IntRange(min=1), help='Rows of a table.')
@decorators.with_dbenv()
def show(node: object, rows: int) -> None:
    """Show what a node holds, or how a work chain is getting on.

    NODE is the PK, UUID or label of crystals, a dataset, a model, predictions, a ranking, picks, a selection, a
    dielectric response, its quality, metrics, or a work chain of this package.
    """
    from aiida_goectp.cli.views.nodes import show_node

    show_node(node, rows)
