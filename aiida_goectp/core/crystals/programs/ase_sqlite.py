"""Databases of ASE in SQLite (``*.db``), read by their columns; ASE itself would write to the file and lock it.

A hostile database is refused before it is queried: views and virtual tables, computed columns, more bytes than the
file has. The columns are those of ``ase.db.sqlite``, versions 5 to 9.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import Failure
from aiida_goectp.core.crystals.entries import Entry, failed, scalars
from aiida_goectp.core.crystals.programs.ase_rows import crystal_from_arrays
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json

__all__ = ('read_ase_database',)

_COLUMNS = ('id', 'numbers', 'positions', 'cell', 'pbc', 'key_value_pairs')
_MAX_STEPS_PER_BYTE, _STEPS = 10, 10_000
"""instructions of SQLite that a byte of the file allows, and between two checks of this"""


class _Damaged(FormatError):
    """The file is no database of ASE, or is damaged."""


def read_ase_database(name: str, stem: str, content: bytes) -> Iterator[Entry]:
    """Read the rows of an ASE database; key-value pairs become properties.

    :param name: file name for messages
    :param stem: for ids, with ``@`` and the number of the row if there are several
    :param content: content of the file
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'ase.db')
        path.write_bytes(content)
        try:
            # immutable: neither lock nor journal
            with closing(sqlite3.connect(f'{path.as_uri()}?mode=ro&immutable=1', uri=True)) as connection:
                yield from _rows(connection, name, stem, len(content))
        except (sqlite3.Error, sqlite3.Warning, _Damaged, UnicodeDecodeError, OverflowError) as error:
            text = f'not a database of ASE, or damaged ({error})'
            yield Entry(Failure(stem, 'unreadable_file', text), {}, name)


def _rows(connection: sqlite3.Connection, name: str, stem: str, size: int) -> Iterator[Entry]:
    """Yield an entry a row.

    :param size: bytes of the file
    :raises sqlite3.Error: a damaged database
    """
    budget = size * _MAX_STEPS_PER_BYTE // _STEPS + 100

    def interrupt() -> bool:
        nonlocal budget
        budget -= 1
        return budget < 0

    connection.set_progress_handler(interrupt, _STEPS)
    connection.execute('PRAGMA trusted_schema = OFF')
    connection.text_factory = bytes  # damaged text is a damaged row, not the end of the file
    _check_schema(connection)
    several = len(connection.execute('SELECT id FROM systems LIMIT 2').fetchall()) > 1
    total = 0
    for row in connection.execute(f'SELECT {", ".join(_COLUMNS)} FROM systems'):  # in the order of id, the row id
        total += sum(len(value) for value in row if isinstance(value, bytes))
        if total > size:
            raise _Damaged('the rows contain more bytes than the file')
        values = dict(zip(_COLUMNS, row, strict=True))
        label = f'{stem}@{values["id"]}' if several else stem
        where = f'{name}, row {values["id"]}'
        try:
            yield _entry(label, values, where)
        except Exception as error:  # blobs of any length and type
            yield failed(label, where, error, 'unreadable_row', 'not a row of an ASE database')


def _check_schema(connection: sqlite3.Connection) -> None:
    """Check that ``systems`` is a table of stored columns.

    :raises _Damaged: it is not
    """
    tables = connection.execute("SELECT type, rootpage FROM sqlite_master WHERE name = 'systems'").fetchall()
    if len(tables) != 1 or tables[0][0] != b'table' or not tables[0][1]:
        raise _Damaged('no table systems')
    columns = {row[1].decode(): row[6] for row in connection.execute('PRAGMA table_xinfo(systems)')}
    missing = [column for column in _COLUMNS if columns.get(column) != 0]
    if missing:
        raise _Damaged(f'no stored column {", ".join(missing)} in the table systems')


def _entry(label: str, values: dict[str, Any], where: str) -> Entry:
    numbers = np.frombuffer(values['numbers'], '<i4')
    positions = np.frombuffer(values['positions'], '<f8').reshape(-1, 3)
    cell = np.frombuffer(values['cell'], '<f8').reshape(3, 3)
    bits = values['pbc']
    if not isinstance(bits, int):
        raise CrystalError('unreadable_row', f'pbc is {bits!r:.40}; expected a number of three bits')
    crystal = crystal_from_arrays(label, numbers, positions, cell, [bool(bits >> axis & 1) for axis in range(3)])
    pairs = parse_json(values['key_value_pairs'] or b'{}', 'key_value_pairs')
    if not isinstance(pairs, dict):
        raise CrystalError('unreadable_row', 'key_value_pairs is not a JSON object')
    return Entry(crystal, scalars(pairs), where)
