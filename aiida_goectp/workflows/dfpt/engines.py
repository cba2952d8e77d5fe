"""DFPT engines by name: loading, inputs for a structure, and search for earlier and running ones with equal inputs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any

from aiida import orm
from aiida.common.exceptions import EntryPointError, NotExistent
from aiida.plugins import WorkflowFactory

from aiida_goectp.calculations.verification import content_hash
from aiida_goectp.core.formats.settings import unknown_key
from aiida_goectp.workflows.aiida_private import builder_inputs
from aiida_goectp.workflows.dfpt.base import DfptWorkChain
from aiida_goectp.workflows.dfpt.same_inputs import same_settings
from aiida_goectp.workflows.failures import MissingResourceError

__all__ = (
    'argument_nodes',
    'check_engine',
    'earlier_runs',
    'engine_inputs',
    'first_refusal',
    'load_engine',
    'plain_arguments',
    'running_run',
)

_PROGRAMMING_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError)
"""of an engine that was not written for a structure, as with an element that a table of it lacks"""
_ALIVE = timedelta(hours=1)
"""longer than any usual interval between two queries of a scheduler"""


def load_engine(name: str) -> type[DfptWorkChain]:
    """Return the work chain of an engine.

    :param name: ``vasp`` or ``quantumespresso``, the full entry point of another engine, or ``module:class`` for an
        engine without entry point
    :raises ValueError: it cannot be loaded, or does not derive from ``DfptWorkChain``
    """
    try:
        if ':' in name:
            module, _, attribute = name.partition(':')
            engine = getattr(import_module(module), attribute)
        else:
            engine = WorkflowFactory(name if '.' in name else f'goectp.dfpt.{name}')
        if isinstance(engine, type) and issubclass(engine, DfptWorkChain):
            engine.spec()  # imports the plugins of the engine
            return engine
    except (EntryPointError, ImportError, ValueError, AttributeError) as error:
        raise ValueError(f'engine {name!r} cannot be loaded ({error})') from error
    raise ValueError(f'engine {name!r} does not derive from DfptWorkChain')


def check_engine(engine: type[DfptWorkChain], arguments: Mapping[str, Any]) -> None:
    """Check the arguments of an engine as far as they do not depend on the structure.

    :param arguments: arguments of ``get_builder_from_protocol`` except the structure, as nodes or values
    :raises ValueError: an unknown or missing argument, a code of another program, an unknown protocol, or a wrong key
        in the overrides or options
    """
    factory: Any = getattr(engine, 'get_builder_from_protocol', None)
    if factory is None:
        raise ValueError(f'{engine.__name__} has no get_builder_from_protocol')
    parameters = inspect.signature(factory).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    known = [name for name in parameters if name != 'structure']
    unknown = [name for name in arguments if name not in known]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise ValueError(unknown_key(unknown[0], known, 'argument'))
    missing = [
        name
        for name in known
        if name not in arguments
        and parameters[name].default is inspect.Parameter.empty
        and parameters[name].kind is not inspect.Parameter.VAR_KEYWORD
    ]
    if missing:
        raise ValueError(f'{missing[0]}: missing argument of {engine.__name__}')
    engine.check_arguments(**plain_arguments(arguments))


def first_refusal(
    engine: type[DfptWorkChain],
    structures: Iterable[tuple[str, orm.StructureData]],
    arguments: Mapping[str, Any],
    thresholds: orm.Dict | None,
) -> str | None:
    """Return why an engine refuses the first structure if it refuses all of them, None if it accepts one.

    :param structures: id and structure of each
    :param arguments: as for :func:`engine_inputs`
    """
    errors = []
    for name, structure in structures:
        try:
            engine_inputs(engine, structure, arguments, thresholds)
        except ValueError as error:
            errors.append(f'{name}: {error}')
        else:
            return None
    return f'{engine.__name__} refuses the first {len(errors)} crystals; {errors[0]}' if errors else None


def engine_inputs(
    engine: type[DfptWorkChain], structure: orm.StructureData, arguments: Mapping[str, Any], thresholds: orm.Dict | None
) -> dict[str, Any]:
    """Return the inputs of an engine for one structure.

    :param arguments: arguments of ``get_builder_from_protocol`` except the structure; nodes are converted to values
    :param thresholds: thresholds of the quality gates
    :raises MissingResourceError: a code or a family of potentials is not in the profile
    :raises ValueError: the engine refuses the structure or an argument, or raises an exception because of it
    """
    factory: Any = getattr(engine, 'get_builder_from_protocol', None)
    if factory is None:
        raise ValueError(f'{engine.__name__} has no get_builder_from_protocol')
    try:
        builder = factory(structure=structure, **plain_arguments(arguments))
    except NotExistent as error:
        raise MissingResourceError(str(error)) from error
    except TypeError as error:
        raise ValueError(f'arguments of {engine.__name__}.get_builder_from_protocol: {error}') from error
    except _PROGRAMMING_ERRORS as error:
        text = f'{type(error).__name__}: {error}'
        raise ValueError(f'{engine.__name__}.get_builder_from_protocol does not understand it ({text})') from error
    if thresholds is not None:
        builder.thresholds = thresholds
    return builder_inputs(builder)


def argument_nodes(engine: str, arguments: Mapping[str, Any]) -> dict[str, orm.Data]:
    """Return arguments of an engine, with its defaults that depend on the profile, as nodes.

    They are the inputs of a work chain that calls the engine, whose validation names what is invalid.

    :param engine: name of the engine
    """
    try:
        settled = {**load_engine(engine).settled_arguments(plain_arguments(arguments)), **arguments}
    except ValueError:
        settled = dict(arguments)
    return {name: value if isinstance(value, orm.Data) else orm.to_aiida_type(value) for name, value in settled.items()}


def plain_arguments(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of an engine as values, as far as a node has one: codes remain nodes."""
    return {name: _plain(node) for name, node in nodes.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, orm.Dict):
        return value.get_dict()
    if isinstance(value, orm.List):
        return value.get_list()
    return value.value if isinstance(value, orm.Str | orm.Int | orm.Float | orm.Bool) else value


