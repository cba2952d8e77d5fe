"""Rows of databases of ASE: the form of ``ase.db`` in JSON, and what SQLite files and trajectories share with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.convert import from_ase
from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.elements import SYMBOLS
from aiida_goectp.core.crystals.entries import Entry, failed, scalars
from aiida_goectp.core.crystals.validation import CrystalError

__all__ = ('crystal_from_arrays', 'is_ase_json', 'read_ase_json')


def crystal_from_arrays(label: str, numbers: Any, positions: Any, cell: Any, pbc: Any) -> Crystal:
    """Return the crystal of a row.

    :param label: id
    :param numbers: (n,) atomic numbers
    :param positions: (n, 3) Å, Cartesian
    :param cell: (3, 3) Å, rows a, b, c
    :param pbc: (3,) periodic along each axis, or one for all
    :raises CrystalError: ``unreadable_row``, ``unknown_element``, or as :func:`.from_ase`
    """
    from ase import Atoms

    atoms = np.asarray(numbers)
    places = np.asarray(positions, dtype=np.float64)
    axes = np.asarray(cell, dtype=np.float64)
    if atoms.ndim != 1 or places.shape != (len(atoms), 3) or axes.shape != (3, 3):
        raise CrystalError(
            'unreadable_row',
            f'inconsistent shapes: numbers {atoms.shape}, positions {places.shape}, cell {axes.shape}; expected (n,), '
            '(n, 3) and (3, 3)',
        )
    if len(atoms) and (atoms.dtype.kind not in 'iu' or not ((atoms > 0) & (atoms < len(SYMBOLS))).all()):
        raise CrystalError(
            'unknown_element', f'atomic numbers {atoms[:5].tolist()!r:.80}; expected 1 to {len(SYMBOLS) - 1}'
        )
    return from_ase(
        Atoms(numbers=atoms, positions=places, cell=axes, pbc=np.broadcast_to(np.asarray(pbc, bool), 3)), label
    )


def is_ase_json(document: Any) -> bool:
    """Return whether a document is an ASE database in JSON: rows by number, with atomic numbers and positions."""
    return isinstance(document, dict) and any(key.isdigit() and _is_row(row) for key, row in document.items())


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and {'numbers', 'positions'} <= row.keys()


def read_ase_json(name: str, stem: str, document: Mapping[str, Any]) -> Iterator[Entry]:
    """Read the rows of an ASE database in JSON; key-value pairs become properties.

    :param name: file name for messages
    :param stem: for ids, with ``@`` and the number of the row if there are several
    :param document: content of the file
    """
    rows = {key: row for key, row in document.items() if key.isdigit()}
    for key, row in rows.items():
        label = f'{stem}@{key}' if len(rows) > 1 else stem
        where = f'{name}, row {key}'
        try:
            if not _is_row(row):
                raise CrystalError('unreadable_row', 'expected numbers, positions, cell and pbc')
            arrays = [_array(row.get(column)) for column in ('numbers', 'positions', 'cell', 'pbc')]
            pairs = row.get('key_value_pairs', {})
            yield Entry(crystal_from_arrays(label, *arrays), scalars(pairs if isinstance(pairs, dict) else {}), where)
        except Exception as error:  # arrays of any type and shape
            yield failed(label, where, error, 'unreadable_row', 'not a row of an ASE database')


def _array(value: Any) -> Any:
    """Return an array in the notation of ``ase.io.jsonio``, or the value itself.

    :raises CrystalError: the shape does not fit the numbers
    """
    if isinstance(value, dict) and 'array' in value:  # an ase.cell.Cell
        value = value['array']
    if isinstance(value, dict) and '__ndarray__' in value:
        shape, _, flat = value['__ndarray__']
        value = np.array(flat)
        if int(np.prod(shape, dtype=np.float64)) != value.size:
            raise CrystalError('unreadable_row', f'an array of shape {shape!r:.40} with {value.size} numbers')
        return value.reshape(shape)
    return np.array([] if value is None else value)
