"""Checks of an installation, each with its result and what to do about a failure."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
from aiida import orm
from aiida.common.exceptions import AiidaException
from aiida.engine.daemon.client import get_daemon_client
from aiida.manage import get_manager
from aiida.manage.configuration import get_config

from aiida_goectp.cli.doctor.codes import code_errors, codes_in
from aiida_goectp.cli.doctor.trials import trial_prediction, trial_stages
from aiida_goectp.cli.queries import active_processes, goectp_codes

__all__ = ('FAILED', 'OK', 'WARNING', 'Check', 'all_checks')

OK, WARNING, FAILED = 'ok', 'warning', 'failed'
"""results; a warning restricts what can be done"""

_FEW_BYTES, _ENOUGH_BYTES = 200 * 2**20, 5 * 2**30
"""free disk space below which a check fails, and below which it warns"""


class Check(NamedTuple):
    """Result of a check."""

    subject: str
    result: str
    """ok, warning or failed"""
    found: str
    remedy: str
    """what to do; empty if it is ok"""


def all_checks(codes: Iterable[orm.AbstractCode], config: Path | None, prediction: bool) -> Iterator[Check]:
    """Yield the result of each check as soon as it is known.

    :param codes: codes of goectp; all of the profile if empty
    :param config: configuration of a campaign
    :param prediction: whether to predict a crystal with each code
    """
    yield _profile()
    yield _broker()
    yield _daemon()
    yield _processes()
    tested = list(codes) or goectp_codes()
    if not tested:
        yield Check('codes', FAILED, 'no code of goectp', 'aiida-goectp setup')
    plan, checks = (None, []) if config is None else _configuration(config)
    others = [] if plan is None else list(codes_in({'code': plan.builder.predict, 'dfpt': dict(plan.builder.dfpt)}))
    for code in dict.fromkeys([*tested, *others]):
        check = _code(code)
        if prediction and check.result == OK and code in tested:
            check = _prediction(code)
        yield check
    yield _potentials()
    yield from _disks(tested)
    yield from checks
    if plan is not None:
        yield from (Check(f'stage {name}', *_result(trial)) for name, trial in trial_stages(plan))


def _result(trial: Any) -> tuple[str, str, str]:
    """Return result, finding and remedy of a function that raises what is wrong."""
    try:
        return OK, str(trial()), ''
    except (AiidaException, ValueError, OSError, click.ClickException) as error:
        message = error.message if isinstance(error, click.ClickException) else str(error)
        return FAILED, message, 'change the keys of this stage in CONFIG, or the code'


def _profile() -> Check:
    profile: Any = get_manager().get_profile()
    get_manager().get_profile_storage()  # raises an error with the remedy if its version is an earlier one
    return Check('profile', OK, f'{profile.name}, storage {profile.storage_backend}', '')


def _broker() -> Check:
    profile: Any = get_manager().get_profile()
    if profile.process_control_backend is None:
        remedy = 'verdi profile configure-rabbitmq, if jobs are to run in the daemon'
        return Check('broker', WARNING, 'none: --submit and campaigns in the daemon do not work; --run does', remedy)
    if profile.process_control_backend == 'core.zeromq' and not get_daemon_client().is_daemon_running:
        return Check('broker', WARNING, 'core.zeromq, not running: the daemon starts it', 'verdi daemon start')
    try:
        get_manager().get_communicator()
    except Exception as error:  # connection errors of kiwipy, aio-pika and the operating system
        reason = ' '.join(str(error).split()) or type(error).__name__
        return Check('broker', FAILED, f'{profile.process_control_backend}: {reason}', 'start it; see verdi status')
    return Check('broker', OK, str(profile.process_control_backend), '')


def _daemon() -> Check:
    profile: Any = get_manager().get_profile()
    if profile.process_control_backend is None:
        return Check('daemon', WARNING, 'none, since the profile has no broker', 'as for the broker')
    client = get_daemon_client()
    if client.is_daemon_running:
        return Check('daemon', OK, f'running, process {client.get_daemon_pid()}', '')
    return Check('daemon', WARNING, 'not running: --submit does not work', 'verdi daemon start')


def _processes() -> Check:
    active = active_processes()
    paused = [process for process in active if process.paused]
    if not paused:
        return Check('processes', OK, f'{len(active)} active, none of them paused', '')
    first = paused[0]
    found = f'{len(paused)} of {len(active)} paused, first {first.process_label}<{first.pk}>'
    remedy = f'when the cause is removed: verdi process play {first.pk}'
    return Check('processes', WARNING, f'{found}: {first.process_status}' if first.process_status else found, remedy)


def _code(code: orm.AbstractCode) -> Check:
    errors = code_errors([code])
    if errors:
        message, _, remedy = errors[0].partition('; ')
        return Check(f'code {code.full_label}', FAILED, message, remedy)
    return Check(f'code {code.full_label}', OK, 'computer configured and reachable, executable found', '')


def _prediction(code: orm.AbstractCode) -> Check:
    subject = f'code {code.full_label}'
    try:
        node, status = trial_prediction(code)
    except (AiidaException, ValueError) as error:
        return Check(subject, FAILED, str(error), 'aiida-goectp setup, or replace the code')
    if not node.is_finished_ok:
        state = node.exit_message or node.exception or 'failed'
        return Check(subject, FAILED, f'prediction <{node.pk}>: {state}', f'verdi process report {node.pk}')
    device = str(status.get('device', 'unknown'))
    seen = 'a GPU is used' if device.startswith('cuda') else 'no GPU is seen'
    return Check(subject, OK, f'prediction <{node.pk}> on {device}: {seen}', '')


def _potentials() -> Check:
    families = orm.QueryBuilder().append(
        orm.Group, filters={'type_string': {'like': 'pseudo.family%'}}, project='label'
    )
    potcars = orm.QueryBuilder().append(orm.Group, filters={'type_string': {'like': 'vasp.potcar%'}}, project='label')
    labels = [*families.all(flat=True), *potcars.all(flat=True)]
    if labels:
        return Check('potentials', OK, ', '.join(labels), '')
    remedy = 'aiida-goectp setup dfpt, or for VASP: aiida-vasp potcar uploadfamily'
    return Check('potentials', WARNING, 'no family of pseudopotentials or POTCARs: DFPT does not work', remedy)


def _disks(codes: Iterable[orm.AbstractCode]) -> Iterator[Check]:
    """Yield the free space of the AiiDA folder, and of the work directories on this machine."""
    folders = {'AiiDA folder': Path(get_config().dirpath)}
    for code in codes:
        computer = code.computer
        if computer is not None and computer.transport_type == 'core.local':
            folders[f'work directory of {computer.label}'] = Path(computer.get_workdir())
    for name, folder in folders.items():
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        result = FAILED if free < _FEW_BYTES else WARNING if free < _ENOUGH_BYTES else OK
        remedy = '' if result == OK else f'free space for {folder}: verdi storage maintain, verdi calcjob cleanworkdir'
        yield Check(f'disk, {name}', result, f'{free / 2**30:.1f} GiB free', remedy)


def _configuration(config: Path) -> tuple[Any, list[Check]]:
    """Return the plan of a campaign, None if it is invalid, and one check for each error."""
    from aiida_goectp.cli.campaign.plan import plan_of_file

    try:
        plan = plan_of_file(config)
    except click.ClickException as error:
        _, *messages = error.message.splitlines()
        remedy = 'correct this key; aiida-goectp campaign template prints all'
        return None, [Check(config.name, FAILED, message.strip(), remedy) for message in messages or [error.message]]
    return plan, [Check(config.name, OK, 'valid', '')]
