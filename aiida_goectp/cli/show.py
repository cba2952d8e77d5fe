"""``aiida-goectp show``."""

from __future__ import annotations

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli.options import JSON, RAW, ROWS
from aiida_goectp.cli.params import NodeParam

__all__ = ('show',)


@click.command()
@click.argument('node', type=NodeParam())
@ROWS
@JSON
@RAW
@decorators.with_dbenv()
def show(node: object, rows: int) -> None:
    """Show the content of a node, or the progress of a work chain.

    NODE is the PK, UUID or label of crystals, a dataset, a model, predictions, a ranking, picks, a selection, a
    dielectric response, gate results, metrics, or a process of this package.
    """
    from aiida_goectp.cli.views.nodes import print_node

    print_node(node, rows)
