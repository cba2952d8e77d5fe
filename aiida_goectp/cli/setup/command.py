"""``aiida-goectp setup``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from aiida.cmdline.utils import decorators, echo

from aiida_goectp.cli.setup.quantumespresso import setup_dfpt

if TYPE_CHECKING:
    from aiida.orm import Computer, InstalledCode

__all__ = ('setup',)


@click.group(invoke_without_command=True)
@click.option(
    '--executable',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='The executable goectp; that of this environment if not given.',
)
@click.pass_context
@decorators.with_dbenv()
def setup(context: click.Context, executable: Path | None) -> None:
    """Prepare the loaded profile: this machine, the code goectp@localhost, the models that ship.

    What is there already stays as it is: a second call changes nothing. Nothing is made outside the profile. With
    `dfpt`, prepare it for verification with Quantum ESPRESSO.
    """
    if context.invoked_subcommand is not None:
        return
    from aiida_goectp.core.formats.model_card import shipped_models
    from aiida_goectp.data.model import ModelData

    path = executable or Path(sys.executable).parent / 'goectp'
    if not path.is_file():
        echo.echo_critical(f'{path}: no such executable; install the package, or name it with --executable')
    computer = _computer()
    code = _code(computer, path.absolute())
    echo.echo_report(f'code {code.full_label} (pk {code.pk}) runs {code.filepath_executable}')
    for name in shipped_models():
        model = ModelData.get_or_create(name)
        echo.echo_report(f'model {name} (pk {model.pk}), {model.content_hash[:10]}')
    if not shipped_models():
        echo.echo_warning('no model ships with this version; give a file to `screen --model`')
    echo.echo_success('ready; next: aiida-goectp import STRUCTURES')


setup.add_command(setup_dfpt)


def _computer() -> Computer:
    """Return the computer ``localhost``, made and configured if need be."""
    from aiida.common.exceptions import NotExistent
    from aiida.manage.configuration import get_config, get_profile
    from aiida.orm import Computer

    try:
        computer = Computer.collection.get(label='localhost')
    except NotExistent:
        profile = get_profile()
        workdir = Path(get_config().dirpath) / 'scratch' / (profile.name if profile else 'goectp')
        computer = Computer(
            label='localhost',
            hostname='localhost',
            description='this machine',
            transport_type='core.local',
            scheduler_type='core.direct',
            workdir=str(workdir),
        ).store()
        computer.set_default_mpiprocs_per_machine(1)
    if not computer.is_configured:
        computer.configure(safe_interval=0)
        computer.set_minimum_job_poll_interval(1)
    echo.echo_report(
        f'computer localhost (pk {computer.pk}), {computer.scheduler_type}, works in {computer.get_workdir()}'
    )
    return computer


def _code(computer: Computer, executable: Path) -> InstalledCode:
    """Return the code ``goectp@localhost``; one that runs another executable is set aside."""
    from aiida.orm import InstalledCode, QueryBuilder

    query = QueryBuilder().append(InstalledCode, filters={'label': 'goectp', 'dbcomputer_id': computer.pk})
    for code in query.all(flat=True):
        if Path(code.filepath_executable) == executable:
            return code
        code.label = f'goectp-{code.pk}'
        code.is_hidden = True
        echo.echo_warning(f'the code that ran {code.filepath_executable} is now called {code.full_label}, and hidden')
    return InstalledCode(
        label='goectp',
        description='prediction of dielectric tensors',
        computer=computer,
        filepath_executable=str(executable),
        default_calc_job_plugin='goectp.predict',
    ).store()
