"""Settings that refuse what they do not know, and say which key is wrong and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from aiida_goectp.core.formats.npz import FormatError

__all__ = ('Settings', 'read_settings', 'settings_errors')

_Model = TypeVar('_Model', bound=BaseModel)


class Settings(BaseModel):
    """Base of all settings: unknown keys and values that are not finite are refused, nothing changes afterwards."""

    model_config = ConfigDict(extra='forbid', frozen=True, allow_inf_nan=False)


def read_settings(model: type[_Model], values: Any, where: str) -> _Model:
    """Return validated settings.

    :param model: class of the settings
    :param values: what was given: a mapping, JSON text, or settings of this class
    :param where: what the settings are of, e.g. ``acquisition``; begins each message
    :raises FormatError: with one sentence for each wrong key, joined by semicolons
    """
    try:
        return model.model_validate_json(values) if isinstance(values, str | bytes) else model.model_validate(values)
    except ValidationError as error:
        raise FormatError('; '.join(settings_errors(model, error, where))) from error


def settings_errors(model: type[BaseModel], error: ValidationError, where: str) -> list[str]:
    """Return one sentence for each wrong key: where it stands, what is wrong, what there is instead."""
    found = []
    for item in error.errors():
        place = '.'.join([where, *map(str, item['loc'])])
        if item['type'] == 'extra_forbidden':
            known = _fields(model, item['loc'][:-1])
            near = get_close_matches(str(item['loc'][-1]), known, n=1)
            hint = f' (did you mean {near[0]!r}?)' if near else ''
            found.append(f'{place}: no such setting{hint}; there are: {", ".join(known) or "none"}')
            continue
        if item['type'] == 'missing':
            found.append(f'{place}: is missing; give a value')
            continue
        message = item['msg'].removeprefix('Value error, ').replace('Input should be', 'should be')
        given = '' if item['type'] in ('value_error', 'json_invalid') else f', found {_short(item["input"])}'
        found.append(f'{place}: {message}{given}')
    return found


def _fields(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings at a place within a model."""
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
    """Return the model that an annotation such as ``Model | None`` or ``tuple[Model, ...]`` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in getattr(annotation, '__args__', ()) if (found := _model_in(part))), None)


def _short(value: Any) -> str:
    text = 'an object of settings' if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= 60 else text[:59] + '…'
