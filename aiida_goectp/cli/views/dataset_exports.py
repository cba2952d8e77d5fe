"""Rows of a dataset as plain objects, for export."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.row_gates import is_refused
from aiida_goectp.core.dielectric.gate_codes import GateCode
from aiida_goectp.core.dielectric.tensors import PARTS

__all__ = ('dataset_lines', 'dataset_scalars', 'to_json_value')


def dataset_lines(data: Dataset) -> list[dict[str, Any]]:
    """Return one object per row, in the format of labelled JSON lines; NaN becomes null.

    A refused row has both flags ``electronic_ok`` and ``ionic_ok`` false, so that a reader that cannot evaluate the
    failed gates does not train on it.
    """
    offsets = data.crystals.atom_offsets
    rows = []
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
        properties = {name: to_json_value(column[row]) for name, column in data.crystals.properties.items()}
        rows.append({**properties, **line})
    return rows


def dataset_scalars(data: Dataset) -> list[dict[str, Any]]:
    """Return one object per row with tensors, labels and splits, for a table of scalars."""
    trainable = data.trainable
    return [
        {
            'id': str(data.crystals.ids[row]),
            'hash': str(data.crystals.hashes[row]),
            **{name: to_json_value(getattr(data, name)[row]) for name in PARTS},
            **{name: str(getattr(data, name)[row]) for name in ('functional', 'origin', 'failed_gates')},
            'trainable': bool(trainable[row]),
            **{f'split {name}': str(column[row]) for name, column in data.splits.items()},
        }
        for row in range(len(data))
    ]


def _complete(tensor: np.ndarray) -> list[Any] | None:
    """Return a tensor as lists, None if an entry is missing."""
    return tensor.tolist() if np.isfinite(tensor).all() else None


def to_json_value(value: Any) -> Any:
    """Return a scalar, array or list of numbers as JSON values; NaN and infinity become None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
