"""``aiida-goectp graph``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli.options import FORCE, OUTPUT, check_overwrite, write_output
from aiida_goectp.cli.params import NodeParam

__all__ = ('graph',)


@click.command()
@click.argument('node', type=NodeParam())
@OUTPUT(help='SVG file to write; - is standard output.  [default: graph-PK.svg]')
@FORCE
@decorators.with_dbenv()
def graph(node: Any, output: Path | None, force: bool) -> None:
    """Draw the provenance of a process or of a data node.

    The graph shows the data and the processes that lead to the outputs of NODE, or to NODE itself. Processes are
    single boxes with all that they call; equal steps are one box.
    """
    from aiida_goectp.report.provenance import provenance_svg

    path = output or Path(f'graph-{node.pk}.svg')
    if path.suffix != '.svg' and str(path) != '-':
        raise click.BadParameter(f'{path}: unknown file type; allowed: .svg', param_hint='--output')
    check_overwrite(path, force)
    try:
        content = provenance_svg(node)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    write_output(path, content.encode(), force)
