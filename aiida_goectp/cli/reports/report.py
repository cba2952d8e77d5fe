"""``aiida-goectp report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli.options import FORCE, check_overwrite, write_output
from aiida_goectp.cli.params import NodeParam

__all__ = ('report',)


@click.command()
@click.argument('node', type=NodeParam())
@click.option(
    '--html',
    'path',
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help='HTML file to write; - is standard output.  [default: report-PK.html]',
)
@FORCE
@decorators.with_dbenv()
def report(node: Any, path: Path | None, force: bool) -> None:
    """Write a screen, verification or campaign as HTML page.

    NODE is the PK, UUID or label of the process, or of one of its outputs. The page shows the question, the candidates
    with their tensors and structures, DFPT results, rounds and cost, what failed, provenance, and settings. It needs
    no network.
    """
    from aiida_goectp.report.page import report_html

    target = path or Path(f'report-{node.pk}.html')
    check_overwrite(target, force, '--html')
    try:
        content = report_html(node)
    except ImportError as error:
        raise click.UsageError(f"{error.name} is missing; run: pip install 'aiida-goectp[report]'") from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    write_output(target, content.encode(), force)
