"""``aiida-goectp setup``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.params import FILE
from aiida_goectp.cli.setup.quantumespresso import setup_dfpt

__all__ = ('setup',)


@click.group(invoke_without_command=True)
@click.option('--executable', type=FILE, help='Executable goectp.  [default: that of this Python environment]')
@click.pass_context
def setup(context: click.Context, executable: Path | None) -> None:
    """Set up computer, code and models in the loaded profile.

    Creates the computer localhost, the code goectp@localhost, and a node of each shipped model. Existing entities are
    kept: a second call changes nothing. The subcommand `dfpt` sets up Quantum ESPRESSO.
    """
    if context.invoked_subcommand is None:
        _setup(executable)


@decorators.with_dbenv()  # not of the group, whose subcommands print their help without a profile
def _setup(executable: Path | None) -> None:
    from aiida_goectp.cli.setup.computer import localhost_code, localhost_computer
    from aiida_goectp.core.formats.model_card import shipped_models
    from aiida_goectp.data.model import ModelData

    path = executable or Path(sys.executable).parent / 'goectp'
    if not path.is_file():
        echo.echo_critical(f'{path}: no such executable; install the package, or give --executable')
    localhost_code(
        localhost_computer(),
        'goectp',
        path.absolute(),
        description='prediction of dielectric tensors',
        default_calc_job_plugin='goectp.predict',
    )
    for name in shipped_models():
        model = ModelData.get_or_create(name)
        echo.echo_report(f'model {name} (pk {model.pk}), {model.content_hash[:10]}')
    if not shipped_models():
        echo.echo_warning('this version ships no model; give a file with `screen --model`')
    echo.echo_success('setup finished; next: aiida-goectp import STRUCTURES')


setup.add_command(setup_dfpt)
