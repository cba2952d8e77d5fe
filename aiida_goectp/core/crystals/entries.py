"""Entries, which every reader yields, and their collection to one crystal set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.linalg import LinAlgError

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet, Failure
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.crystals.validation import CrystalError, split_valid
from aiida_goectp.core.formats.names import NUMERIC_COLUMNS

__all__ = ('Entry', 'clean_text', 'collect', 'decoded', 'failed', 'scalars', 'unique_ids')

_MAX_TEXT = 200
"""characters; every row of a text column takes the memory of the longest one"""

_MAX_MESSAGE = 400
"""characters"""

_MAX_COLUMNS = 200
"""property columns of a set; each takes memory for every row"""


class Entry(NamedTuple):
    """One row of a file: a crystal that is not yet validated, or the failure to read it."""

    row: Crystal | Failure
    properties: Mapping[str, Any]
    """numbers, booleans and strings by name"""
    where: str = ''
    """file, and line or frame, for messages"""


def failed(label: str, where: str, error: Exception, code: str, text: str) -> Entry:
    """Return the entry of a row that a library could not read.

    :param label: id of the row
    :param where: file, and line or frame
    :param error: what was raised; its code if it is a :class:`.CrystalError`
    :param code: code of the failure otherwise
    :param text: what the content is not; the error follows in parentheses
    """
    if isinstance(error, CrystalError):
        return Entry(Failure(label, error.code, str(error)), {}, where)
    if isinstance(error, LinAlgError):
        return Entry(Failure(label, 'bad_lattice', 'the lattice has no volume, or is not finite'), {}, where)
    symbol = error.args[0] if isinstance(error, KeyError) and error.args else None
    if isinstance(symbol, str) and symbol.isalpha() and symbol not in ATOMIC_NUMBERS:
        return Entry(Failure(label, 'unknown_element', f'{symbol!r:.40} is not a chemical element'), {}, where)
    reason = f'{type(error).__name__}: {error}' if str(error) else type(error).__name__
    return Entry(Failure(label, code, f'{text} ({reason:.200})'), {}, where)


def decoded(content: bytes) -> str:
    """Return the text of a file: UTF-8 with or without byte order mark, else the Windows code page 1252."""
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError:
        return content.removeprefix(b'\xef\xbb\xbf').decode('cp1252', errors='replace')


def scalars(values: Mapping[str, Any], leave_out: Iterable[str] = ()) -> dict[str, Any]:
    """Return the values that are numbers, booleans or strings, with their names.

    :param values: name → value
    :param leave_out: names to skip
    """
    skipped = set(leave_out)
    found = {}
    for name, value in values.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bool | int | float | str) and name not in skipped:
            found[clean_text(name)] = clean_text(value) if isinstance(value, str) else value
    return found


def clean_text(text: str) -> str:
    """Return the printable characters among the first 200, without surrounding spaces."""
    return ''.join(char for char in text[:_MAX_TEXT] if char.isprintable()).strip()


def collect(entries: Iterable[Entry]) -> CrystalSet:
    """Return the valid crystals of all entries in order, with the failures of the others.

    Duplicate ids are made unique by :func:`unique_ids`. A property that a row does not have is NaN, or empty in a text
    column. A row that would add more than the 200th property column, or with text as its band gap or energy above the
    hull, is a failure.
    """
    listed = list(entries)
    ids = unique_ids([clean_text(entry.row.id) for entry in listed])
    crystals, failures, properties = [], [], []
    names: dict[str, None] = {}
    for name, (row, columns, _) in zip(ids, listed, strict=True):
        if isinstance(row, Failure):
            failures.append(row._replace(id=name))
        elif len(columns) > _MAX_COLUMNS or len(names.keys() | columns.keys()) > _MAX_COLUMNS:
            text = f'its properties make more than {_MAX_COLUMNS} columns; leave some out'
            failures.append(Failure(name, 'unreadable_row', text))
        elif text := _text_in_numeric_column(columns):
            failures.append(Failure(name, 'unreadable_property', text))
        else:
            crystals.append(row._replace(id=name))
            properties.append(columns)
            names |= dict.fromkeys(columns)
    checked = split_valid(
        crystals, {name: _column([columns.get(name) for columns in properties]) for name in names}, failures
    )
    if not checked.failures:
        return checked
    places = {name: entry.where for name, entry in zip(ids, listed, strict=True)}
    return replace(checked, failures=tuple(_with_place(failure, places[failure.id]) for failure in checked.failures))


def _text_in_numeric_column(columns: Mapping[str, Any]) -> str:
    """Return an error for text in a column that must be numbers, empty without one."""
    for name in NUMERIC_COLUMNS:
        if isinstance(value := columns.get(name), str):
            return f'{name}: {value!r} is not a number; leave out a missing value, or give null'
    return ''


def _with_place(failure: Failure, where: str) -> Failure:
    """Return the failure with file and row before its message, on one line of at most 400 characters."""
    line = ' '.join(f'{where}: {failure.message}'.split() if where else failure.message.split())
    return failure._replace(message=line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 1] + '…')


def unique_ids(names: Sequence[str]) -> list[str]:
    """Return the names with ``#2``, ``#3``, … appended to repeated ones."""
    taken = set(names)
    seen: dict[str, int] = {}
    result = []
    for name in names:
        count = seen.get(name, 0) + 1
        new = name
        while count > 1 and (new := f'{name}#{count}') in taken:
            count += 1
        seen[name] = count
        taken.add(new)
        result.append(new)
    return result


def _column(values: list[Any]) -> np.ndarray:
    kinds = {type(value) for value in values if value is not None}
    if str in kinds:
        return np.array(['' if value is None else str(value) for value in values], dtype=np.str_)
    if None not in values and kinds == {bool}:
        return np.array(values, dtype=bool)
    if None not in values and kinds <= {int, bool} and all(abs(value) < 2**63 for value in values):
        return np.array(values, dtype=np.int64)
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: float | None) -> float:
    try:
        return np.nan if value is None else float(value)
    except OverflowError:  # an integer beyond 1e308
        return np.nan
