"""``aiida-goectp verify``."""

from __future__ import annotations

import inspect
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
    from aiida_goectp.cli.views import show_node

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

    from aiida_goectp.calculations.head import first_of

    if isinstance(node, orm.ProcessNode) and 'selection' in node.outputs:
        node = node.outputs.selection
    if not isinstance(node, orm.List) or node.creator is None or 'ranking' not in node.creator.inputs:
        raise click.UsageError(f'node {node.pk} is neither a screen that selected something nor such a selection')
    links = node.creator.base.links.get_outgoing(node_class=orm.StructureData, link_type=LinkType.CREATE).all()
    found = {link.link_label.removeprefix('structures__'): link.node for link in links}
    ranked = node.creator.inputs.ranking.creator
    chosen = node
    if number is not None and number < len(node):
        chosen = first_of(node, orm.Int(number))
    inputs = {'selection': chosen, 'structures': {item['structure']: found[item['structure']] for item in chosen}}
    if ranked is not None and 'predictions' in ranked.inputs:
        inputs['predictions'] = ranked.inputs.predictions
    return inputs


def _inputs(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the options say."""
    from aiida import orm

    from aiida_goectp.workflows.engines import load_engine

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
    """Return the arguments of the engine's ``get_builder_from_protocol``, whose signature says what there is.

    An argument ``code`` or ``ROLE_code`` takes a code, one that ends in ``_family`` the potentials.
    """
    import yaml

    parameters = dict(inspect.signature(engine.get_builder_from_protocol).parameters)
    parameters.pop('structure', None)
    known = list(parameters)
    needed = [name for name, item in parameters.items() if item.default is inspect.Parameter.empty]
    arguments: dict[str, Any] = dict(_codes(known, needed, values['engine'], values['codes']))
    family = next((name for name in known if name.endswith('_family')), None)
    if values['potentials'] is not None:
        if family is None:
            raise click.UsageError(f'the engine {values["engine"]} takes no --potentials')
        arguments[family] = values['potentials']
    if values['protocol'] is not None:
        arguments['protocol'] = values['protocol']
    overrides = yaml.safe_load(values['overrides'].read_text()) or {} if values['overrides'] else {}
    overrides |= {name: values[name] for name in ('relax', 'electronic_only') if values[name] is not None}
    options: dict[str, Any] = {
        'queue_name': values['queue'],
        'account': values['account'],
        'max_wallclock_seconds': values['wall_time'],
    }
    if values['processes']:
        options['resources'] = {'num_machines': 1, 'num_mpiprocs_per_machine': values['processes']}
        options['withmpi'] = values['processes'] > 1
    options = {name: value for name, value in options.items() if value is not None}
    arguments |= {name: value for name, value in {'overrides': overrides, 'options': options}.items() if value}
    for name, text in values['settings']:
        try:
            arguments[name] = json.loads(text)
        except json.JSONDecodeError as error:
            raise click.UsageError(f'--set {name}: not JSON ({error}); text needs quotes: \'"text"\'') from error
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise click.UsageError(
            f'the engine {values["engine"]} takes no {", ".join(unknown)}; it takes {", ".join(known)}'
        )
    return arguments


def _codes(known: list[str], needed: list[str], engine: str, given: tuple[str, ...]) -> dict[str, Any]:
    """Return the code for each role: as given, else that of the same name on localhost.

    :param known: names of all arguments
    :param needed: names of those without default
    """
    from aiida.common.exceptions import MultipleObjectsError, NotExistent
    from aiida.orm import load_code

    own = engine.rpartition('.')[2].rpartition(':')[2]
    roles = {own if name == 'code' else name.removesuffix('_code'): name for name in known if name.endswith('code')}
    labels = {role: f'{role}@localhost' for role, name in roles.items() if name in needed}
    for text in given:
        role, _, label = text.rpartition('=')
        if role == '' and len(roles) == 1:
            role = next(iter(roles))
        if role not in roles:
            raise click.UsageError(f'--code {text}: say for which role: {", ".join(f"{name}=…" for name in roles)}')
        labels[role] = label
    codes = {}
    for role, label in labels.items():
        try:
            codes[roles[role]] = load_code(label)
        except (NotExistent, MultipleObjectsError) as error:
            raise click.UsageError(
                f'no code {label} for {role} ({error}); name one with --code {role}=…, or see `aiida-goectp setup`'
            ) from error
    return codes
