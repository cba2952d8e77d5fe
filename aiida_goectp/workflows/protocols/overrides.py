"""Check of the inputs of a protocol, overrides included, before a builder is made.

Every key at any depth must be an input port of the work chain, or a key of the settings that a port takes, and have a
value of its type. A misspelt key would otherwise leave the default in force, unnoticed until the budget is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent
from aiida.engine.processes.ports import PortNamespace
from aiida.plugins.entry_point import get_entry_point_names
from aiida.schedulers.datastructures import NodeNumberJobResource
from pydantic import BaseModel

from aiida_goectp.calculations.base import code_error
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import read_settings, unknown_key, unknown_value

__all__ = (
    'JOB_CHECKS',
    'Check',
    'any_value',
    'as_argument',
    'choice',
    'code_of',
    'input_errors',
    'keys_of',
    'monitor_errors',
    'of_type',
    'positive_integer',
    'prefixed',
    'settings_of',
)

Check = Callable[[str, Any], Iterator[str]]
"""(dotted path, value) → errors"""

_PLAIN: dict[type, tuple[type, ...]] = {
    orm.Bool: (bool,),
    orm.Int: (int,),
    orm.Float: (int, float),
    orm.Str: (str,),
    orm.Dict: (Mapping,),
    orm.List: (list, tuple),
    float: (int, float),
    dict: (Mapping,),
}
"""Python types that are converted to a type of node"""

_MONITOR = ('entry_point', 'kwargs', 'minimum_poll_interval', 'disabled')
"""keys of a monitor in aiida-core"""

_NAMES: dict[type, str] = {
    bool: 'true or false',
    int: 'an integer',
    float: 'a number',
    str: 'text',
    Mapping: 'a mapping',
    list: 'a list',
}


def input_errors(ports: Any, values: Any, checks: Mapping[str, Check], path: str = '') -> Iterator[str]:
    """Yield one message per wrong key or value: its path, what was found, and what is allowed.

    :param ports: namespace of input ports
    :param values: inputs, nested as the ports
    :param checks: dotted path → check of the value in place of its port, also for keys without a port
    :param path: of the namespace
    """
    if not isinstance(values, Mapping):
        yield f'{path}: expected a mapping of {", ".join(ports)}; found {values!r}'
        return
    for key, value in values.items():
        place = f'{path}.{key}' if path else str(key)
        if place in checks:
            yield from checks[place](place, value)
        elif key not in ports:
            # aiida-core declares the namespaces of all jobs as dynamic: only one without ports has free keys
            if len(ports) or not ports.dynamic:
                yield unknown_key(place, _known_keys(ports, checks, path), 'input')
        elif isinstance(ports[key], PortNamespace):
            yield from input_errors(ports[key], value, checks, place)
        else:
            yield from _type_errors(place, value, ports[key].valid_type)


def _known_keys(ports: Any, checks: Mapping[str, Check], path: str) -> list[str]:
    """Return the keys of a namespace that may be given, also those without a port."""
    own = [name.rpartition('.')[2] for name in checks if name.rpartition('.')[0] == path]
    refused = {name.rpartition('.')[2] for name, check in checks.items() if check is as_argument}
    return [name for name in dict.fromkeys([*ports, *own]) if name not in refused]


def _type_errors(place: str, value: Any, valid_type: Any) -> Iterator[str]:
    """Yield an error if a value is neither of the type of its port nor converted to it."""
    types = () if valid_type is None else valid_type if isinstance(valid_type, tuple) else (valid_type,)
    if value is None and type(None) in types and not any(issubclass(item, orm.Data) for item in types):
        return  # an option of a job; a node of None would have the value 0 or false
    types = tuple(item for item in types if item is not type(None))
    if not types or (isinstance(value, types) and not (isinstance(value, bool) and bool not in types)):
        return
    plain = tuple(kind for item in types for kind in _PLAIN.get(item, ()))
    if isinstance(value, plain) and not (isinstance(value, bool) and bool not in plain):
        return
    wanted = _NAMES.get(plain[-1], plain[-1].__name__) if plain else types[0].__name__
    yield f'{place}: expected {wanted}; found {value!r}'


def any_value(place: str, value: Any) -> Iterator[str]:
    """Accept any value: the keys are free, or another program defines them."""
    yield from ()


def as_argument(place: str, value: Any) -> Iterator[str]:
    """Refuse an input that is an argument of the builder."""
    yield f'{place}: not an override; give it as an argument of get_builder_from_protocol'


def settings_of(model: type[BaseModel]) -> Check:
    """Return the check of a dictionary with the fields of a settings class."""

    def check(place: str, value: Any) -> Iterator[str]:
        try:
            read_settings(model, value.get_dict() if isinstance(value, orm.Dict) else value, place)
        except FormatError as error:
            yield str(error)

    return check


def keys_of(known: Callable[[], Collection[str]] | Collection[str], noun: str = 'key') -> Check:
    """Return the check of a mapping whose keys are known.

    :param known: the keys, or a function that returns them where an optional package defines them
    """

    def check(place: str, value: Any) -> Iterator[str]:
        names = known() if callable(known) else known
        content = value.get_dict() if isinstance(value, orm.Dict) else value
        if not isinstance(content, Mapping):
            yield f'{place}: expected a mapping; found {content!r}'
            return
        for key in content:
            if str(key) not in names:
                yield unknown_key(f'{place}.{key}', names, noun)

    return check


def choice(known: Callable[[], Collection[str]]) -> Check:
    """Return the check of a name."""

    def check(place: str, value: Any) -> Iterator[str]:
        if value not in known():
            yield unknown_value(place, value, known())

    return check


def positive_integer(place: str, value: Any) -> Iterator[str]:
    """Refuse another value than a positive integer or None; AiiDA takes any integer as limit of a job."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        yield f'{place}: expected a positive integer; found {value!r}'


