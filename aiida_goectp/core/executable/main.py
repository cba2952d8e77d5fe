"""Entry point of the executable ``goectp``; its commands import torch when they need it."""

from __future__ import annotations

import click

from aiida_goectp import __version__
from aiida_goectp.core.executable.import_calculations import import_calculations
from aiida_goectp.core.executable.info import info
from aiida_goectp.core.executable.join import join
from aiida_goectp.core.executable.predict import predict
from aiida_goectp.core.executable.train import train
from aiida_goectp.core.formats.terminal import CleanErrorsMixin

__all__ = ('main',)


@click.group(cls=CleanErrorsMixin, context_settings={'help_option_names': ['-h', '--help'], 'max_content_width': 100})
@click.version_option(__version__, prog_name='goectp')
def main() -> None:
    """Predict dielectric tensors of crystals with GoeCTP, and train models. Needs no AiiDA."""


for command in (predict, train, join, import_calculations, info):
    main.add_command(command)
