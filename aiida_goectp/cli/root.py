"""Entry point of ``aiida-goectp``. Commands import AiiDA's ORM, numpy and torch when they run, so that help is fast."""

from __future__ import annotations

import click
from aiida.cmdline.params import options, types

from aiida_goectp import __version__
from aiida_goectp.cli import echo
from aiida_goectp.cli.backtest import backtest
from aiida_goectp.cli.campaign.commands import campaign
from aiida_goectp.cli.dataset import dataset
from aiida_goectp.cli.doctor.command import doctor
from aiida_goectp.cli.evaluate import evaluate
from aiida_goectp.cli.fetch.commands import fetch
from aiida_goectp.cli.imports import import_
from aiida_goectp.cli.model import model
from aiida_goectp.cli.phonons.commands import phonons
from aiida_goectp.cli.predict.command import predict
from aiida_goectp.cli.reports.graph import graph
from aiida_goectp.cli.reports.plot import plot
from aiida_goectp.cli.reports.report import report
from aiida_goectp.cli.screen import screen
from aiida_goectp.cli.setup.command import setup
from aiida_goectp.cli.show import show
from aiida_goectp.cli.train import train
from aiida_goectp.cli.verify.command import verify

__all__ = ('main',)


@click.group('aiida-goectp', cls=echo.CommandGroup, context_settings={'help_option_names': ['-h', '--help']})
@options.PROFILE(type=types.ProfileParamType(load_profile=True), expose_value=False)
@click.version_option(__version__, prog_name='aiida-goectp')
def main() -> None:
    """Predict, rank and verify dielectric tensors of crystals.

    \b
    One crystal:    aiida-goectp predict my-structure.cif
    First session:  aiida-goectp setup
                    aiida-goectp import my-structures/
                    aiida-goectp screen
                    aiida-goectp verify --engine quantumespresso
    """


_COMMANDS = (
    setup,
    doctor,
    import_,
    fetch,
    predict,
    screen,
    verify,
    dataset,
    train,
    evaluate,
    show,
    plot,
    report,
    graph,
    phonons,
    model,
    campaign,
    backtest,
)

for command in _COMMANDS:
    main.add_command(command)
