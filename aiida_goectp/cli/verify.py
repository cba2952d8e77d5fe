"""``aiida-goectp verify``."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any

import click
from aiida.cmdline.params.types import NodeParamType
from aiida.cmdline.utils import decorators

from aiida_goectp.cli.options import (
    ACCOUNT,
    PROTOCOL,
    QUEUE,
    WALL_TIME,
    parse_json_settings,
    run_or_submit,
    scheduler_options,
)
from aiida_goectp.cli.params import FILE

__all__ = ('verify',)

_MAX_TRIED_STRUCTURES = 50
"""the engine must accept one of these"""


@click.command()
@click.argument('selection', required=False, type=NodeParamType())
@click.option('--engine', required=True, help='DFPT engine: quantumespresso, vasp, or an entry point.')
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
    type=click.FloatRange(min=0, min_open=True),
    help='Submit no calculation after this many core-hours.',
)
@click.option(
    '--reuse/--no-reuse',
    default=True,
    help='Use stored responses of equal structures computed with equal inputs, or not.  [default: reuse]',
)
@click.option(
    '--threshold',
    'thresholds',
    type=(str, str),
    multiple=True,
    metavar='GATE NUMBER',
    help="Override a quality-gate threshold; 'off' disables it. May be given several times.",
)
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
@click.option('--label', default='', help='Label of the work chain.')
@run_or_submit()
@decorators.with_dbenv()
def verify(selection: Any, run: bool, label: str, **values: Any) -> None:
    """Compute a SELECTION by DFPT and compare with the prediction.

    SELECTION is a screen or its output `selection`, given by PK, UUID or label; the default is the latest screen. The
    crystals are computed in the order of their rank. A failed calculation does not stop the others.
    """
    from aiida_goectp.cli.jobs import launch
    from aiida_goectp.cli.queries import latest_screen

    inputs = _selection_inputs(selection if selection is not None else latest_screen(), values['number'])
    inputs |= _option_inputs(values)
    _check_structures(inputs)
    builder = _builder(inputs, label)
    launch(
        builder, run, f'computing {len(inputs["selection"])} crystals with {values["engine"]}', len(inputs['selection'])
    )


def _builder(inputs: dict[str, Any], label: str) -> Any:
    """Return the builder of the verification.

    :raises click.UsageError: invalid inputs
    """
    from aiida_goectp.cli.jobs import validated
    from aiida_goectp.workflows.verify import VerifyWorkChain

    builder: Any = VerifyWorkChain.get_builder()
    try:
        for name, value in inputs.items():
            setattr(builder, name, value)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    validated(builder).metadata.label = label
    return builder


def _check_structures(inputs: dict[str, Any]) -> None:
    """Check that the engine accepts one of the first structures: potentials and functionals may be unknown.

    :raises click.UsageError: it refuses all of them
    """
    from aiida_goectp.workflows.dfpt.engines import first_refusal, load_engine

    items = inputs['selection'].get_list()[:_MAX_TRIED_STRUCTURES]
    structures = ((item['id'], inputs['structures'][item['structure']]) for item in items)
    error = first_refusal(load_engine(inputs['engine'].value), structures, inputs['dfpt'], inputs.get('thresholds'))
    if error is not None:
        raise click.UsageError(error)


def _selection_inputs(node: Any, number: int | None) -> dict[str, Any]:
    """Return selection, structures and predictions of a screen or of its selection.

    :param number: maximum number of crystals
    :raises click.UsageError: another kind of node
    """
    from aiida import orm
    from aiida.common.links import LinkType

    from aiida_goectp.calculations.select import take_first

    if isinstance(node, orm.ProcessNode) and 'selection' in node.outputs:
        node = node.outputs.selection
    if not isinstance(node, orm.List) or node.creator is None or 'ranking' not in node.creator.inputs:
        raise click.UsageError(
            f'node {node.pk} is a {type(node).__name__}; give a screen with a selection, or its output `selection`'
        )
    links = node.creator.base.links.get_outgoing(node_class=orm.StructureData, link_type=LinkType.CREATE).all()
    structures = {link.link_label.removeprefix('structures__'): link.node for link in links}
    ranked = node.creator.inputs.ranking.creator
    selection = node
    if number is not None and number < len(node):
        selection = take_first(node, orm.Int(number))
    names = [item['structure'] for item in selection]
    inputs = {'selection': selection, 'structures': {name: structures[name] for name in names}}
    if ranked is not None and 'predictions' in ranked.inputs:
        inputs['predictions'] = ranked.inputs.predictions
    return inputs


def _option_inputs(values: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs that the options give.

    :raises click.UsageError: invalid option values
    """
    from aiida import orm

    from aiida_goectp.core.dielectric.gates import check_thresholds
    from aiida_goectp.workflows.dfpt.engines import load_engine

    try:
        engine = load_engine(values['engine'])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    thresholds = {name: _threshold(name, text) for name, text in values['thresholds']}
    try:
        check_thresholds(thresholds)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    inputs = {
        'engine': orm.Str(values['engine']),
        'dfpt': {
            name: value if isinstance(value, orm.Data) else orm.to_aiida_type(value)
            for name, value in _engine_arguments(engine, values).items()
        },
        'reuse': orm.Bool(values['reuse']),
        'max_concurrent': orm.Int(values['max_concurrent']),
        'thresholds': orm.Dict(thresholds) if thresholds else None,
        'max_calculations': orm.Int(values['max_calculations']) if values['max_calculations'] else None,
        'max_core_hours': orm.Float(values['max_core_hours']) if values['max_core_hours'] else None,
    }
    return {name: value for name, value in inputs.items() if value is not None}


def _threshold(name: str, text: str) -> float | None:
    if text == 'off':
        return None
    try:
        return float(text)
    except ValueError as error:
        raise click.UsageError(f"--threshold {name}: invalid value {text!r}; give a number or 'off'") from error


def _read_overrides(file: Path) -> dict[str, Any]:
    """Return the overrides in a YAML file.

    :raises click.UsageError: not a YAML file with keys
    """
    from aiida_goectp.core.formats.yaml_input import read_yaml

    try:
        content = read_yaml(file.read_text(encoding='utf-8'), str(file))[1]
    except ValueError as error:  # FormatError included
        raise click.UsageError(f'--overrides {error}') from error
    if not isinstance(content, dict | NoneType):
        raise click.UsageError(f'--overrides {file}: expected keys as in the protocol, found {content!r:.60}')
    return content or {}


def _engine_arguments(engine: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the engine that the options give.

    :raises click.UsageError: invalid option values
    """
    from aiida_goectp.cli.engine_arguments import engine_arguments

    requested = {
        **{name: values[name] for name in ('potentials', 'protocol', 'relax', 'electronic_only', 'processes')},
        'codes': values['codes'],
        'options': scheduler_options(values),
        'overrides': _read_overrides(values['overrides']) if values['overrides'] else {},
        'arguments': parse_json_settings(values['settings']),
    }
    try:
        return engine_arguments(engine, values['engine'], requested, {'codes': '--code', 'potentials': '--potentials'})
    except ValueError as error:
        raise click.UsageError(str(error)) from error
