"""Predictions for a person's eyes, and as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aiida_goectp.crystals.crystalset import CrystalSet, Failure
from aiida_goectp.predictions import TENSORS, Predictions, flag_names
from aiida_goectp.tensors import eigenvalues, polycrystalline_average

__all__ = ('json_lines', 'text', 'with_unread')


def with_unread(predictions: Predictions, failures: Sequence[Failure]) -> Predictions:
    """Return the predictions with a failed row, whose hash is empty, for each row that could not be read."""
    if not failures:
        return predictions
    n = len(failures)
    nothing: dict[str, Any] = {name: np.full((n, 3, 3), np.nan) for name in TENSORS}
    unread = Predictions(
        ids=np.array([failure.id for failure in failures], dtype=np.str_),
        hashes=np.full(n, '', dtype=np.str_),
        **nothing,
        flags=np.zeros(n, dtype=np.uint32),
        errors=np.array([f'{failure.code}: {failure.message}' for failure in failures], dtype=np.str_),
        model_hash=predictions.model_hash,
    )
    return replace(Predictions.join([predictions, unread]), settings=predictions.settings)


def json_lines(crystals: CrystalSet, predictions: Predictions) -> Iterator[str]:
    """Yield one JSON object a row: id, lattice, electronic, ionic, total, flags, and error for a failed row.

    Tensors stand in the frame of ``lattice`` (rows a, b, c in Å); a tensor that the model does not predict is null. The
    rows that could not be read follow those that could.
    """
    for row, crystal in enumerate(crystals):
        record = {'id': crystal.id, 'lattice': _plain(crystal.lattice)}
        record.update({name: _plain(getattr(predictions, name)[row]) for name in ('electronic', 'ionic', 'total')})
        record['flags'] = list(flag_names(predictions.flags[row]))
        if predictions.errors[row]:
            record['error'] = str(predictions.errors[row])
        yield json.dumps(record)
    for failure in crystals.failures:
        nothing = {name: None for name in ('lattice', 'electronic', 'ionic', 'total')}
        yield json.dumps({'id': failure.id, **nothing, 'flags': [], 'error': f'{failure.code}: {failure.message}'})


def _plain(array: np.ndarray) -> list | None:
    return array.tolist() if np.isfinite(array).all() else None  # JSON knows no NaN


def text(crystals: CrystalSet, predictions: Predictions, row: int = 0) -> str:
    """Return tensors, averages and eigenvalues of one row as lines to read."""
    if row >= len(crystals):
        return f'{predictions.ids[row]}\nfailed: {predictions.errors[row]}'
    crystal = crystals[row]
    lines = [f'{crystal.id}: {len(crystal.atomic_numbers)} atoms, lattice rows a, b, c in Å']
    lines += ['  ' + '  '.join(f'{value:10.5f}' for value in vector) for vector in crystal.lattice]
    if predictions.errors[row]:
        return '\n'.join([*lines, f'failed: {predictions.errors[row]}'])
    for name in ('electronic', 'ionic', 'total'):
        tensor = getattr(predictions, name)[row]
        if not np.isfinite(tensor).all():
            continue
        values = ', '.join(f'{value:.3f}' for value in eigenvalues(tensor))
        lines.append(f'{name}: average {polycrystalline_average(tensor):.3f}, eigenvalues {values}')
        lines += ['  ' + '  '.join(f'{value:10.4f}' for value in vector) for vector in tensor]
    if flags := flag_names(predictions.flags[row]):
        lines.append('flags: ' + ', '.join(flags))
    return '\n'.join(lines)
