"""Messages of the commands, as those of ``verdi``, made printable by :mod:`aiida_goectp.core.formats.terminal`."""

from __future__ import annotations

from typing import NoReturn

from aiida.cmdline.groups import VerdiCommandGroup
from aiida.cmdline.utils import echo as verdi

from aiida_goectp.core.formats.terminal import CleanErrorsMixin, echo, printable

__all__ = ('CommandGroup', 'echo', 'echo_critical', 'echo_report', 'echo_success', 'echo_warning')


class CommandGroup(CleanErrorsMixin, VerdiCommandGroup):
    """Group of commands as those of ``verdi``."""


def echo_report(message: object) -> None:
    """Print a message about the progress."""
    verdi.echo_report(printable(message))


def echo_success(message: object) -> None:
    """Print what was done."""
    verdi.echo_success(printable(message))


def echo_warning(message: object) -> None:
    """Print a warning."""
    verdi.echo_warning(printable(message, keep='\n'))


def echo_critical(message: object) -> NoReturn:
    """Print an error and exit with status 1."""
    verdi.echo_critical(printable(message, keep='\n'))
