"""Options that several commands share, and functions that use their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from aiida.cmdline.params import options

from aiida_goectp.cli import echo
from aiida_goectp.cli.params import GoectpCodeParam, ModelParam
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.names import DEFAULT_MODEL
from aiida_goectp.core.formats.output_format import RAW, json_option
from aiida_goectp.core.formats.storage import replacing
from aiida_goectp.core.formats.terminal import write_bytes

__all__ = (
    'ACCOUNT',
    'FORCE',
    'JSON',
    'LABEL',
    'MODEL',
    'OUTPUT',
    'PROTOCOL',
    'QUEUE',
    'RAW',
    'ROWS',
    'TABLE_FORMATS',
    'THRESHOLDS',
    'WALL_TIME',
    'check_overwrite',
    'export_format',
    'format_option',
    'job_options',
    'parse_json_settings',
    'parse_thresholds',
    'run_or_submit',
    'scheduler_options',
    'write_output',
)

ROWS = click.option(
    '-n', '--rows', default=20, show_default=True, type=click.IntRange(min=1), help='Maximum number of rows per table.'
)


JSON = json_option('Print all data as JSON, messages to stderr.')
MODEL = click.option(
    '--model',
    type=ModelParam(),
    default=DEFAULT_MODEL,
    show_default=True,
    help='Model node, shipped model or model file.',
)
LABEL = click.option('--label', default='', help='Label of the new node.')
OUTPUT = options.OverridableOption(
    '-o',
    '--output',
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help='File to write; - is standard output.',
)
FORCE = options.FORCE(help='Overwrite an existing file.')
PROTOCOL = click.option('--protocol', help='Protocol: fast, balanced (default) or stringent.')
QUEUE = click.option('--queue', help='Queue or partition of the scheduler.')
ACCOUNT = click.option('--account', help='Account that the scheduler charges.')
WALL_TIME = click.option('--wall-time', type=click.IntRange(min=60), help='Time limit of a job in seconds.')

TABLE_FORMATS = ('npz', 'json', 'csv')
"""of exports of predictions, rankings and picks, the native one first"""

THRESHOLDS = click.option(
    '--threshold',
    'thresholds',
    type=(str, str),
    multiple=True,
    metavar='GATE NUMBER',
    help="Override a quality-gate threshold; 'off' disables it. May be given several times.",
)


def run_or_submit(run: bool = True) -> Callable[..., Any]:
    """Return the option ``--run/--submit``.

    :param run: default value
    """
    return click.option(
        '--run/--submit',
        default=run,
        help=f'Run in this process and wait, or submit to the daemon.  [default: {"run" if run else "submit"}]',
    )


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of jobs of the executable goectp: code, protocol, device, resources, label, run or submit."""
    shared = (
        click.option('--code', type=GoectpCodeParam(), is_eager=True, help='Code to run.  [default: goectp@localhost]'),
        PROTOCOL,
        click.option('--device', help='Device: auto, cpu, cuda or cuda:N.'),
        click.option('--gpus', type=click.IntRange(min=0), default=0, help='GPUs to request per job.'),
        QUEUE,
        ACCOUNT,
        WALL_TIME,
        click.option('--label', default='', help='Label of the work chain.'),
        run_or_submit(),
        JSON,
        RAW,
    )
    for option in reversed(shared):
        command = option(command)
    return command


def scheduler_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``metadata.options`` of a job.

    :param values: values of ``queue``, ``account`` and ``wall_time``, None where not given
    """
    names = {'queue_name': 'queue', 'account': 'account', 'max_wallclock_seconds': 'wall_time'}
    return {name: values[option] for name, option in names.items() if values[option] is not None}


def parse_json_settings(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the values of ``--set NAME JSON``.

    :raises click.UsageError: invalid JSON
    """
    settings = {}
    for name, text in pairs:
        try:
            settings[name] = parse_json(text)
        except FormatError as error:
            raise click.UsageError(f'--set {name}: invalid JSON ({error}); quote strings: \'"text"\'') from error
    return settings


def parse_thresholds(pairs: Iterable[tuple[str, str]]) -> dict[str, float | None]:
    """Return the values of ``--threshold GATE NUMBER``, None for a gate that is off.

    :raises click.UsageError: an unknown gate, or neither a number nor off
    """
    from aiida_goectp.core.dielectric.gates import check_thresholds

    thresholds: dict[str, float | None] = {}
    for name, text in pairs:
        try:
            thresholds[name] = None if text == 'off' else float(text)
        except ValueError as error:
            raise click.UsageError(f"--threshold {name}: invalid value {text!r}; give a number or 'off'") from error
    try:
        check_thresholds(thresholds)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return thresholds


def format_option(formats: Sequence[str]) -> Callable[..., Any]:
    """Return the option ``--format`` of an export.

    :param formats: suffixes of files; see :func:`export_format`
    """
    return click.option(
        '-F',
        '--format',
        'file_format',
        type=click.Choice(formats),
        help=f'Format of the file.  [default: that of the name of --output, else {formats[0]}]',
    )


def export_format(given: str | None, output: Path | None, formats: Sequence[str]) -> str:
    """Return the format of an export: that of ``--format``, else that of the file name, else the first.

    :param output: file to write; None or ``-`` has no suffix
    :raises click.BadParameter: a file name with the suffix of another format
    """
    suffix = '' if output is None else output.suffix.lower().removeprefix('.')
    if given is None and suffix and suffix not in formats:
        allowed = ', '.join(f'.{name}' for name in formats)
        raise click.BadParameter(
            f'{output}: unknown file type; allowed: {allowed} (an export takes any name with --format)',
            param_hint='--output',
        )
    return given or suffix or formats[0]


def check_overwrite(path: Path, force: bool, param_hint: str = '--output') -> None:
    """Check that a file does not exist, or may be overwritten.

    :raises click.BadParameter: the file exists and ``force`` is false
    """
    if path.exists() and not force:
        raise click.BadParameter(f'{path} exists; overwrite it with --force', param_hint=param_hint)


def write_output(path: Path, content: bytes | Iterable[bytes], force: bool) -> None:
    """Write a file, in a new folder if need be, and report its path; the path ``-`` is standard output.

    A file is written completely or not at all: after an error an old one is left as it is.

    :param content: whole, or consecutive pieces, which are computed as they are written
    :raises click.BadParameter: the file exists and ``force`` is false
    :raises StorageError: the file cannot be written
    """
    pieces = [content] if isinstance(content, bytes) else content
    if str(path) == '-':
        for piece in pieces:
            write_bytes(piece)
        return
    check_overwrite(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()  # a link stays one
    special = target.exists() and not target.is_file()  # a pipe or a device cannot be replaced
    with target.open('wb') if special else replacing(target, sync=False) as stream:
        stream.writelines(pieces)
    echo.echo_success(f'wrote {path}')
