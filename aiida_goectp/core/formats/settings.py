"""Settings that refuse unknown keys and name the wrong key with what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from aiida_goectp.core.formats.errors import FormatError

__all__ = ('Settings', 'read_settings', 'settings_errors', 'unknown_key', 'unknown_value')

_Model = TypeVar('_Model', bound=BaseModel)
_MAX_LENGTH = 60
"""characters of a wrong value that a message shows"""
_NAMES_KEY = re.compile(r'[\w.]+: (unknown|expected) ')
_MAX_LISTED = 40
"""known names that a message lists; of more, only the nearest ones"""


class Settings(BaseModel):
    """Base of immutable settings that refuse unknown keys and values that are not finite."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


def read_settings(model: type[_Model], values: Any, where: str) -> _Model:
    """Return validated settings.

    :param model: class of the settings
    :param values: a mapping, JSON text, or settings of this class
    :param where: name of the settings, such as ``acquisition``; begins each message
    :raises FormatError: one message for each wrong key, joined by semicolons
    """
    try:
        return model.model_validate_json(values) if isinstance(values, str | bytes) else model.model_validate(values)
    except ValidationError as error:
        raise FormatError('; '.join(settings_errors(model, error, where))) from error


def settings_errors(model: type[BaseModel], error: ValidationError, where: str = '') -> list[str]:
    """Return one message for each wrong key: its path, what is wrong, and what is allowed.

    :param model: class of the settings
    :param error: of the validation
    :param where: name of the settings, which begins each path; none if empty
    """
    messages = []
    for item in error.errors():
        path = '.'.join(filter(None, [where, *map(str, item['loc'])]))
        if item['type'] == 'extra_forbidden':
            messages.append(unknown_key(path, _fields(model, item['loc'][:-1])))
        elif item['type'] == 'missing':
            messages.append(f'{path}: missing; set a value')
        else:
            message = item['msg'].removeprefix('Value error, ').replace('Input should be', 'should be')
            found = '' if item['type'] in ('value_error', 'json_invalid') else f', found {_short(item["input"])}'
            own = f'{item["loc"][-1]}.' if item['loc'] else '.'
            if path and _NAMES_KEY.match(message):  # a validator that checks the keys below this one
                messages.append(f'{path}.{message.removeprefix(own)}')
            else:
                messages.append(f'{path}: {message}{found}')
    return messages


def unknown_key(path: str, known: Iterable[str], noun: str = 'setting') -> str:
    """Return the message about an unknown key: its path, the nearest known key, and the known keys.

    :param path: dotted path of the key
    :param known: keys that are allowed in its place
    :param noun: what the key is
    """
    names = list(known)
    hint, listed = _nearest(path.rpartition('.')[2], names)
    return f'{path}: unknown {noun}{hint}{f"; known {noun}s: {listed}" if listed else ""}'


def unknown_value(path: str, value: object, known: Iterable[str]) -> str:
    """Return the message about an unknown name as a value: its path, the nearest known name, and the known names.

    :param path: dotted path of the key
    :param known: values that are allowed
    """
    hint, listed = _nearest(str(value), list(known))
    return f'{path}: unknown value {_short(value)}{hint}{f"; allowed: {listed}" if listed else ""}'


def _nearest(name: str, known: list[str]) -> tuple[str, str]:
    """Return a hint at the known name that is nearest, and the list of known names if there are not too many."""
    by_lower = {item.lower(): item for item in reversed(known)}
    close = get_close_matches(name.lower(), by_lower, n=1)
    hint = f' (did you mean {by_lower[close[0]]!r}?)' if close else ''
    return hint, (', '.join(known) or 'none') if len(known) <= _MAX_LISTED else ''


def _fields(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings at a path within a model."""
    for name in path:
        if isinstance(name, int):
            continue
        field = model.model_fields.get(name)
        inner = _model_in(field.annotation) if field is not None else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation such as ``Model | None`` or ``tuple[Model, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in getattr(annotation, '__args__', ()) if (found := _model_in(part))), None)


def _short(value: Any) -> str:
    text = 'an object of settings' if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + '…'
