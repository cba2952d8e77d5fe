"""Property columns from a table in text form, such as band gaps: CSV, or separated by semicolons or tabs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from pydantic import Field

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.entries import clean_text, decoded
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.names import GAP_COLUMN, LARGEST_GAP, NUMERIC_COLUMNS
from aiida_goectp.core.formats.settings import Settings, unknown_key

__all__ = ('PropertyTable', 'TableReport', 'TableSettings', 'add_columns')

_SEPARATORS = {',': 'comma', ';': 'semicolon', '\t': 'tab'}
_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?', re.ASCII)
_WITH_UNIT = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(\s+\S+|\s*m?eV\S*)', re.ASCII)
_DECIMAL_COMMA = re.compile(r'[+-]?\d*,\d+', re.ASCII)
_MAX_NAMED = 5
"""cells or ids that a message names"""


class TableSettings(Settings):
    """How a table of properties is read."""

    id_column: str = Field(default='id', min_length=1, description='name of the column with the ids of the crystals')
    ignore_unknown: bool = Field(default=False, description='leave out rows whose id no crystal has')
    missing: tuple[str, ...] = Field(
        default=(), description='entries that stand for a missing value, such as N/A; an empty entry and nan always do'
    )
    text: tuple[str, ...] = Field(default=(), description='columns that are text even if they contain numbers')


class TableReport(NamedTuple):
    """What a table of properties contributed."""

    rows: int
    """rows that were used"""
    unknown: tuple[str, ...]
    """ids of rows that were left out, since no crystal has them"""
    without_row: int
    """crystals without a row"""
    columns: Mapping[str, str]
    """name of each column → ``number`` or ``text``"""


@dataclass(frozen=True)
class PropertyTable:
    """A table whose form and numbers are valid.

    :param name: of the file
    :param places: id → row in ``columns``
    :param columns: name → numbers, NaN if missing, or texts
    """

    name: str
    places: Mapping[str, int]
    columns: Mapping[str, np.ndarray]

    @classmethod
    def read(cls, name: str, content: bytes, settings: TableSettings) -> PropertyTable:
        """Read a table.

        The header decides the separator: comma, semicolon or tab. Lines that begin with ``#`` are comments. A column is
        numbers if all entries are numbers or missing, and text if no entry is a number.

        :param name: file name for messages
        :param content: content of the file
        :param settings: how it is read
        :raises FormatError: no such id column, rows of another length, an id that is repeated, or text among numbers;
            the message names lines and columns
        """
        header, rows = _rows(name, content, settings)
        place = header.index(settings.id_column)
        _check_header(name, header, settings)
        lines = [line for line, _ in rows]
        ids = [row[place] for _, row in rows]
        _check_ids(name, ids, lines)
        columns = {}
        for index, column in enumerate(header):
            if index != place:
                columns[column] = _column(name, column, [row[index] for _, row in rows], lines, settings)
        return cls(name, {key: row for row, key in enumerate(ids)}, columns)

    def add_to(self, crystals: CrystalSet, ignore_unknown: bool = False) -> tuple[CrystalSet, TableReport]:
        """Return the crystals with these columns as properties, matched by id, and what was left out.

        Crystals without a row get NaN or an empty text; rows of failed entries are ignored.

        :raises FormatError: an unknown id, one that several crystals had, or a column that the crystals have already
        """
        known = {str(item) for item in crystals.ids} | {failure.id for failure in crystals.failures}
        unknown = tuple(item for item in self.places if item not in known)
        if unknown and not ignore_unknown:
            raise FormatError(
                f'{self.name}: {len(unknown)} of {len(self.places)} ids are unknown, {_listed(unknown)}; the id of a '
                'crystal is its file name without the suffix. Give another id column (--id-column), or leave these '
                'rows out (--ignore-unknown)'
            )
        if ambiguous := self._ambiguous(known):
            raise FormatError(
                f'{self.name}: {len(ambiguous)} ids are those of several crystals, {_listed(ambiguous)}; give each of '
                'these crystals a row, or rename the files so that their ids differ'
            )
        rows = np.array([self.places.get(str(item), -1) for item in crystals.ids], dtype=np.int64)
        columns = dict(crystals.properties)
        for name, values in self.columns.items():
            if name in columns:
                raise FormatError(f'{self.name}: the crystals already have a column {name!r}; rename or remove it')
            empty = np.array([''] if values.dtype.kind == 'U' else [np.nan])
            columns[name] = np.concatenate([values, empty])[rows]
        used = int((rows >= 0).sum())
        kinds = {name: 'text' if values.dtype.kind == 'U' else 'number' for name, values in self.columns.items()}
        return replace(crystals, properties=columns), TableReport(used, unknown, len(rows) - used, kinds)

    def _ambiguous(self, known: Collection[str]) -> list[str]:
        """Return each id of the table to which ``#2``, ``#3``, … was appended for crystals without own row.

        :param known: ids of crystals and failures
        """
        others: dict[str, list[str]] = {}
        for item in known:
            first = re.sub(r'#\d+$', '', item)
            if first != item and item not in self.places and first in self.places and first in known:
                others.setdefault(first, []).append(item)
        return [f'{first!r} (also {", ".join(sorted(others[first]))})' for first in self.places if first in others]


def add_columns(crystals: CrystalSet, name: str, content: bytes, settings: TableSettings | None = None) -> CrystalSet:
    """Return the set with the columns of a table as properties, matched by id.

    :param crystals: the set
    :param name: file name for messages
    :param content: content of the file
    :param settings: how it is read
    :raises FormatError: as :meth:`PropertyTable.read` and :meth:`PropertyTable.add_to`
    """
    how = settings or TableSettings()
    return PropertyTable.read(name, content, how).add_to(crystals, how.ignore_unknown)[0]


def _rows(name: str, content: bytes, settings: TableSettings) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header, and line number and entries of each row."""
    text = decoded(content)
    if '\0' in text:
        raise FormatError(f'{name}: not a table in text form; give a CSV file')
    lines = text.splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith('#')), '')
    try:
        separator = _separator(name, first, settings.id_column)
    except csv.Error as error:
        raise FormatError(f'{name}: not a CSV table ({error})') from error
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator, strict=True)
    header: list[str] = []
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            entries = [clean_text(entry) for entry in row]
            if not any(entries) or row[0].startswith('#'):
                continue
            if not header:
                header = entries
                continue
            if len(entries) != len(header):
                longer = separator == ',' and len(entries) > len(header)
                hint = '; write numbers with a decimal point' if longer else ''
                raise FormatError(
                    f'{name}, line {reader.line_num}: {len(entries)} entries, expected {len(header)} separated by '
                    f'{_SEPARATORS[separator]}{hint}'
                )
            rows.append((reader.line_num, entries))
    except csv.Error as error:
        raise FormatError(f'{name}, line {reader.line_num}: not a CSV table ({error})') from error
    if settings.id_column not in header:  # its quotes go on in the next line
        raise FormatError(f'{name}: no column {settings.id_column!r} in the header')
    return header, rows


