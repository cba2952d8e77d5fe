"""Options ``--json`` and ``--raw`` of both command lines: data on standard output, messages on standard error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ('RAW', 'json_option', 'output_format')

_OUTPUT_FORMAT = 'aiida_goectp.output_format'
"""key of the context of a command with the format that its options ask for"""


def output_format() -> str | None:
    """Return ``json`` or ``raw`` if that option is given; then standard output contains data only."""
    context = click.get_current_context(silent=True)
    found: str | None = None if context is None else context.meta.get(_OUTPUT_FORMAT)
    return found


def _set_format(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    name = str(parameter.name)
    if not value:
        return
    if context.meta.get(_OUTPUT_FORMAT, name) != name:
        raise click.UsageError('give either --json or --raw')
    context.meta[_OUTPUT_FORMAT] = name


def json_option(help: str) -> Callable[..., Any]:
    """Return the option ``--json``."""
    return click.option('--json', is_flag=True, expose_value=False, callback=_set_format, help=help)


RAW = click.option(
    '--raw',
    is_flag=True,
    expose_value=False,
    callback=_set_format,
    help='Print only the cells of tables, separated by tabs, messages to stderr.',
)
