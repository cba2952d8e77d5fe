"""Messages of the commands, as those of ``verdi``, made printable by :mod:`aiida_goectp.core.formats.terminal`."""

from __future__ import annotations

import logging
import sys
from typing import Any, NoReturn

import click
from aiida.cmdline.groups import VerdiCommandGroup
from aiida.cmdline.utils import echo as verdi
from aiida.cmdline.utils.log import CliHandler

from aiida_goectp.core.formats import terminal
from aiida_goectp.core.formats.output_format import output_format
from aiida_goectp.core.formats.terminal import CleanErrorsMixin, json_pieces, printable

__all__ = (
    'CommandGroup',
    'echo',
    'echo_critical',
    'echo_json',
    'echo_report',
    'echo_success',
    'echo_warning',
    'output_format',
)


_OF_BUILDER = 'invalid attribute value '
"""before each message of a validator in the builders of AiiDA"""


class CommandGroup(CleanErrorsMixin, VerdiCommandGroup):
    """Group of commands as those of ``verdi``."""

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command; without any profile, the message states what to type."""
        verdi.CMDLINE_LOGGER.addFilter(_explain_missing_profile)
        handle_error = CliHandler.handleError
        CliHandler.handleError = _raise_broken_pipe  # type: ignore[assignment, method-assign]
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = error.message.removeprefix(_OF_BUILDER)
            raise
        finally:
            verdi.CMDLINE_LOGGER.removeFilter(_explain_missing_profile)
            CliHandler.handleError = handle_error  # type: ignore[method-assign]


def _raise_broken_pipe(handler: logging.Handler, record: logging.LogRecord) -> None:
    """End the command if the reader of its output has ended, as `head` does: click exits then without a message.

    The handler of AiiDA prints a traceback for each message after that.
    """
    if isinstance(sys.exc_info()[1], BrokenPipeError):
        raise
    logging.Handler.handleError(handler, record)


def _explain_missing_profile(record: logging.LogRecord) -> bool:
    """Replace the message of AiiDA, a dump of its configuration, which arguments and commands print alike."""
    if 'no default profile defined' in str(record.msg):
        from aiida.manage import get_config

        record.msg = (
            f'there is no AiiDA profile in {printable(get_config().dirpath)}. '
            'In a clone of the repository, after `make quickstart`, type\n'
            '  source .venv/bin/activate\n'
            '  export AIIDA_PATH=$PWD/.aiida\n'
            'Elsewhere create a profile: verdi presto'
        )
    return True


def echo(text: object = '', *, keep: str = '') -> None:
    """Print text; with ``--json`` or ``--raw`` to standard error.

    :param keep: characters that are printed as they are
    """
    terminal.echo(text, err=output_format() is not None, keep=keep)


def echo_json(content: Any) -> None:
    """Print plain data as JSON."""
    for piece in json_pieces(content, 2):
        click.echo(piece, nl=False)
    click.echo()


def echo_report(message: object) -> None:
    """Print a message about the progress to standard error."""
    verdi.echo_report(printable(message), err=True)


def echo_success(message: object) -> None:
    """Print what was done."""
    verdi.echo_success(printable(message), err=output_format() is not None)


def echo_warning(message: object) -> None:
    """Print a warning to standard error."""
    verdi.echo_warning(printable(message, keep='\n'), err=True)


def echo_critical(message: object) -> NoReturn:
    """Print an error and exit with status 1."""
    verdi.echo_critical(printable(message, keep='\n'))