def earlier_runs(engine: type[DfptWorkChain], hashes: Iterable[str]) -> dict[str, list[int]]:
    """Return the work chains of an engine that have ended, for given structures, the newest first.

    :param hashes: content hashes of structures, see :func:`aiida_goectp.calculations.verification.content_hash`
    :return: content hash → PKs
    """
    wanted = set(hashes)
    found: dict[str, list[int]] = {}
    ended = {'attributes.process_state': {'in': ['finished', 'excepted', 'killed']}}
    query = orm.QueryBuilder()
    query.append(engine, filters=ended, project='id', tag='engine')
    query.append(orm.StructureData, with_outgoing='engine', edge_filters={'label': 'structure'}, project='*')
    query.order_by({'engine': {'ctime': 'desc'}})
    for pk, structure in query.iterall():
        key = content_hash(structure)
        if key in wanted:
            found.setdefault(key, []).append(pk)
    return found


def running_run(
    engine: type[DfptWorkChain], structure: orm.StructureData, inputs: Mapping[str, Any]
) -> orm.WorkChainNode | None:
    """Return the oldest work chain of an engine that runs with an equal structure and the same settings, if any.

    One that is paused or has not changed for an hour, nor any of its jobs, may never end, and is not returned.

    :param inputs: of the new run
    """
    key = content_hash(structure)
    states = {'attributes.process_state': {'in': ['created', 'running', 'waiting']}}
    query = orm.QueryBuilder()
    query.append(engine, filters=states, project='*', tag='engine')
    query.append(orm.StructureData, with_outgoing='engine', edge_filters={'label': 'structure'}, project='*')
    query.order_by({'engine': {'ctime': 'asc'}})
    for node, other in query.all():
        if content_hash(other) == key and _is_alive(node) and same_settings(node, engine, inputs):
            found: orm.WorkChainNode = node
            return found
    return None


def _is_alive(node: orm.WorkChainNode) -> bool:
    """Return whether a process that has not ended changed recently; the state of a job is stored at every query."""
    processes = [node, *node.called_descendants]
    newest = max(process.mtime for process in processes)
    return not any(process.paused for process in processes) and datetime.now(timezone.utc) - newest < _ALIVE
