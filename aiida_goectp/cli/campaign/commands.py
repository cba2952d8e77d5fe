"""``aiida-goectp campaign``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.groups import VerdiCommandGroup
from aiida.cmdline.params.types import WorkflowParamType
from aiida.cmdline.utils import decorators, echo

__all__ = ('campaign',)

_CAMPAIGN = click.argument('campaign', metavar='CAMPAIGN', type=WorkflowParamType())
_LOOK = 'aiida-goectp campaign status'


def _run_or_submit(default: bool) -> Any:
    name = 'run' if default else 'submit'
    return click.option(
        '--run/--submit', default=default, help=f'Wait here for the end, or leave it to the daemon.  [default: {name}]'
    )


@click.group('campaign', cls=VerdiCommandGroup)
def campaign() -> None:
    """Search by rounds: predict, pick, verify by DFPT, retrain, until a rule says stop.

    \b
    A first campaign:  aiida-goectp campaign template > campaign.yaml
                       aiida-goectp campaign start campaign.yaml --dry-run
                       aiida-goectp campaign start campaign.yaml
                       aiida-goectp campaign status
    """


@campaign.command('template')
def campaign_template() -> None:
    """Print a configuration to begin with, commented."""
    from aiida_goectp.cli.campaign.template import TEMPLATE

    click.echo(TEMPLATE, nl=False)


@campaign.command('start')
@click.argument('config', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option('--dry-run', is_flag=True, help='Say what would run, and store and start nothing.')
@click.option('--label', help='Label of the work chain, over that of the file.')
@_run_or_submit(False)
@decorators.with_dbenv()
def campaign_start(config: Path, dry_run: bool, label: str | None, run: bool) -> None:
    """Start the campaign that the file CONFIG describes; `campaign template` prints one to begin with.

    All that is wrong with it is said at once, each line with its key, and before anything is stored.
    """
    from aiida_goectp.cli.campaign.config import read_config
    from aiida_goectp.cli.campaign.plan import make_plan
    from aiida_goectp.cli.campaign.plan_text import plan_text
    from aiida_goectp.cli.jobs import needs_daemon

    try:
        settings = read_config(config)
    except ValueError as error:
        raise click.UsageError(
            f'the campaign cannot be started:\n  {str(error).replace(chr(10), chr(10) + "  ")}'
        ) from error
    plan = make_plan(settings, config.resolve().parent)
    if dry_run:
        echo.echo_success(f'{config.name} is in order; nothing is stored or started. It would run:')
        click.echo(plan_text(plan))
        return
    if not run:
        needs_daemon()
    builder = plan.store()
    if label is not None:
        builder.metadata.label = label
    _launch(builder, run)


def _launch(builder: Any, run: bool) -> None:
    from aiida_goectp.cli.jobs import submit

    if not run:
        submit(builder, _LOOK)
        return
    from aiida_goectp.cli.campaign.report import campaign_report, show_campaign
    from aiida_goectp.cli.views.progress import run_and_report, status_line

    try:
        node = run_and_report(builder)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(status_line(node))
    show_campaign(campaign_report(node), 20)
    if not node.is_finished_ok:
        echo.echo_critical(f'the campaign failed; `verdi process report {node.pk}` tells more')
    echo.echo(f'again: aiida-goectp campaign report {node.pk}')


@campaign.command('status')
@click.argument('campaign', metavar='[CAMPAIGN]', required=False, type=WorkflowParamType())
@click.option('-n', '--number', default=5, show_default=True, type=click.IntRange(min=1), help='The latest so many.')
@decorators.with_dbenv()
def campaign_status(campaign: Any, number: int) -> None:
    """Say in one line where CAMPAIGN is: round, stage, found, spent, next; the latest ones if none is named."""
    from aiida_goectp.cli.views.progress import status_line

    nodes = [_checked(campaign)] if campaign is not None else _latest(number)
    if not nodes:
        raise click.UsageError('there is no campaign yet; begin one with `aiida-goectp campaign start`')
    for node in nodes:
        click.echo(status_line(node))


@campaign.command('report')
@_CAMPAIGN
@click.option('-n', '--rows', default=20, show_default=True, type=click.IntRange(min=1), help='Rows of a table.')
@click.option('--json', 'as_json', is_flag=True, help='Everything as JSON.')
@decorators.with_dbenv()
def campaign_report(campaign: Any, rows: int, as_json: bool) -> None:
    """Show what CAMPAIGN came to: rounds, models, the best that is verified, why it ended, what it cost."""
    import json

    from aiida_goectp.cli.campaign.report import campaign_report as report
    from aiida_goectp.cli.campaign.report import show_campaign
    from aiida_goectp.cli.views.progress import status_line

    found = report(_checked(campaign))
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    click.echo(status_line(campaign))
    show_campaign(found, rows)


@campaign.command('stop')
@_CAMPAIGN
@decorators.with_dbenv()
def campaign_stop(campaign: Any) -> None:
    """Ask CAMPAIGN to stop after the round that it is in; it ends as if a rule had fired, and can be extended."""
    from aiida_goectp.workflows.campaign.stop import request_stop

    try:
        request_stop(_checked(campaign))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    echo.echo_success(
        f'campaign {campaign.pk} stops after its round; `{_LOOK} {campaign.pk}` says how it is getting on'
    )


@campaign.command('extend')
@_CAMPAIGN
@click.option('--max-rounds', type=click.IntRange(min=0), help='Rounds in all, those that are done included.')
@click.option('--max-calculations', type=click.IntRange(min=0), help='Calculations in all.')
@click.option('--max-core-hours', type=click.FloatRange(min=0), help='Core-hours in all.')
@click.option(
    '--rule', 'rules', multiple=True, metavar='KEY=VALUE', help='Any stop rule: stable_top.k=5, threshold=null.'
)
@click.option('--label', help='Label of the new work chain; that of the old one if not given.')
@_run_or_submit(False)
@decorators.with_dbenv()
def campaign_extend(campaign: Any, rules: tuple[str, ...], label: str | None, run: bool, **bounds: Any) -> None:
    """Go on with CAMPAIGN, which has ended, by new rules; nothing that it has done is done again.

    Rules that are not named stay. The new campaign has the whole history.
    """
    from aiida_goectp.cli.campaign.extend import extended, parse_rules

    changes = parse_rules(rules) | {name: value for name, value in bounds.items() if value is not None}
    builder = extended(_checked(campaign), changes)
    if label is not None:
        builder.metadata.label = label
    _launch(builder, run)


@campaign.command('export')
@_CAMPAIGN
@click.argument('file', type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option('-f', '--force', is_flag=True, help='Overwrite the file if it is there.')
@decorators.with_dbenv()
def campaign_export(campaign: Any, file: Path, force: bool) -> None:
    """Write CAMPAIGN with everything behind it to the AiiDA archive FILE; `verdi archive import` reads it anywhere."""
    from aiida.tools.archive import create_archive
    from aiida.tools.archive.exceptions import ArchiveExportError

    node = _checked(campaign)
    if not node.is_sealed:
        raise click.UsageError(f'campaign {node.pk} is running; an archive holds what has ended')
    if file.exists() and not force:
        raise click.BadParameter(f'{file} is there already; overwrite it with --force', param_hint='FILE')
    try:
        create_archive([node], filename=file, overwrite=force)
    except ArchiveExportError as error:
        raise click.UsageError(str(error)) from error
    echo.echo_success(f'wrote {file}; elsewhere: verdi archive import {file.name}')
    echo.echo(f'then: aiida-goectp campaign report {node.uuid}')


def _checked(node: Any) -> Any:
    """Return a campaign.

    :raises click.UsageError: it is something else
    """
    from aiida_goectp.cli.campaign.status import is_campaign

    if not is_campaign(node):
        raise click.UsageError(
            f'process {node.pk} is a {node.process_label}, no campaign; `aiida-goectp campaign status` lists those'
        )
    return node


def _latest(number: int) -> list[Any]:
    from aiida import orm

    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={'attributes.process_label': 'ActiveLearningWorkChain'})
    query.order_by({orm.WorkChainNode: {'id': 'desc'}}).limit(number)
    found: list[Any] = query.all(flat=True)
    return found
