"""Entry point of the executable ``goectp``, whose commands are imported when they run, and torch when they need it."""

from __future__ import annotations

import click

from aiida_goectp import __version__
from aiida_goectp.core.formats.lazy_commands import LazyCommand, LazyGroup
from aiida_goectp.core.formats.terminal import CleanErrorsMixin

__all__ = ('main',)

_ROOM = 'aiida_goectp.core.executable'
_COMMANDS = {
    'predict': LazyCommand(f'{_ROOM}.predict:predict', 'Predict the dielectric tensors of all crystals of INPUT.'),
    'prepare': LazyCommand(f'{_ROOM}.prepare:prepare', 'Prepare the crystals of INPUT for later predictions.'),
    'train': LazyCommand(f'{_ROOM}.train:train', 'Train a model, or a committee, on labelled crystals.'),
    'join': LazyCommand(
        f'{_ROOM}.join:join',
        'Join separately trained models to one committee of all their members, in the given order.',
    ),
    'import-calculations': LazyCommand(
        f'{_ROOM}.import_calculations:import_calculations',
        'Make a dataset of the finished DFPT calculations in FOLDERs, one row a calculation.',
    ),
    'info': LazyCommand(
        f'{_ROOM}.info:info',
        'Describe a MODEL (a file, or the name of a shipped model); without one, list the shipped models.',
    ),
}


class _Executable(CleanErrorsMixin, LazyGroup):
    """The commands of ``goectp``."""


@click.group(
    cls=_Executable,
    lazy_commands=_COMMANDS,
    context_settings={'help_option_names': ['-h', '--help'], 'max_content_width': 100},
)
@click.version_option(__version__, prog_name='goectp')
def main() -> None:
    """Predict dielectric tensors of crystals with GoeCTP, and train models. Needs no AiiDA."""
