"""``aiida-goectp campaign``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.campaign.template import TEMPLATE
from aiida_goectp.cli.options import FORCE, JSON, RAW, ROWS, check_overwrite, run_or_submit
from aiida_goectp.cli.params import FILE, GoectpCodeParam, WorkflowParam
from aiida_goectp.core.formats.numbers import FiniteFloat

__all__ = ('campaign',)

_CAMPAIGN = click.argument('campaign', metavar='CAMPAIGN', type=WorkflowParam())
_STATUS_COMMAND = 'aiida-goectp campaign status'


@click.group('campaign', cls=echo.CommandGroup)
def campaign() -> None:
    """Active learning: predict, pick, verify by DFPT, retrain.

    The rounds are repeated until a stop rule applies.

    \b
    First campaign:  aiida-goectp campaign template > campaign.yaml
                     aiida-goectp campaign start campaign.yaml --dry-run
                     aiida-goectp campaign start campaign.yaml
                     aiida-goectp campaign status
    """


@campaign.command('template')
def campaign_template() -> None:
    """Print a commented configuration."""
    echo.echo(TEMPLATE.rstrip('\n'), keep='\n')


@campaign.command('start')
@click.argument('config', type=FILE)
@click.option('--dry-run', is_flag=True, help='Print what would run, without storing or starting anything.')
@click.option('--label', help='Label of the work chain.  [default: label in CONFIG]')
@run_or_submit(False)
@JSON
@RAW
@decorators.with_dbenv()
def campaign_start(config: Path, dry_run: bool, label: str | None, run: bool) -> None:
    """Start the campaign that the file CONFIG describes.

    `campaign template` prints an example. All errors in CONFIG are reported together, each with its line and key,
    before anything is stored.
    """
    from aiida_goectp.cli.campaign.plan import plan_of_file
    from aiida_goectp.cli.campaign.plan_text import plan_items, plan_text
    from aiida_goectp.cli.jobs import require_daemon
    from aiida_goectp.core.formats.text_tables import make_table, show_table

    plan = plan_of_file(config)
    if dry_run and echo.output_format() == 'json':
        echo.echo_json(plan_items(plan))
        return
    if dry_run and echo.output_format() == 'raw':
        show_table(make_table('Campaign', ['item', 'value'], plan_items(plan).items()))
        return
    if dry_run:
        echo.echo_success(f'{config.name} is valid; nothing is stored or started. The campaign:')
        echo.echo(plan_text(plan), keep='\n')
        return
    if not run:
        require_daemon()
    if warning := plan.warning:
        echo.echo_warning(warning)
    builder = plan.store()
    if label is not None:
        builder.metadata.label = label
    _launch(builder, run)


def _launch(builder: Any, here: bool) -> None:
    from aiida_goectp.cli.jobs import run, submit

    if not here:
        submit(builder, _STATUS_COMMAND)
        return
    node = run(builder)
    if echo.output_format() == 'json':
        from aiida_goectp.report.campaigns import campaign_report

        echo.echo_json(campaign_report(node))
    else:
        _print_report(node, 20)
    if not node.is_finished_ok:
        echo.echo_critical(f'the campaign failed; print its log with `verdi process report {node.pk}`')
    echo.echo(f'print this report with `aiida-goectp campaign report {node.pk}`')


def _print_report(node: Any, rows: int) -> None:
    from aiida_goectp.cli.views.campaigns import show_campaign
    from aiida_goectp.cli.views.progress import status_line
    from aiida_goectp.report.campaigns import campaign_report

    echo.echo(status_line(node))
    show_campaign(campaign_report(node), rows)


@campaign.command('status')
@click.argument('campaign', metavar='[CAMPAIGN]', required=False, type=WorkflowParam())
@click.option(
    '-n',
    '--number',
    default=5,
    show_default=True,
    type=click.IntRange(min=1),
    help='Number of latest campaigns, without CAMPAIGN.',
)
@JSON
@RAW
@decorators.with_dbenv()
def campaign_status(campaign: Any, number: int) -> None:
    """Print the status of CAMPAIGN in one line.

    The line contains round, stage, best value and cost. Without CAMPAIGN, the latest campaigns are printed.
    """
    from aiida_goectp.cli.queries import latest_campaigns
    from aiida_goectp.cli.views.progress import status_line

    nodes = [_checked(campaign)] if campaign is not None else latest_campaigns(number)
    if not nodes:
        raise click.UsageError('no campaign is stored; start one with `aiida-goectp campaign start`')
    if echo.output_format() is not None:
        from aiida_goectp.cli.views.node_content import node_identity, print_items

        print_items([{**node_identity(node), 'status': status_line(node)} for node in nodes])
        return
    for node in nodes:
        echo.echo(status_line(node))


@campaign.command('report')
@_CAMPAIGN
@ROWS
@JSON
@RAW
@decorators.with_dbenv()
def campaign_report(campaign: Any, rows: int) -> None:
    """Show rounds, models, best crystals and cost of CAMPAIGN."""
    from aiida_goectp.report import campaigns

    node = _checked(campaign)
    if echo.output_format() == 'json':
        echo.echo_json(campaigns.campaign_report(node))
    else:
        _print_report(node, rows)


@campaign.command('stop')
@_CAMPAIGN
@decorators.with_dbenv()
def campaign_stop(campaign: Any) -> None:
    """Stop CAMPAIGN after its current round.

    A stopped campaign has all outputs and can be extended.
    """
    from aiida_goectp.workflows.campaign.stop import request_stop

    try:
        request_stop(_checked(campaign))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    echo.echo_success(
        f'campaign {campaign.pk} will stop after its current round; see its progress with '
        f'`{_STATUS_COMMAND} {campaign.pk}`'
    )


@campaign.command('extend')
@_CAMPAIGN
@click.option('--max-rounds', type=click.IntRange(min=0), help='Maximum number of rounds, those of CAMPAIGN included.')
@click.option(
    '--max-calculations',
    type=click.IntRange(min=0),
    help='Maximum number of calculations, those of CAMPAIGN included.',
)
@click.option('--max-core-hours', type=FiniteFloat(min=0), help='Maximum core-hours, those of CAMPAIGN included.')
@click.option(
    '--rule',
    'rules',
    multiple=True,
    metavar='KEY=VALUE',
    help='Any stop rule, e.g. stable_top.k=5 or threshold=null; may be given several times.',
)
@click.option(
    '--dfpt',
    multiple=True,
    metavar='KEY=VALUE',
    help='Any key of the section dfpt of a configuration, e.g. wall_time=86400 or codes.pw=pw@cluster; may be given '
    'several times. Options and overrides are merged over those of CAMPAIGN.',
)
@click.option(
    '--retry', multiple=True, metavar='ID', help='Failed pick that may be picked again; may be given several times.'
)
@click.option('--retry-failed', 'retry_all', is_flag=True, help='All failed picks may be picked again.')
@click.option('--code', type=GoectpCodeParam(), help='Code of predictions and trainings.  [default: that of CAMPAIGN]')
@click.option(
    '--max-concurrent',
    type=click.IntRange(min=1),
    help='Maximum number of concurrent calculations.  [default: that of CAMPAIGN]',
)
@click.option('--label', help='Label of the new work chain.  [default: label of CAMPAIGN]')
@run_or_submit(False)
@JSON
@RAW
@decorators.with_dbenv()
def campaign_extend(
    campaign: Any,
    rules: tuple[str, ...],
    dfpt: tuple[str, ...],
    retry: tuple[str, ...],
    retry_all: bool,
    code: Any,
    max_concurrent: int | None,
    label: str | None,
    run: bool,
    **bounds: Any,
) -> None:
    """Continue CAMPAIGN, which has ended, with changed inputs.

    Stop rules and arguments of the engine may be changed, and failed picks be picked again. What is not given is
    kept; after a failure or a requested stop, nothing has to change. The new campaign contains the whole history;
    finished work is not repeated.
    """
    from aiida_goectp.cli.campaign.extend import Changes, extension_builder, parse_pairs

    if retry and retry_all:
        raise click.UsageError('give either --retry ID or --retry-failed')
    changed = parse_pairs('--rule', 'max_core_hours=100 or stable_top.k=5', rules)
    changed |= {name: value for name, value in bounds.items() if value is not None}
    arguments = parse_pairs('--dfpt', 'wall_time=86400 or codes.pw=pw@cluster', dfpt)
    changes = Changes(changed, arguments, retry, retry_all, code, max_concurrent)
    builder = extension_builder(_checked(campaign), changes)
    if label is not None:
        builder.metadata.label = label
    _launch(builder, run)


@campaign.command('export')
@_CAMPAIGN
@click.argument('file', type=click.Path(dir_okay=False, writable=True, path_type=Path))
@FORCE
@decorators.with_dbenv()
def campaign_export(campaign: Any, file: Path, force: bool) -> None:
    """Write CAMPAIGN with its provenance to an AiiDA archive.

    `verdi archive import` reads the archive FILE.
    """
    from aiida.tools.archive import create_archive
    from aiida.tools.archive.exceptions import ArchiveExportError

    node = _checked(campaign)
    if not node.is_sealed:
        raise click.UsageError(f'campaign {node.pk} is running; export it when it has ended')
    check_overwrite(file, force, 'FILE')
    try:
        create_archive([node], filename=file, overwrite=force)
    except ArchiveExportError as error:
        raise click.UsageError(str(error)) from error
    echo.echo_success(f'wrote {file}; import it with `verdi archive import {file.name}`')
    echo.echo(f'then print the report with `aiida-goectp campaign report {node.uuid}`')


def _checked(node: Any) -> Any:
    """Return a campaign.

    :raises click.UsageError: another process
    """
    from aiida_goectp.cli.queries import is_campaign

    if not is_campaign(node):
        raise click.UsageError(
            f'process {node.pk} is a {node.process_label}; give a campaign, listed by `{_STATUS_COMMAND}`'
        )
    return node
