"""Entries, which every reader yields, and their collection to one crystal set."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.linalg import LinAlgError

from aiida_goectp.core.crystals.concatenate import concatenate_crystals, unique_ids
from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet, Failure
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.crystals.validation import CrystalError, split_valid
from aiida_goectp.core.formats.names import GAP_COLUMN, LARGEST_GAP, NUMERIC_COLUMNS

__all__ = ('Entry', 'clean_text', 'collect', 'decoded', 'decoded_lines', 'failed', 'scalars')

_MAX_TEXT = 200
"""characters; every row of a text column takes the memory of the longest one"""

_MAX_MESSAGE = 400
"""characters"""

_MAX_COLUMNS = 200
"""property columns of a set; each takes memory for every row"""


_DECODED_AT_ONCE = 2**20
"""bytes of a file whose text is in memory at once, where it is read by lines"""

_BLOCK = 4096
"""number of entries that are held as objects at once"""


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
        return content.removeprefix(codecs.BOM_UTF8).decode('cp1252', errors='replace')


def decoded_lines(content: bytes) -> Iterator[str]:
    """Yield the lines of the text of a file, decoded as by :func:`decoded`, with little memory beside the content."""
    is_utf8, decoder = True, codecs.getincrementaldecoder('utf-8')()
    try:
        for start in range(0, len(content), _DECODED_AT_ONCE):
            decoder.decode(content[start : start + _DECODED_AT_ONCE])
        decoder.decode(b'', final=True)
    except UnicodeDecodeError:
        is_utf8 = False
    start = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    while start < len(content):
        stop = content.find(b'\n', start + _DECODED_AT_ONCE) + 1 or len(content)
        part = content[start:stop]
        yield from (part.decode('utf-8') if is_utf8 else part.decode('cp1252', errors='replace')).splitlines()
        start = stop


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
    """Return the valid crystals of all entries, and the failures of the others, each in their order.

    Duplicate ids are made unique by :func:`.unique_ids`; an empty one becomes ``crystal@N`` with the number of the
    entry. A property that a row does not have is NaN, or empty in a text column. A row that would add more than the
    200th property column, or with text as its band gap or energy above the hull, or a band gap above 100 eV, is a
    failure.
    """
    names: list[str] = []
    blocks: list[_Block] = []
    columns: dict[str, None] = {}
    following = iter(entries)
    while block := list(islice(following, _BLOCK)):
        blocks.append(_checked(block, len(names), columns))
        names += [clean_text(entry.row.id) or f'crystal@{number}' for number, entry in enumerate(block, len(names))]
    ids, whole = unique_ids(names), concatenate_crystals([block.crystals for block in blocks])
    failures = sorted(whole.failures, key=lambda failure: int(failure.id))
    return replace(
        whole,
        ids=np.array([ids[int(number)] for number in whole.ids], dtype=np.str_).reshape(-1),
        properties={name: _joined([block.column(name) for block in blocks]) for name in columns},
        failures=tuple(failure._replace(id=ids[int(failure.id)]) for failure in failures),
    )


class _Block(NamedTuple):
    """Checked entries, as arrays, which take less memory than objects."""

    crystals: CrystalSet
    """the valid ones, and the failures; the ids are the numbers of the entries"""
    columns: Mapping[str, np.ndarray | list[Any]]
    """values of the crystals, None where missing; an array where all have one type"""

    def column(self, name: str) -> np.ndarray | list[Any]:
        """Return the values of a property."""
        return self.columns.get(name, [None] * len(self.crystals))


def _checked(entries: Sequence[Entry], first: int, columns: dict[str, None]) -> _Block:
    """Return the valid crystals of some entries.

    :param first: number of the first entry
    :param columns: names of the property columns of the entries before, to which those of these are added
    """
    crystals, failures, properties = [], [], {}
    for number, (row, values, _) in enumerate(entries, first):
        name = str(number)
        if isinstance(row, Failure):
            failures.append(row._replace(id=name))
        elif len(values) > _MAX_COLUMNS or len(columns.keys() | values.keys()) > _MAX_COLUMNS:
            text = f'its properties make more than {_MAX_COLUMNS} columns; leave some out'
            failures.append(Failure(name, 'unreadable_row', text))
        elif text := _invalid_property(values):
            failures.append(Failure(name, 'unreadable_property', text))
        else:
            crystals.append(row._replace(id=name))
            properties[name] = values
            columns |= dict.fromkeys(values)
    checked = split_valid(crystals, failures=failures)
    placed = tuple(_with_place(item, entries[int(item.id) - first].where) for item in checked.failures)
    kept = [properties[name] for name in checked.ids.tolist()]
    present = dict.fromkeys(name for values in kept for name in values)
    found = {name: _compact([values.get(name) for values in kept]) for name in present}
    return _Block(replace(checked, failures=placed), found)


def _compact(values: list[Any]) -> np.ndarray | list[Any]:
    """Return an array if all values have the same type and fit into it, else the values."""
    kinds = {type(value) for value in values}
    if kinds in ({str}, {bool}, {float}) or (kinds == {int} and all(abs(value) < 2**63 for value in values)):
        return np.array(values)
    return values


def _joined(pieces: Sequence[np.ndarray | list[Any]]) -> np.ndarray:
    """Return the column of the values of all blocks."""
    arrays = [piece for piece in pieces if isinstance(piece, np.ndarray)]
    if len(arrays) == len(pieces) and len({array.dtype.kind for array in arrays}) == 1:
        return np.concatenate(arrays)
    return _column([value for piece in pieces for value in (piece if isinstance(piece, list) else piece.tolist())])


def _invalid_property(columns: Mapping[str, Any]) -> str:
    """Return an error for text in a column that must be numbers, or for an impossible band gap; empty without one."""
    for name in NUMERIC_COLUMNS:
        if isinstance(value := columns.get(name), str):
            return f'{name}: {value!r} is not a number; leave out a missing value, or give null'
    gap = columns.get(GAP_COLUMN)
    if isinstance(gap, int | float) and gap > LARGEST_GAP:
        return f'{GAP_COLUMN}: {gap:g} eV is no band gap, the largest allowed is {LARGEST_GAP:g} eV; give it in eV'
    return ''


def _with_place(failure: Failure, where: str) -> Failure:
    """Return the failure with file and row before its message, on one line of at most 400 characters."""
    line = ' '.join(f'{where}: {failure.message}'.split() if where else failure.message.split())
    return failure._replace(message=line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 1] + '…')


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
