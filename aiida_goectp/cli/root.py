"""Entry point of ``aiida-goectp``. Commands are imported when they run, so that help is fast."""

from __future__ import annotations

import click
from aiida.cmdline.params import options, types

from aiida_goectp import __version__
from aiida_goectp.cli import echo
from aiida_goectp.core.formats.lazy_commands import LazyCommand, LazyGroup

__all__ = ('main',)


_COMMANDS = {
    name: LazyCommand(f'aiida_goectp.cli.{place}', summary)
    for name, place, summary in (
        ('setup', 'setup.command:setup', 'Set up computer, code and models in the loaded profile.'),
        ('doctor', 'doctor.command:doctor', 'Check profile, daemon, computers, codes and potentials.'),
        ('import', 'imports:import_', 'Import crystals from files, an AiiDA group or an archive.'),
        ('fetch', 'fetch.commands:fetch', 'Download crystals from databases.'),
        ('predict', 'predict.command:predict', 'Predict the dielectric tensors of crystals, with provenance.'),
        ('screen', 'screen:screen', 'Predict CRYSTALS, rank them, and select the best.'),
        ('verify', 'verify.command:verify', 'Compute crystals by DFPT and compare with the prediction.'),
        ('dataset', 'dataset:dataset', 'Create, split, show and export datasets.'),
        ('train', 'train:train', 'Train a model on DATASET.'),
        ('evaluate', 'evaluate:evaluate', 'Compute the errors of MODEL on DATASET.'),
        ('show', 'show:show', 'Show the content of a node, or the progress of a work chain.'),
        ('plot', 'reports.plot:plot', 'Draw a figure of NODE, given by PK, UUID or label.'),
        ('report', 'reports.report:report', 'Write a screen, verification or campaign as HTML page.'),
        ('graph', 'reports.graph:graph', 'Draw the provenance of a process or of a data node.'),
        ('phonons', 'phonons.commands:phonons', 'Show and export phonons at Γ.'),
        ('model', 'model:model', 'List, show, import and export models.'),
        ('campaign', 'campaign.commands:campaign', 'Active learning: predict, pick, verify by DFPT, retrain.'),
        ('backtest', 'backtest:backtest', 'Run campaigns on DATASET, whose labels are hidden.'),
    )
}


class _Commands(echo.CommandGroup, LazyGroup):
    """The commands of ``aiida-goectp``."""


@click.group(
    'aiida-goectp',
    cls=_Commands,
    lazy_commands=_COMMANDS,
    context_settings={'help_option_names': ['-h', '--help']},
)
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
