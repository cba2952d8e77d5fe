"""``aiida-goectp doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.options import JSON, RAW
from aiida_goectp.cli.params import FILE, GoectpCodeParam

__all__ = ('doctor',)


@click.command()
@click.argument('config', metavar='[CONFIG]', required=False, type=FILE)
@click.option(
    '--code',
    'codes',
    multiple=True,
    type=GoectpCodeParam(),
    help='Code of goectp to test; may be given several times.  [default: all codes of goectp]',
)
@click.option(
    '--prediction/--no-prediction',
    default=True,
    show_default=True,
    help='Predict a crystal of two atoms with each code, in a job whose nodes are stored, or not.',
)
@JSON
@RAW
@decorators.with_dbenv()
def doctor(config: Path | None, codes: tuple[Any, ...], prediction: bool) -> None:
    """Check profile, daemon, computers, codes and potentials.

    Each code of goectp predicts a crystal on its computer; the result states the device. Pseudopotentials and disk
    space are checked as well. With the configuration of a campaign, CONFIG, its codes and inputs are checked, and the
    input files of a prediction and a training are written to a temporary folder. Each failure is printed with what to
    do. Exit status: 0 if nothing failed, 1 otherwise.
    """
    from aiida_goectp.cli.doctor.checks import FAILED, all_checks
    from aiida_goectp.core.formats.text_tables import make_table, show_table

    checks = []
    for check in all_checks(codes, config, prediction):
        echo.echo_report(f'{check.subject}: {check.result}')
        checks.append(check)
    if echo.output_format() == 'json':
        echo.echo_json([check._asdict() for check in checks])
    else:
        columns = ['check', 'result', 'found', 'what to do']
        show_table(make_table('Installation', columns, checks, 4, optional=('what to do',)))
    if failed := [check.subject for check in checks if check.result == FAILED]:
        echo.echo_critical(f'{len(failed)} of {len(checks)} checks failed: {", ".join(failed)}')
    echo.echo_success(f'{len(checks)} checks, none failed')
