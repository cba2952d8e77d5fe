"""JSON from outside: every error is a ``FormatError``, and neither depth nor size takes the process down.

Parsed JSON takes at most about 30 times the memory of its text (``[],[],…``).
"""

from __future__ import annotations

import json
import sys
from typing import Any

from aiida_goectp.core.formats.errors import FormatError

__all__ = ('MAX_DEPTH', 'load_json', 'parse_json')

MAX_DEPTH = 64
"""of nested objects and arrays; numpy arrays have as many axes"""
_MAX_RECURSION = 10_000
"""levels that the parser may enter. Libraries raise the limit of Python beyond what the stack holds:
symfc, which phonopy imports, sets 100,000, with which deeply nested JSON ends the process by a segmentation fault"""


def parse_json(content: str | bytes, label: str = 'JSON') -> Any:
    """Return the content of a JSON text.

    :param content: text, or bytes in UTF-8, UTF-16 or UTF-32
    :param label: begins the error message
    :raises FormatError: not JSON, a key that is repeated in an object, or nested deeper than :data:`MAX_DEPTH`
    """
    try:
        value = load_json(content)
    except RecursionError as error:
        raise FormatError(f'{label}: nested deeper than {MAX_DEPTH} levels') from error
    except ValueError as error:
        raise FormatError(f'{label}: not valid JSON ({error})') from error
    _check_depth(value, label)
    return value


def load_json(content: str | bytes) -> Any:
    """Return the content of a JSON text of any depth that the stack holds.

    :raises ValueError: not JSON, or a key is repeated in an object
    :raises RecursionError: nested too deeply
    """
    limit = sys.getrecursionlimit()
    if limit <= _MAX_RECURSION:
        return json.loads(content, object_pairs_hook=_unique_keys)
    sys.setrecursionlimit(_MAX_RECURSION)
    try:
        return json.loads(content, object_pairs_hook=_unique_keys)
    finally:
        sys.setrecursionlimit(limit)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; :mod:`json` keeps the last of equal keys without a word.

    :raises ValueError: a key is repeated
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f'duplicate key {name[:100]!r} in an object')
        found[name] = value
    return found


def _check_depth(value: Any, label: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for parent in level
            if isinstance(parent, dict | list)
            for item in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise FormatError(f'{label}: nested deeper than {MAX_DEPTH} levels')