def monitor_errors(place: str, value: Any) -> Iterator[str]:
    """Check monitors of a job by their names, which are free; None removes one."""
    if not isinstance(value, Mapping):
        yield f'{place}: expected a mapping; found {value!r}'
        return
    for name, monitor in value.items():
        if monitor is not None:
            yield from keys_of(_MONITOR, 'key')(f'{place}.{name}', monitor)


def of_type(*valid_types: type) -> Check:
    """Return the check of a value that is converted to a node of a type."""

    def check(place: str, value: Any) -> Iterator[str]:
        yield from _type_errors(place, value, valid_types)

    return check


def code_of(*plugins: str) -> Check:
    """Return the check of a code, or of its full label.

    :param plugins: entry points of jobs; each also stands for those that begin with it and a dot
    """

    def check(place: str, value: Any) -> Iterator[str]:
        if isinstance(value, str):
            try:
                value = orm.load_code(value)
            except (NotExistent, MultipleObjectsError) as error:
                yield f'{place}: {error}; list the codes with `verdi code list`'
                return
        if wrong := code_error(value, *plugins):
            yield f'{place}: {wrong}'

    return check


def prefixed(name: str, checks: Mapping[str, Check]) -> dict[str, Check]:
    """Return checks for inputs that are nested in a namespace.

    :param name: dotted name of the namespace
    """
    return {f'{name}.{place}': check for place, check in checks.items()}


JOB_CHECKS: dict[str, Check] = {
    'metadata.options.resources': keys_of([*NodeNumberJobResource.get_valid_keys(), 'parallel_env'], 'resource'),
    'metadata.options.environment_variables': any_value,
    'metadata.options.max_wallclock_seconds': positive_integer,
    'metadata.options.max_memory_kb': positive_integer,
    'metadata.options.parser_name': choice(lambda: get_entry_point_names('aiida.parsers')),
}
"""checks of every job"""
