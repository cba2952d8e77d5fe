"""``aiida-goectp verify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from aiida.cmdline.params.types import NodeParamType
from aiida.cmdline.utils import decorators, echo

from aiida_goectp.cli.jobs import checked, submit
from aiida_goectp.cli.params import latest_screen

__all__ = ('verify',)


@click.command()
@click.argument('selection', required=False, type=NodeParamType())
@click.option('--engine', required=True, help='quantumespresso, vasp, or the entry point of another engine.')
@click.option(
    '--code',
    'codes',
    multiple=True,
    metavar='[ROLE=]CODE',
    help='Code for a role, e.g. pw=pw@cluster; ROLE@localhost (vasp@localhost) if not given.',
)
@click.option('--potentials', help='Family of pseudopotentials or POTCARs.')
@click.option('--protocol', help='fast, balanced or stringent.')
@click.option('-n', '--number', type=click.IntRange(min=1), help='Only the best so many of the selection.')
@click.option('--relax/--no-relax', default=None, help='Relax first, or compute the structures as they are.')
@click.option('--electronic-only', is_flag=True, default=None, help='Compute the electronic part alone.')
@click.option('--max-concurrent', type=click.IntRange(min=1), default=4, show_default=True, help='At the same time.')
@click.option('--max-calculations', type=click.IntRange(min=1), help='Budget: calculations to submit.')
@click.option('--max-core-hours', type=click.FloatRange(min=0, min_open=True), help='Budget: core-hours.')
@click.option('--reuse/--no-reuse', default=True, help='Take over what was computed before.  [default: reuse]')
@click.option(
    '--threshold', 'thresholds', type=(str, str), multiple=True, metavar='GATE NUMBER', help='Of a gate; off: none.'
)
@click.option('--processes', type=click.IntRange(min=1), help='MPI processes of each job.')
@click.option('--queue', help='Queue or partition.')
@click.option('--account', help='Account to charge.')
@click.option('--wall-time', type=click.IntRange(min=60), help='Seconds a job may take.')
@click.option(
    '--overrides', type=click.Path(exists=True, dir_okay=False, path_type=Path), help='YAML, as in protocols.'
)
@click.option(
    '--set', 'settings', type=(str, str), multiple=True, metavar='ARGUMENT JSON', help='Another argument of the engine.'
)
@click.option('--label', default='', help='Label of the work chain.')
@click.option(
    '--run/--submit', default=True, help='Wait here for the result, or leave it to the daemon.  [default: run]'
)
@decorators.with_dbenv()
def verify(selection: Any, run: bool, label: str, **values: Any) -> None:
    """Compute a SELECTION by DFPT, and compare it with the prediction.

    SELECTION is a screen or the selection that it gave, by PK, UUID or label; the newest screen if not given. The best
    come first; a failure stops nothing; what was computed before for an equal structure is taken over.
    """
    from aiida import engine

    inputs = _selected(selection if selection is not None else latest_screen(), values['number'])
    inputs |= _inputs(values)
    builder = _builder(inputs, label)
    if not run:
        submit(builder)
        return
    echo.echo_report(f'computing {len(inputs["selection"])} crystals with {values["engine"]}')
    _, node = engine.run_get_node(builder)
    from aiida_goectp.cli.views.nodes import show_node

    show_node(node, len(inputs['selection']))
    if not node.is_finished_ok:
        echo.echo_critical(f'the work chain failed; `verdi process report {node.pk}` tells more')


def _builder(inputs: dict[str, Any], label: str) -> Any:
    """Return the builder of the work chain.

    :raises click.UsageError: with what is wrong
    """
    from aiida_goectp.workflows.verify import VerifyWorkChain

    builder: Any = VerifyWorkChain.get_builder()
    try:
        for name, value in inputs.items():
            setattr(builder, name, value)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    checked(builder)
    builder.metadata.label = label
    return builder


def _selected(node: Any, number: int | None) -> dict[str, Any]:
    """Return selection, structures and predictions behind a screen or behind its selection.

    :raises click.UsageError: it is neither
    """
    from aiida import orm
    from aiida.common.links import LinkType

    from aiida_goectp.calculations.head import take_first

    if isinstance(node, orm.ProcessNode) and 'selection' in node.outputs:
        node = node.outputs.selection
    if not isinstance(node, orm.List) or node.creator is None or 'ranking' not in node.creator.inputs:
        raise click.UsageError(f'node {node.pk} is neither a screen that selected something nor such a selection')
    links = node.creator.base.links.get_outgoing(node_class=orm.StructureData, link_type=LinkType.CREATE).all()
    found = {link.link_label.removeprefix('structures__'): link.node for link in links}
    ranked = node.creator.inputs.ranking.creator
    chosen = node
    if number is not None and number < len(node):
        chosen = take_first(node, orm.Int(number))
    inputs = {'selection': chosen, 'structures': {item['structure']: found[item['structure']] for item in chosen}}
    if ranked is not None and 'predictions' in ranked.inputs:
        inputs['predictions'] = ranked.inputs.predictions
    return inputs


def _inputs(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the options say."""
    from aiida import orm

    from aiida_goectp.workflows.dfpt.engines import load_engine

    try:
        engine = load_engine(values['engine'])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    thresholds = {name: _threshold(name, text) for name, text in values['thresholds']}
    inputs = {
        'engine': orm.Str(values['engine']),
        'dfpt': {name: _node(value) for name, value in _arguments(engine, values).items()},
        'reuse': orm.Bool(values['reuse']),
        'max_concurrent': orm.Int(values['max_concurrent']),
        'thresholds': orm.Dict(thresholds) if thresholds else None,
        'max_calculations': orm.Int(values['max_calculations']) if values['max_calculations'] else None,
        'max_core_hours': orm.Float(values['max_core_hours']) if values['max_core_hours'] else None,
    }
    return {name: value for name, value in inputs.items() if value is not None}


def _node(value: Any) -> Any:
    from aiida import orm

    return value if isinstance(value, orm.Data) else orm.to_aiida_type(value)


def _threshold(name: str, text: str) -> float | None:
    if text == 'off':
        return None
    try:
        return float(text)
    except ValueError as error:
        raise click.UsageError(f'--threshold {name}: {text!r} is neither a number nor off') from error


def _arguments(engine: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the engine that the options ask for.

    :raises click.UsageError: with what is wrong
    """
    import yaml

    from aiida_goectp.cli.engine_arguments import engine_arguments

    options = {'queue_name': 'queue', 'account': 'account', 'max_wallclock_seconds': 'wall_time'}
    asked: dict[str, Any] = {
        **{name: values[name] for name in ('potentials', 'protocol', 'relax', 'electronic_only', 'processes')},
        'codes': values['codes'],
        'options': {name: values[option] for name, option in options.items() if values[option] is not None},
        'overrides': yaml.safe_load(values['overrides'].read_text()) or {} if values['overrides'] else {},
        'arguments': {},
    }
    for name, text in values['settings']:
        try:
            asked['arguments'][name] = json.loads(text)
        except json.JSONDecodeError as error:
            raise click.UsageError(f'--set {name}: not JSON ({error}); text needs quotes: \'"text"\'') from error
    try:
        return engine_arguments(engine, values['engine'], asked, {'codes': '--code', 'potentials': '--potentials'})
    except ValueError as error:
        raise click.UsageError(str(error)) from error
