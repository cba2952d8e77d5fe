"""The computer ``localhost`` and codes on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.exceptions import NotExistent
from aiida.manage.configuration import get_config, get_profile

from aiida_goectp.cli import echo

__all__ = ('localhost_code', 'localhost_computer')


def localhost_computer() -> orm.Computer:
    """Return the computer ``localhost``; create and configure it if necessary."""
    try:
        computer = orm.Computer.collection.get(label='localhost')
    except NotExistent:
        profile = get_profile()
        workdir = Path(get_config().dirpath) / 'scratch' / (profile.name if profile else 'goectp')
        computer = orm.Computer(
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
        f'computer localhost (pk {computer.pk}): scheduler {computer.scheduler_type}, work directory '
        f'{computer.get_workdir()}'
    )
    return computer


def localhost_code(computer: orm.Computer, label: str, executable: Path, **attributes: Any) -> orm.InstalledCode:
    """Return the code ``LABEL@localhost`` of an executable; create it if necessary.

    A code of that label with another executable is relabelled ``LABEL-PK`` and hidden.

    :param attributes: further attributes of a new code
    """
    query = orm.QueryBuilder().append(orm.InstalledCode, filters={'label': label, 'dbcomputer_id': computer.pk})
    for code in query.all(flat=True):
        if Path(code.filepath_executable) == executable:
            break
        code.label = f'{label}-{code.pk}'
        code.is_hidden = True
        echo.echo_warning(f'the code of {code.filepath_executable} is now labelled {code.full_label} and hidden')
    else:
        code = orm.InstalledCode(
            label=label, computer=computer, filepath_executable=str(executable), **attributes
        ).store()
    echo.echo_report(f'code {code.full_label} (pk {code.pk}): {code.filepath_executable}')
    return code
