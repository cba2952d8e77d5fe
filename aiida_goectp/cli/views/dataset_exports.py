"""Rows and columns of a dataset as plain objects, for export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.labelled_jsonl import LINE_FIELDS
from aiida_goectp.core.datasets.row_gates import is_refused
from aiida_goectp.core.dielectric.gate_codes import GateCode
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.formats.names import renamed_properties

__all__ = ('dataset_columns', 'dataset_lines', 'json_column', 'to_json_value')


def dataset_lines(data: Dataset) -> Iterator[dict[str, Any]]:
    """Yield one object per row, in the format of labelled JSON lines; NaN becomes null.

    Splits are not contained. A refused row has both flags ``electronic_ok`` and ``ionic_ok`` false, so that a reader
    that cannot evaluate the failed gates does not train on it. A property with the name of an entry of the format is
    called ``property_NAME``.
    """
    offsets, blocks = data.crystals.atom_offsets, data.block_offsets
    for row, crystal in enumerate(data.crystals):
        failed = str(data.failed_gates[row])
        flags = {GateCode.ELECTRONIC_OK.value: not is_refused(failed), GateCode.IONIC_OK.value: not failed}
        line = {
            'id': crystal.id,
            'lattice': crystal.lattice.tolist(),
            'species': symbols_of(crystal.atomic_numbers),
            'frac_coords': crystal.fractional_positions.tolist(),
            'eps_electronic': _complete(data.electronic[row]),
            'eps_ionic': _complete(data.ionic[row]),
            'born': _complete(data.born_charges[offsets[row] : offsets[row + 1]]),
            'functional': str(data.functional[row]),
            'origin': str(data.origin[row]),
            'failed_gates': failed,
            **(flags if failed else {}),
        }
        if data.force_constants is not None:
            n = len(crystal.atomic_numbers)
            constants = data.force_constants[blocks[row] : blocks[row + 1]]
            line['force_constants'] = _complete(constants.reshape(n, n, 3, 3))
        properties = {name: to_json_value(column[row]) for name, column in data.crystals.properties.items()}
        yield {**renamed_properties(properties, LINE_FIELDS), **line}


def dataset_columns(data: Dataset) -> dict[str, list[Any]]:
    """Return name → JSON value of each row: tensors, labels, splits and formula."""
    return {
        'id': data.crystals.ids.tolist(),
        'hash': data.crystals.hashes.tolist(),
        **{name: json_column(getattr(data, name)) for name in PARTS},
        **{name: getattr(data, name).tolist() for name in ('functional', 'origin', 'failed_gates')},
        'trainable': data.trainable.tolist(),
        **{f'split {name}': column.tolist() for name, column in data.splits.items()},
        'formula': data.crystals.formulas.tolist(),
    }


def _complete(tensor: np.ndarray) -> list[Any] | None:
    """Return a tensor as lists, None if an entry is missing."""
    return tensor.tolist() if np.isfinite(tensor).all() else None


def json_column(column: np.ndarray) -> list[Any]:
    """Return the JSON value of each row; NaN and infinity become None."""
    if column.dtype.kind == 'f' and not (known := np.isfinite(column)).all():
        column = column.astype(object)
        column[~known] = None
    values: list[Any] = column.tolist()
    return values


def to_json_value(value: Any) -> Any:
    """Return a scalar, array or list of numbers as JSON values; NaN and infinity become None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
