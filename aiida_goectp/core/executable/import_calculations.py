"""``goectp import-calculations``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_goectp.core.executable.options import (
    functional_option,
    output_option,
    quiet_option,
    unnamed_functional_option,
)
from aiida_goectp.core.executable.output_lock import locked_output
from aiida_goectp.core.executable.status import Status, record_errors
from aiida_goectp.core.formats.functionals import UNKNOWN
from aiida_goectp.core.formats.output_format import RAW, json_option, output_format
from aiida_goectp.core.formats.storage import replacing
from aiida_goectp.core.formats.terminal import echo, json_text

__all__ = ('import_calculations',)


@click.command('import-calculations')
@click.argument(
    'folders', nargs=-1, required=True, metavar='FOLDER…', type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@output_option(required=True, help='Dataset to write (.npz), which `goectp train` reads.')
@click.option(
    '--recursive/--no-recursive', default=True, show_default=True, help='Read also calculations in subfolders.'
)
@functional_option('calculations whose files')
@unnamed_functional_option
@click.option('--join', is_flag=True, help='Keep equal crystals of one functional once.')
@json_option('Print the report as one JSON object.')
@RAW
@quiet_option
def import_calculations(folders: tuple[Path, ...], output: Path, **options: Any) -> None:
    """Make a dataset of the finished DFPT calculations in FOLDERs, one row a calculation.

    Recognised are runs of VASP (vasprun.xml, OUTCAR), of pw.x and ph.x at Γ, and phonopy sets (FORCE_SETS or
    FORCE_CONSTANTS, with BORN), compressed or not. Calculations without label are listed with the reason.

    Exit status: 0 finished, 2 no calculation gives a row, 73 output cannot be written.
    """
    from aiida_goectp.core.datasets.calculations import import_calculations as read
    from aiida_goectp.core.formats.errors import FormatError

    # a dataset within the folders is that of an earlier run, not an input
    inputs = (file for folder in folders for file in folder.rglob('*') if file.is_file() and file.suffix != '.npz')
    with locked_output(output, inputs if output.exists() else ()), record_errors(Status(None)):
        data, report = read(
            folders,
            recursive=options['recursive'],
            functional=options['functional'] or UNKNOWN,
            unnamed_functional=options['unnamed_functional'],
            join=options['join'],
        )
        if output_format() == 'json':
            echo(json_text(report))
        elif output_format() == 'raw':
            _echo_raw(report)
        elif not options['quiet']:
            _echo_report(report)
        if not len(data):
            raise FormatError(f'{", ".join(map(str, folders))}: no calculation gives a row; the reasons are above')
        with replacing(output) as stream:
            data.save(stream)
        if not options['quiet'] and output_format() is None:
            echo(f'{output}: {report["rows"]} rows, {report["trainable"]} trainable')


def _echo_report(report: dict[str, Any]) -> None:
    for item in report['imported']:
        reason = f' ({item["reason"]})' if item['reason'] else ''
        given = '' if item['functional'] == item['stated'] else f' (given; in the files: {item["stated"]})'
        echo(f'{item["id"]}: {item["program"]}, {item["functional"]}{given}, {item["label"]}{reason}')
    for item in report['refused']:
        echo(f'not imported, {item["code"]}: {item["message"]}')
    for item in report['duplicates']:
        what = 'left out, equal to' if report['joined'] else 'the same crystal as'
        echo(f'{item["other"]}: {what} {item["kept"]}')


def _echo_raw(report: dict[str, Any]) -> None:
    """Print one line a calculation: imported, refused or duplicate, and its values."""
    from aiida_goectp.core.formats.text_tables import make_table, show_table

    names = {
        'imported': ('id', 'program', 'functional', 'stated', 'label', 'reason'),
        'refused': ('code', 'message'),
        'duplicates': ('other', 'kept'),
    }
    for kind, columns in names.items():
        lines = [[kind, *(item[name] for name in columns)] for item in report[kind]]
        show_table(make_table(kind, ['', *columns], lines))