def _separator(name: str, header: str, id_column: str) -> str:
    """Return the separator with which the header contains the id column.

    :raises FormatError: the header has no such column
    """
    for separator in _SEPARATORS:
        cells = next(csv.reader([header], delimiter=separator), [])
        if id_column in [clean_text(cell) for cell in cells]:
            return separator
    likely = max(_SEPARATORS, key=header.count)
    found = [clean_text(cell) for cell in next(csv.reader([header], delimiter=likely), [])]
    raise FormatError(
        f'{name}: no column {id_column!r} with the ids of the crystals, found {", ".join(found) or "no header"}; '
        'name it with --id-column'
    )


def _check_header(name: str, header: Sequence[str], settings: TableSettings) -> None:
    if len(header) < 2:
        raise FormatError(f'{name}: no column besides {settings.id_column!r}; expected one or more properties')
    if len(set(header)) != len(header) or not all(header):
        raise FormatError(f'{name}: column names must be unique and not empty, found {", ".join(header)}')
    for column in settings.text:
        if column not in header:
            raise FormatError(f'{name}: {unknown_key(f"text.{column}", header, "column")}')


def _check_ids(name: str, ids: Sequence[str], lines: Sequence[int]) -> None:
    seen: dict[str, int] = {}
    repeated = []
    for key, line in zip(ids, lines, strict=True):
        if not key:
            raise FormatError(f'{name}, line {line}: empty id')
        if key in seen:
            repeated.append(f'{key!r} in lines {seen[key]} and {line}')
        seen.setdefault(key, line)
    if repeated:
        raise FormatError(f'{name}: duplicate id {_listed(repeated)}; keep one row per crystal')


