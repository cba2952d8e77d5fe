"""Settings that refuse unknown keys and name the wrong key with what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from aiida_goectp.core.formats.npz import FormatError

__all__ = ('Settings', 'read_settings', 'settings_errors')

_Model = TypeVar('_Model', bound=BaseModel)
_MAX_LENGTH = 60
"""characters of a wrong value that a message shows"""


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
            known = _fields(model, item['loc'][:-1])
            close = get_close_matches(str(item['loc'][-1]), known, n=1)
            hint = f' (did you mean {close[0]!r}?)' if close else ''
            messages.append(f'{path}: unknown setting{hint}; known settings: {", ".join(known) or "none"}')
        elif item['type'] == 'missing':
            messages.append(f'{path}: missing; set a value')
        else:
            message = item['msg'].removeprefix('Value error, ').replace('Input should be', 'should be')
            found = '' if item['type'] in ('value_error', 'json_invalid') else f', found {_short(item["input"])}'
            messages.append(f'{path}: {message}{found}')
    return messages


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
