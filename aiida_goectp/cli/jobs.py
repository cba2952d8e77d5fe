"""Launching of work chains: the default code, validation of inputs, the daemon."""

from __future__ import annotations

from typing import Any

import click
from aiida import engine, orm
from aiida.common.exceptions import ConfigurationError, NotExistent
from aiida.engine.daemon.client import get_daemon_client
from plumpy.ports import UNSPECIFIED

from aiida_goectp.cli import echo
from aiida_goectp.cli.doctor.codes import code_errors, codes_in
from aiida_goectp.cli.queries import usable_labels
from aiida_goectp.cli.views.node_content import print_identity
from aiida_goectp.cli.views.nodes import print_node
from aiida_goectp.cli.views.progress import run_and_report
from aiida_goectp.workflows.aiida_private import builder_inputs

__all__ = ('default_code', 'launch', 'port_errors', 'require_daemon', 'run', 'submit', 'validated')


def default_code() -> orm.AbstractCode:
    """Return the code goectp@localhost.

    :raises click.UsageError: it does not exist
    """
    try:
        return orm.load_code('goectp@localhost')
    except NotExistent as error:
        names = ', '.join(usable_labels())
        raise click.UsageError(
            'the code goectp@localhost does not exist; create it with `aiida-goectp setup`'
            + (f', or give one of these with --code: {names}' if names else '')
        ) from error


def validated(builder: Any) -> Any:
    """Return a builder whose inputs are valid and whose codes can run: computers configured, reachable, executable.

    :raises click.UsageError: one line for each invalid input, code or computer
    """
    errors = list(port_errors(builder).values())
    if not errors and (error := builder.process_class.spec().inputs.validate(builder_inputs(builder))) is not None:
        errors = error.message.splitlines()
    if errors := [*errors, *code_errors(codes_in(builder_inputs(builder)))]:
        raise click.UsageError('\n'.join(errors))
    return builder


def port_errors(builder: Any) -> dict[str, str]:
    """Return the message of each port of the first level with an invalid input; AiiDA reports the first one only."""
    inputs = builder_inputs(builder)
    found = {
        name: port.validate(inputs.get(name, UNSPECIFIED)) for name, port in builder.process_class.spec().inputs.items()
    }
    return {name: error.message for name, error in found.items() if error is not None}


def require_daemon() -> None:
    """Check that the daemon runs.

    :raises click.UsageError: it does not run, or the profile has none
    """
    try:
        running = get_daemon_client().is_daemon_running
    except ConfigurationError as error:
        raise click.UsageError(f'this profile has no daemon ({error}); use --run') from error
    if not running:
        raise click.UsageError('the daemon is not running; start it with `verdi daemon start`, or use --run')


def submit(builder: Any, status_command: str = 'aiida-goectp show') -> None:
    """Submit a work chain to the daemon.

    :param status_command: command that prints the progress of the work chain
    :raises click.UsageError: the daemon does not run
    """
    require_daemon()
    node = engine.submit(builder)
    print_identity(node)
    echo.echo_success(f'submitted {node.process_label}<{node.pk}>; see its progress with `{status_command} {node.pk}`')


def run(builder: Any) -> orm.ProcessNode:
    """Run a work chain in this process, and print its progress.

    :raises click.UsageError: invalid inputs
    """
    try:
        return run_and_report(builder)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def launch(builder: Any, here: bool, message: str, rows: int = 20) -> None:
    """Run a work chain and print its result, or submit it to the daemon.

    :param here: run in this process
    :param message: printed before the run
    :param rows: maximum number of rows per table
    :raises click.UsageError: invalid inputs, or the daemon does not run
    """
    if not here:
        submit(builder)
        return
    echo.echo_report(message)
    node = run(builder)
    print_node(node, rows)
    if not node.is_finished_ok:
        echo.echo_critical(f'the work chain failed; print its log with `verdi process report {node.pk}`')
