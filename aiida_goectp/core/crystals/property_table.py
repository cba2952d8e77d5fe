"""Property columns from a CSV file, such as band gaps."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.formats.npz import FormatError

__all__ = ('add_columns',)


def add_columns(crystals: CrystalSet, name: str, content: bytes) -> CrystalSet:
    """Return the set with the columns of a CSV table as properties, matched by id.

    The first column is ``id``. Other columns are numbers if all entries are numbers or empty, else text. Crystals
    without a line get NaN or an empty text; lines of failed rows are ignored.

    :param crystals: the set
    :param name: file name for messages
    :param content: content of the file, UTF-8
    :raises FormatError: invalid table, a duplicate or unknown id, or a column that exists already
    """
    header, lines = _read(name, content)
    known = {str(item) for item in crystals.ids} | {failure.id for failure in crystals.failures}
    unknown = [item for item in lines if item not in known]
    if unknown:
        listed = ', '.join(unknown[:5]) + (', …' if len(unknown) > 5 else '')
        raise FormatError(f'{name}: unknown id {listed}; the id of a crystal is its file name without the suffix')
    columns = dict(crystals.properties)
    for index, column in enumerate(header):
        if column in columns:
            raise FormatError(f'{name}: the crystals already have a column {column!r}; rename or remove it')
        empty = [''] * len(header)
        columns[column] = _column([lines.get(str(item), empty)[index] for item in crystals.ids])
    return replace(crystals, properties=columns)


def _read(name: str, content: bytes) -> tuple[list[str], dict[str, list[str]]]:
    """Return the column names besides ``id``, and the entries of each id."""
    try:
        rows = [
            row for row in csv.reader(io.StringIO(content.decode('utf-8-sig'))) if row and not row[0].startswith('#')
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f'{name}: not a CSV table in UTF-8 ({error})') from error
    if not rows or rows[0][0].strip() != 'id' or len(rows[0]) < 2:
        raise FormatError(f'{name}: invalid header; expected the column "id" and one or more properties')
    header = [column.strip() for column in rows[0][1:]]
    if len(set(header)) != len(header) or not all(header):
        raise FormatError(f'{name}: column names must be unique and not empty, found {", ".join(header)}')
    lines: dict[str, list[str]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header) + 1:
            raise FormatError(f'{name}: row {number} has {len(row)} entries, expected {len(header) + 1}')
        if row[0].strip() in lines:
            raise FormatError(f'{name}: duplicate id {row[0].strip()!r}')
        lines[row[0].strip()] = [entry.strip() for entry in row[1:]]
    return header, lines


def _column(entries: list[str]) -> np.ndarray:
    try:
        return np.array([float(entry) if entry else np.nan for entry in entries])
    except ValueError:
        return np.array(entries, dtype=np.str_)
