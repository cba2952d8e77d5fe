"""Predictions for a person's eyes, and as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from aiida_goectp.crystals.crystalset import CrystalSet
from aiida_goectp.predictions import Predictions, flag_names
from aiida_goectp.tensors import eigenvalues, polycrystalline_average

__all__ = ('json_lines', 'text')


def json_lines(crystals: CrystalSet, predictions: Predictions) -> Iterator[str]:
    """Yield one JSON object a row: id, lattice, electronic, ionic, total, flags, and error for a failed row.

    Tensors stand in the frame of ``lattice`` (rows a, b, c in Å); a tensor that the model does not predict is null. The
    rows that could not be read follow those that could.
    """
    for row, crystal in enumerate(crystals):
        record = {'id': crystal.id, 'lattice': crystal.lattice.tolist()}
        for name in ('electronic', 'ionic', 'total'):
            tensor = getattr(predictions, name)[row]
            record[name] = tensor.tolist() if np.isfinite(tensor).all() else None
        record['flags'] = list(flag_names(predictions.flags[row]))
        if predictions.errors[row]:
            record['error'] = str(predictions.errors[row])
        yield json.dumps(record)
    for failure in crystals.failures:
        nothing = {name: None for name in ('lattice', 'electronic', 'ionic', 'total')}
        yield json.dumps({'id': failure.id, **nothing, 'flags': [], 'error': f'{failure.code}: {failure.message}'})


def text(crystals: CrystalSet, predictions: Predictions, row: int) -> str:
    """Return tensors, averages and eigenvalues of one row as lines to read."""
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