def _column(
    name: str, column: str, entries: Sequence[str], lines: Sequence[int], settings: TableSettings
) -> np.ndarray:
    """Return the entries as numbers or as text.

    :raises FormatError: text among numbers
    """
    missing = {'', 'nan', *(word.lower() for word in settings.missing)}
    present = [entry.lower() not in missing for entry in entries]
    if column in settings.text:
        return np.array([entry if there else '' for entry, there in zip(entries, present, strict=True)], dtype=np.str_)
    numbers = [bool(_NUMBER.fullmatch(entry)) for entry in entries]
    wrong = [row for row, there in enumerate(present) if there and not numbers[row]]
    looks_numeric = column in NUMERIC_COLUMNS or any(numbers) or any(_is_number(entries[row]) for row in wrong)
    if wrong and looks_numeric:
        raise FormatError(_text_among_numbers(name, column, [(lines[row], entries[row]) for row in wrong]))
    if wrong:
        return np.array([entry if there else '' for entry, there in zip(entries, present, strict=True)], dtype=np.str_)
    pairs = zip(entries, present, strict=True)
    values = [float(re.sub('[dD]', 'e', entry)) if there else np.nan for entry, there in pairs]
    if infinite := [(lines[row], entries[row]) for row, value in enumerate(values) if np.isinf(value)]:
        raise FormatError(f'{name}, line {infinite[0][0]}, column {column}: {infinite[0][1]!r} is too large')
    found = np.array(values, dtype=np.float64)
    if column == GAP_COLUMN and len(wide := np.flatnonzero(found > LARGEST_GAP)):
        raise FormatError(
            f'{name}, line {lines[wide[0]]}, column {column}: {entries[wide[0]]} eV is no band gap; it must be in eV, '
            f'{LARGEST_GAP:g} at most'
        )
    return found


def _is_number(entry: str) -> bool:
    """Return whether an entry is meant as a number: with a unit, with a decimal comma, or infinite."""
    infinite = entry.lower().lstrip('+-') in ('inf', 'infinity')
    return infinite or bool(_WITH_UNIT.fullmatch(entry) or _DECIMAL_COMMA.fullmatch(entry))


def _text_among_numbers(name: str, column: str, cells: Sequence[tuple[int, str]]) -> str:
    listed = _listed([f'line {line}: {entry!r}' for line, entry in cells])
    first = cells[0][1]
    if _DECIMAL_COMMA.fullmatch(first):
        remedy = 'write numbers with a decimal point'
    elif _WITH_UNIT.fullmatch(first):
        remedy = 'write numbers without unit: band gaps in eV, energies above hull in eV/atom'
    else:
        remedy = f'if it stands for a missing value, give --missing {first!r}'
    more = '' if column in NUMERIC_COLUMNS else f'; if the column is text, give --text-column {column!r}'
    return f'{name}, column {column}: {len(cells)} entries are not numbers, {listed}; {remedy}{more}'


def _listed(items: Sequence[str]) -> str:
    return ', '.join(items[:_MAX_NAMED]) + (', …' if len(items) > _MAX_NAMED else '')
