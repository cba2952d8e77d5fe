"""Property columns from a CSV file: what structure files do not say, such as a band gap."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.formats.npz import FormatError

__all__ = ('add_columns',)


def add_columns(crystals: CrystalSet, name: str, content: bytes) -> CrystalSet:
    """Return the set with the columns of a CSV table added, joined by id.

    The first column is ``id``; every other one becomes a property: numbers where all its entries are numbers or empty,
    else text. A crystal that the table lacks gets NaN or an empty text. Lines of crystals that failed are passed over.

    :param name: name of the file, for messages
    :param content: bytes of the file, UTF-8
    :raises FormatError: no such table, an id that stands twice or belongs to no crystal, a column that is there already
    """
    header, lines = _read(name, content)
    known = {str(item) for item in crystals.ids} | {failure.id for failure in crystals.failures}
    strangers = [item for item in lines if item not in known]
    if strangers:
        shown = ', '.join(strangers[:5]) + (', …' if len(strangers) > 5 else '')
        raise FormatError(f'{name}: no crystal has the id {shown}; ids are file names without their ending')
    columns = dict(crystals.properties)
    for index, column in enumerate(header):
        if column in columns:
            raise FormatError(f'{name}: the crystals have a column {column!r} already; rename or drop it')
        empty = [''] * len(header)
        columns[column] = _column([lines.get(str(item), empty)[index] for item in crystals.ids])
    return replace(crystals, properties=columns)


def _read(name: str, content: bytes) -> tuple[list[str], dict[str, list[str]]]:
    try:
        rows = [
            row for row in csv.reader(io.StringIO(content.decode('utf-8-sig'))) if row and not row[0].startswith('#')
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f'{name}: not a CSV table in UTF-8 ({error})') from error
    if not rows or rows[0][0].strip() != 'id' or len(rows[0]) < 2:
        raise FormatError(f'{name}: the first line must name the columns, "id" first, then at least one property')
    header = [column.strip() for column in rows[0][1:]]
    if len(set(header)) != len(header) or not all(header):
        raise FormatError(f'{name}: every column needs a name of its own, found {", ".join(header)}')
    lines: dict[str, list[str]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header) + 1:
            raise FormatError(f'{name}: row {number} has {len(row)} entries, the first line {len(header) + 1}')
        if row[0].strip() in lines:
            raise FormatError(f'{name}: the id {row[0].strip()} stands twice')
        lines[row[0].strip()] = [entry.strip() for entry in row[1:]]
    return header, lines


def _column(entries: list[str]) -> np.ndarray:
    try:
        return np.array([float(entry) if entry else np.nan for entry in entries])
    except ValueError:
        return np.array(entries, dtype=np.str_)
