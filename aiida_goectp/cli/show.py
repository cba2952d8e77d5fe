"""``aiida-goectp show``."""

from __future__ import annotations

import click
from aiida.cmdline.params.types import NodeParamType
from aiida.cmdline.utils import decorators

from aiida_goectp.cli.options import ROWS

__all__ = ('show',)


@click.command()
@click.argument('node', type=NodeParamType())
@ROWS
@decorators.with_dbenv()
def show(node: object, rows: int) -> None:
    """Show the content of a node, or the progress of a work chain.

    NODE is the PK, UUID or label of crystals, a dataset, a model, predictions, a ranking, picks, a selection, a
    dielectric response, gate results, metrics, or a process of this package.
    """
    from aiida_goectp.cli.views.nodes import show_node

    show_node(node, rows)
