"""What all commands that start jobs have in common: options, the code, and the daemon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click
from aiida.cmdline.params.types import CodeParamType
from aiida.cmdline.utils import echo

__all__ = ('checked', 'default_code', 'job_options', 'needs_daemon', 'scheduler_options', 'submit')


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a job: code, protocol, device, and what the scheduler is told."""
    options = (
        click.option('--code', type=CodeParamType(), help='goectp@localhost if not given.'),
        click.option('--protocol', help='fast, balanced or stringent.'),
        click.option('--device', help='auto, cpu, cuda or cuda:N.'),
        click.option('--gpus', type=click.IntRange(min=0), default=0, help='GPUs to ask the scheduler for, each job.'),
        click.option('--queue', help='Queue or partition.'),
        click.option('--account', help='Account to charge.'),
        click.option('--wall-time', type=click.IntRange(min=60), help='Seconds a job may take.'),
        click.option('--label', default='', help='Label of the work chain.'),
        click.option(
            '--run/--submit',
            default=True,
            help='Wait here for the result, or leave it to the daemon.  [default: run]',
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def scheduler_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a job that were given."""
    names = {'queue_name': 'queue', 'account': 'account', 'max_wallclock_seconds': 'wall_time'}
    return {name: values[option] for name, option in names.items() if values[option] is not None}


def default_code() -> Any:
    """Return the code goectp@localhost.

    :raises click.UsageError: there is none
    """
    from aiida.common.exceptions import NotExistent
    from aiida.orm import load_code

    try:
        return load_code('goectp@localhost')
    except NotExistent as error:
        raise click.UsageError('there is no code goectp@localhost; make it with `aiida-goectp setup`') from error


def checked(builder: Any) -> Any:
    """Return a builder whose inputs the work chain accepts.

    :raises click.UsageError: with what is wrong
    """
    complaint = builder.process_class.spec().inputs.validate(dict(builder._inputs(prune=True)))
    if complaint is not None:
        raise click.UsageError(complaint.message)
    return builder


def needs_daemon() -> None:
    """Make sure that there is a daemon to leave something to.

    :raises click.UsageError: there is none
    """
    from aiida.common.exceptions import ConfigurationError
    from aiida.engine.daemon.client import get_daemon_client

    try:
        running = get_daemon_client().is_daemon_running
    except ConfigurationError as error:
        raise click.UsageError(f'this profile has no daemon ({error}); use --run') from error
    if not running:
        raise click.UsageError('the daemon is not running; start it with `verdi daemon start`, or use --run')


def submit(builder: Any, look: str = 'aiida-goectp show') -> Any:
    """Leave a work chain to the daemon.

    :param builder: of the work chain
    :param look: command that says how it is getting on
    :return: node of the work chain
    :raises click.UsageError: there is no daemon
    """
    from aiida import engine

    needs_daemon()
    node = engine.submit(builder)
    echo.echo_success(f'submitted {node.process_label}<{node.pk}>; `{look} {node.pk}` says how it is getting on')
    return node
