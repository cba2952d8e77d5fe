"""Entry of the executable ``goectp``; commands import torch only when they run."""

from __future__ import annotations

import click

from aiida_goectp import __version__
from aiida_goectp.core.executable.info import info
from aiida_goectp.core.executable.join import join
from aiida_goectp.core.executable.predict import predict
from aiida_goectp.core.executable.train import train

__all__ = ('main',)


@click.group(context_settings={'help_option_names': ['-h', '--help'], 'max_content_width': 100})
@click.version_option(__version__, prog_name='goectp')
def main() -> None:
    """Dielectric tensors of crystals by GoeCTP. Needs no AiiDA profile."""


for command in (predict, train, join, info):
    main.add_command(command)
