"""``aiida-goectp verify``."""

from __future__ import annotations

from typing import Any

import click
from aiida.cmdline.utils import decorators

from aiida_goectp.cli import echo
from aiida_goectp.cli.options import (
    ACCOUNT,
    JSON,
    PROTOCOL,
    QUEUE,
    RAW,
    THRESHOLDS,
    WALL_TIME,
    run_or_submit,
)
from aiida_goectp.cli.params import FILE, ModelParam, NodeOrPathParam, complete_engine
from aiida_goectp.core.formats.numbers import FiniteFloat

__all__ = ('verify',)


@click.command()
@click.argument('what', required=False, metavar='[SELECTION|CRYSTALS|STRUCTURE|FILE]', type=NodeOrPathParam())
@click.option('--id', 'ids', multiple=True, metavar='ID', help='Compute only this crystal; may be given several times.')
@click.option(
    '--model',
    type=ModelParam(),
    help='Model that predicts crystals given without a screen: node, shipped model or file.  [default: goectp]',
)
@click.option(
    '--engine',
    required=True,
    shell_complete=complete_engine,
    help='DFPT engine: quantumespresso, vasp, or an entry point.',
)
@click.option(
    '--code',
    'codes',
    multiple=True,
    metavar='[ROLE=]CODE',
    help='Code of a role, e.g. pw=pw@cluster; may be given several times.  [default: ROLE@localhost]',
)
@click.option('--potentials', help='Family of pseudopotentials or POTCARs.')
@PROTOCOL
@click.option('-n', '--number', type=click.IntRange(min=1), help='Compute only the first crystals of the selection.')
@click.option('--relax/--no-relax', default=None, help='Relax the structures before the response is computed, or not.')
@click.option('--electronic-only', is_flag=True, default=None, help='Compute only the electronic part.')
@click.option(
    '--max-concurrent',
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help='Maximum number of concurrent calculations.',
)
@click.option('--max-calculations', type=click.IntRange(min=1), help='Maximum number of calculations to submit.')
@click.option(
    '--max-core-hours',
    type=FiniteFloat(min=0, min_open=True),
    help='Submit no calculation after this many core-hours.',
)
@click.option(
    '--reuse/--no-reuse',
    default=True,
    help='Use stored responses of equal structures computed with equal inputs, or not.  [default: reuse]',
)
@THRESHOLDS
@click.option('--processes', type=click.IntRange(min=1), help='MPI processes per job.')
@QUEUE
@ACCOUNT
@WALL_TIME
@click.option('--overrides', type=FILE, help='YAML file with overrides of the protocol of the engine.')
@click.option(
    '--set',
    'settings',
    type=(str, str),
    multiple=True,
    metavar='ARGUMENT JSON',
    help='Any other argument of the engine; may be given several times.',
)
@click.option(
    '--dry-run', is_flag=True, help='Print what would be computed, inputs and cost, without storing or starting it.'
)
@click.option('--label', default='', help='Label of the work chain.')
@run_or_submit()
@JSON
@RAW
@decorators.with_dbenv()
def verify(what: Any, ids: tuple[str, ...], model: Any, dry_run: bool, run: bool, label: str, **values: Any) -> None:
    """Compute crystals by DFPT and compare with the prediction.

    SELECTION is a screen or its output `selection`, given by PK, UUID or label; the default is the latest screen. The
    crystals are computed in the order of their rank. Without a screen, give a StructureData, a CifData, a node of
    CRYSTALS with --id or --number, or a structure file; they are predicted first, in this process and with provenance.
    A failed calculation does not stop the others.
    """
    from aiida_goectp.cli.jobs import launch, require_daemon
    from aiida_goectp.cli.verify.inputs import Selected, cell_remark, option_inputs, verification_builder
    from aiida_goectp.cli.verify.plan import show_plan

    selected = Selected(what, ids, values['number'])
    builder = verification_builder({**selected.inputs, **option_inputs(values)}, label)
    if remark := cell_remark(selected.inputs):
        echo.echo_warning(remark)
    if dry_run:
        show_plan(builder, selected.origin)
        return
    if not run:
        require_daemon()
    for name, value in selected.store(model).items():
        setattr(builder, name, value)
    number = len(builder.selection)
    launch(builder, run, f'computing {number} crystals with {values["engine"]}', number)
