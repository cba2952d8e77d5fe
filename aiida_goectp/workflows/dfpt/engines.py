"""Find an engine by its name, give it what it wants for a structure, and recognise what it has computed before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiida import orm
from aiida.common.exceptions import EntryPointError, NotExistent
from aiida.common.hashing import make_hash

from aiida_goectp.calculations.verification import content_hash
from aiida_goectp.workflows.dfpt.base import DfptWorkChain

__all__ = ('earlier_responses', 'engine_inputs', 'load_engine', 'same_settings')

_NO_MATTER = ('structure', 'thresholds', 'clean_workdir')
"""inputs that do not determine a response; the structure is compared by its content, and verdicts are made anew"""


def load_engine(name: str) -> type[DfptWorkChain]:
    """Return the work chain of an engine.

    :param name: ``vasp`` or ``quantumespresso``, the full entry point of any other, or ``module:class`` for one that is
        not installed as an entry point
    :raises ValueError: there is none, or it is no engine
    """
    from aiida.engine.persistence import get_object_loader
    from aiida.plugins import WorkflowFactory

    try:
        if ':' in name:
            engine = get_object_loader().load_object(name)
        else:
            engine = WorkflowFactory(name if '.' in name else f'goectp.dfpt.{name}')
        if isinstance(engine, type) and issubclass(engine, DfptWorkChain):
            engine.spec()  # what an engine needs may be imported here
            return engine
    except (EntryPointError, ImportError, ValueError, AttributeError) as error:
        raise ValueError(f'no engine {name!r} can be loaded ({error})') from error
    raise ValueError(f'{name} is no engine: it does not derive from DfptWorkChain')


def engine_inputs(
    engine: type[DfptWorkChain], structure: orm.StructureData, arguments: Mapping[str, Any], thresholds: orm.Dict | None
) -> dict[str, Any]:
    """Return the inputs with which an engine computes one structure.

    :param arguments: those of ``get_builder_from_protocol`` but the structure; nodes of plain values are unpacked
    :param thresholds: of the gates
    :raises ValueError: the engine cannot compute this structure with these arguments
    """
    factory: Any = getattr(engine, 'get_builder_from_protocol', None)
    if factory is None:
        raise ValueError(f'{engine.__name__} has no get_builder_from_protocol')
    try:
        builder = factory(structure=structure, **_plain(arguments))
    except NotExistent as error:
        raise ValueError(str(error)) from error
    except TypeError as error:
        raise ValueError(f'arguments of {engine.__name__}.get_builder_from_protocol: {error}') from error
    if thresholds is not None:
        builder.thresholds = thresholds
    inputs: dict[str, Any] = builder._inputs(prune=True)
    return inputs


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, orm.Dict):
        return value.get_dict()
    if isinstance(value, orm.List):
        return value.get_list()
    return value.value if isinstance(value, orm.Str | orm.Int | orm.Float | orm.Bool) else value


def earlier_responses(engine: type[DfptWorkChain], hashes: Iterable[str]) -> dict[str, list[int]]:
    """Return which work chains of this engine have computed which of these structures, the newest first.

    :param hashes: content hashes, see :func:`aiida_goectp.calculations.verification.content_hash`
    :return: content hash → PKs of those that ended with exit code 0
    """
    wanted = set(hashes)
    found: dict[str, list[int]] = {}
    query = orm.QueryBuilder()
    query.append(engine, filters={'attributes.exit_status': 0}, project='id', tag='engine')
    query.append(orm.StructureData, with_outgoing='engine', edge_filters={'label': 'structure'}, project='*')
    query.order_by({'engine': {'id': 'desc'}})
    for pk, structure in query.iterall():
        key = content_hash(structure)
        if key in wanted:
            found.setdefault(key, []).append(pk)
    return found


def same_settings(node: orm.WorkChainNode, engine: type[DfptWorkChain], inputs: Mapping[str, Any]) -> bool:
    """Return whether a work chain had inputs of equal content, but for the structure and what is no physics.

    Inputs that are not in the database, such as queues and wall times, determine no response and are not compared.

    :param inputs: those that the next one would get
    """
    links = node.base.links.get_incoming(node_class=orm.Data).all()
    before = {link.link_label: _hash(link.node) for link in links if link.link_label not in _NO_MATTER}
    ports = engine.spec().inputs
    complete = ports.pre_process(ports.serialize(dict(inputs)) or {})
    after = {name: _hash(item) for name, item in _flat(complete).items() if name not in _NO_MATTER}
    return before == after


def _hash(node: Any) -> str:
    """Return the hash by which caching compares nodes, of one that need not be stored yet."""
    return make_hash(node.base.caching.get_objects_to_hash())


def _flat(inputs: Mapping[str, Any], prefix: str = '') -> dict[str, orm.Data]:
    """Return all nodes by their link labels."""
    found: dict[str, orm.Data] = {}
    for key, value in inputs.items():
        if isinstance(value, Mapping) and not isinstance(value, orm.Data):
            found |= _flat(value, f'{prefix}{key}__')
        elif isinstance(value, orm.Data):
            found[f'{prefix}{key}'] = value
    return found
