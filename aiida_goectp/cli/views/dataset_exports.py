"""Datasets as files that other programs read."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.row_gates import is_refused

__all__ = ('dataset_lines', 'dataset_scalars')


def dataset_lines(data: Dataset) -> list[dict[str, Any]]:
    """Return one object a row, as labelled JSON lines are read; NaN becomes null.

    A row that is refused carries both flags ``electronic_ok`` and ``ionic_ok`` as false: whoever reads the lines again
    may know less than the gates did, and must not train on it.
    """
    offsets = data.crystals.atom_offsets
    rows = []
    for row, crystal in enumerate(data.crystals):
        failed = str(data.failed_gates[row])
        flags = {'electronic_ok': not is_refused(failed), 'ionic_ok': not failed}
        line = {
            'id': crystal.id,
            'lattice': crystal.lattice.tolist(),
            'species': symbols_of(crystal.atomic_numbers),
            'frac_coords': crystal.fractional_positions.tolist(),
            'eps_electronic': _known(data.electronic[row]),
            'eps_ionic': _known(data.ionic[row]),
            'born': _known(data.born_charges[offsets[row] : offsets[row + 1]]),
            'functional': str(data.functional[row]),
            'origin': str(data.origin[row]),
            'failed_gates': failed,
            **(flags if failed else {}),
        }
        extras = {name: _scalar(column[row]) for name, column in data.crystals.properties.items()}
        rows.append({**extras, **line})
    return rows


def dataset_scalars(data: Dataset) -> list[dict[str, Any]]:
    """Return one object a row with the tensors, for a table of their averages."""
    usable = data.trainable
    return [
        {
            'id': str(data.crystals.ids[row]),
            'hash': str(data.crystals.hashes[row]),
            **{name: _entries(getattr(data, name)[row]) for name in ('electronic', 'ionic', 'total')},
            **{name: str(getattr(data, name)[row]) for name in ('functional', 'origin', 'failed_gates')},
            'trainable': bool(usable[row]),
            **{f'split {name}': str(column[row]) for name, column in data.splits.items()},
        }
        for row in range(len(data))
    ]


def _known(tensor: np.ndarray) -> list[Any] | None:
    return tensor.tolist() if np.isfinite(tensor).all() else None


def _entries(tensor: np.ndarray) -> list[list[float | None]]:
    return [[float(value) if np.isfinite(value) else None for value in line] for line in tensor]


def _scalar(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not np.isfinite(plain) else plain
