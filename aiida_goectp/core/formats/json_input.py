"""JSON from outside: every error is a ``FormatError``, and neither depth nor size takes the process down.

Parsed JSON takes at most about 30 times the memory of its text (``[],[],…``).
"""

from __future__ import annotations

import json
from typing import Any

from aiida_goectp.core.formats.errors import FormatError

__all__ = ('MAX_DEPTH', 'parse_json')

MAX_DEPTH = 64
"""of nested objects and arrays; numpy arrays have as many axes"""


def parse_json(content: str | bytes, label: str = 'JSON') -> Any:
    """Return the content of a JSON text.

    :param content: text, or bytes in UTF-8, UTF-16 or UTF-32
    :param label: begins the error message
    :raises FormatError: not JSON, or nested deeper than :data:`MAX_DEPTH`
    """
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise FormatError(f'{label}: nested deeper than {MAX_DEPTH} levels') from error
    except ValueError as error:
        raise FormatError(f'{label}: not valid JSON ({error})') from error
    _check_depth(value, label)
    return value


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
