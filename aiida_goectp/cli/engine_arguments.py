"""Arguments of the builder of an engine, from options or a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent

from aiida_goectp.core.formats.settings import unknown_key
from aiida_goectp.workflows.dfpt.engines import check_engine, plain_arguments
from aiida_goectp.workflows.protocols.mixin import merge

__all__ = ('changed_arguments', 'engine_arguments')


def engine_arguments(
    engine: Any, name: str, requested: Mapping[str, Any], option_names: Mapping[str, str]
) -> dict[str, Any]:
    """Return the arguments of ``get_builder_from_protocol`` of an engine, as its signature defines them.

    An argument ``code`` or ``ROLE_code`` is a code; one whose name ends with ``_family`` is the pseudopotential family.

    :param engine: work chain of the engine
    :param name: name of the engine
    :param requested: ``codes`` as ``ROLE=LABEL``, ``potentials``, ``protocol``, ``relax``, ``electronic_only``,
        ``processes``, ``options`` of each job, ``overrides``, and ``arguments`` by name; each may be missing
    :param option_names: how the user gives one of ``codes``, with {} in place of it, and ``potentials``, for messages
    :raises ValueError: an unknown argument, role or code
    """
    parameters = dict(inspect.signature(engine.get_builder_from_protocol).parameters)
    parameters.pop('structure', None)
    required = {key for key, item in parameters.items() if item.default is inspect.Parameter.empty}
    code_roles = _code_roles(list(parameters), name)
    own = name.endswith('quantumespresso')
    remedy = '`aiida-goectp setup dfpt`' if own else '`verdi code create core.code.installed`'
    given = requested.get('codes') or ()
    arguments: dict[str, Any] = _codes(code_roles, required, given, option_names['codes'], remedy)
    if requested.get('potentials') is not None:
        family = next((key for key in parameters if key.endswith('_family')), None)
        if family is None:
            raise ValueError(f'engine {name}: unknown argument {option_names["potentials"]}')
        arguments[family] = requested['potentials']
    if requested.get('protocol') is not None:
        arguments['protocol'] = requested['protocol']
    overrides = dict(requested.get('overrides') or {})
    overrides |= {key: requested[key] for key in ('relax', 'electronic_only') if requested.get(key) is not None}
    options = dict(requested.get('options') or {})
    if requested.get('processes'):
        options['resources'] = {'num_machines': 1, 'num_mpiprocs_per_machine': requested['processes']}
        options['withmpi'] = requested['processes'] > 1
    arguments |= {key: value for key, value in {'overrides': overrides, 'options': options}.items() if value}
    arguments |= requested.get('arguments') or {}
    check_engine(engine, arguments)
    return arguments


def changed_arguments(
    engine: Any, name: str, stored: Mapping[str, Any], requested: Mapping[str, Any], option_names: Mapping[str, str]
) -> dict[str, Any]:
    """Return the arguments of an earlier run of an engine with changes.

    :param stored: arguments of the earlier run, as nodes
    :param requested: changes, as for :func:`engine_arguments`; options and overrides are merged over the stored ones
    :raises ValueError: an unknown argument, role or code
    """
    before = plain_arguments(stored)
    roles = _code_roles(list(inspect.signature(engine.get_builder_from_protocol).parameters), name)
    codes = [f'{role}={getattr(before[key], "uuid", before[key])}' for role, key in roles.items() if key in before]
    taken = {'options', 'overrides', *roles.values()}
    if requested.get('protocol') is not None:
        taken.add('protocol')
    if requested.get('potentials') is not None:
        taken |= {key for key in before if key.endswith('_family')}
    kept = {key: value for key, value in before.items() if key not in taken}
    merged = {key: merge(before.get(key) or {}, requested.get(key) or {}) for key in ('options', 'overrides')}
    arguments = {**kept, **(requested.get('arguments') or {})}
    changed = {**requested, **merged, 'codes': [*codes, *(requested.get('codes') or ())], 'arguments': arguments}
    return engine_arguments(engine, name, changed, option_names)


def _code_roles(parameters: list[str], engine: str) -> dict[str, str]:
    """Return role → name of the argument; the role of an argument ``code`` is the last part of the engine's name."""
    own_role = engine.rpartition('.')[2].rpartition(':')[2]
    return {own_role if key == 'code' else key.removesuffix('_code'): key for key in parameters if key.endswith('code')}


def _codes(
    roles: Mapping[str, str], required: set[str], given: Iterable[str], option: str, remedy: str
) -> dict[str, Any]:
    """Return the code of each role: the one given, or for a required argument ROLE@localhost.

    :param roles: role → name of the argument
    :param required: names of the arguments without default
    :param given: ``ROLE=LABEL``, or ``LABEL`` if there is one role
    :param option: how the user gives a code, for messages, with {} in place of the pair
    :param remedy: command that creates missing codes
    """
    labels = {role: f'{role}@localhost' for role, key in roles.items() if key in required}
    for text in given:
        role, _, label = text.rpartition('=')
        if role == '' and len(roles) == 1:
            role = next(iter(roles))
        if role not in roles:
            raise ValueError(f'{option.format(text)}: {unknown_key(role, roles, "role")}; give ROLE=CODE')
        labels[role] = label
    codes = {}
    for role, label in labels.items():
        try:
            codes[roles[role]] = orm.load_code(label)
        except (NotExistent, MultipleObjectsError) as error:
            given_as = option.format(f'{role}=…')
            raise ValueError(
                f'code {label} for the role {role}: {error}; give one with {given_as}, or run {remedy}'
            ) from error
    return codes
