"""Groups of commands whose modules are imported when a command runs, so that help and completion are fast."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

__all__ = ('LazyCommand', 'LazyGroup')


class LazyCommand(NamedTuple):
    """A command that is not imported yet."""

    place: str
    """module and attribute, ``package.module:attribute``"""
    summary: str
    """first line of its help"""


class LazyGroup(click.Group):
    """Group of commands that are imported when they are needed.

    :param lazy_commands: name → command, in the order of the help
    """

    def __init__(self, *arguments: Any, lazy_commands: Mapping[str, LazyCommand], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.lazy_commands = lazy_commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.lazy_commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in self.lazy_commands and cmd_name not in self.commands:
            module, _, attribute = self.lazy_commands[cmd_name].place.partition(':')
            self.add_command(getattr(import_module(module), attribute), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write names and summaries of the commands, without their import."""
        with formatter.section('Commands'):
            formatter.write_dl([(name, command.summary) for name, command in self.lazy_commands.items()])
