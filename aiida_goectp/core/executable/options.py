"""Options that the commands which write a model share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ('card_options',)

_Command = TypeVar('_Command', bound=Callable[..., Any])


def card_options(what: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds the options for the card.

    :param what: what is named, in its help
    """

    def add(command: _Command) -> _Command:
        for option in (
            *(click.option(f'--{name}', default='', help='For the card.') for name in ('notes', 'citation', 'licence')),
            click.option('--functional', help='Functional of the rows that do not say theirs.'),
            click.option('--name', help=f'Name of the {what}, for its card.'),
        ):
            command = option(command)
        return command

    return add
