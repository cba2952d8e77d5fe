"""Arguments of an engine, from what somebody asked for by options or in a file."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ('engine_arguments',)


def engine_arguments(engine: Any, name: str, asked: Mapping[str, Any], called: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of the engine's ``get_builder_from_protocol``, whose signature says what there is.

    An argument ``code`` or ``ROLE_code`` takes a code, one that ends in ``_family`` the potentials.

    :param engine: work chain of the engine
    :param name: by which it is called
    :param asked: ``codes`` as ``ROLE=LABEL``, ``potentials``, ``protocol``, ``relax``, ``electronic_only``,
        ``processes``, ``options`` of each job, ``overrides``, and ``arguments`` by their own names; any may be missing
    :param called: how codes and potentials are asked for, for messages
    :raises ValueError: with what is wrong
    """
    parameters = dict(inspect.signature(engine.get_builder_from_protocol).parameters)
    parameters.pop('structure', None)
    known = list(parameters)
    needed = [key for key, item in parameters.items() if item.default is inspect.Parameter.empty]
    arguments: dict[str, Any] = dict(_codes(known, needed, name, asked.get('codes') or (), called['codes']))
    if asked.get('potentials') is not None:
        family = next((key for key in known if key.endswith('_family')), None)
        if family is None:
            raise ValueError(f'the engine {name} takes no {called["potentials"]}')
        arguments[family] = asked['potentials']
    if asked.get('protocol') is not None:
        arguments['protocol'] = asked['protocol']
    overrides = dict(asked.get('overrides') or {})
    overrides |= {key: asked[key] for key in ('relax', 'electronic_only') if asked.get(key) is not None}
    options = dict(asked.get('options') or {})
    if asked.get('processes'):
        options['resources'] = {'num_machines': 1, 'num_mpiprocs_per_machine': asked['processes']}
        options['withmpi'] = asked['processes'] > 1
    arguments |= {key: value for key, value in {'overrides': overrides, 'options': options}.items() if value}
    arguments |= asked.get('arguments') or {}
    unknown = [key for key in arguments if key not in known]
    if unknown:
        raise ValueError(f'the engine {name} takes no {", ".join(unknown)}; it takes {", ".join(known)}')
    return arguments


def _codes(known: list[str], needed: list[str], engine: str, given: Iterable[str], called: str) -> dict[str, Any]:
    """Return the code for each role: as given, else that of the same name on localhost.

    :param known: names of all arguments
    :param needed: names of those without default
    """
    from aiida.common.exceptions import MultipleObjectsError, NotExistent
    from aiida.orm import load_code

    own = engine.rpartition('.')[2].rpartition(':')[2]
    roles = {own if key == 'code' else key.removesuffix('_code'): key for key in known if key.endswith('code')}
    labels = {role: f'{role}@localhost' for role, key in roles.items() if key in needed}
    for text in given:
        role, _, label = text.rpartition('=')
        if role == '' and len(roles) == 1:
            role = next(iter(roles))
        if role not in roles:
            raise ValueError(f'{called} {text}: say for which role: {", ".join(f"{item}=…" for item in roles)}')
        labels[role] = label
    codes = {}
    for role, label in labels.items():
        try:
            codes[roles[role]] = load_code(label)
        except (NotExistent, MultipleObjectsError) as error:
            raise ValueError(
                f'no code {label} for {role} ({error}); name one with {called} {role}=…, or see `aiida-goectp setup`'
            ) from error
    return codes
