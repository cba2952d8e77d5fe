"""Crystals and predictions for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aiida_goectp.core.crystals import Crystal, CrystalSet, Failure
from aiida_goectp.core.dielectric.predictions import Predictions

SETTINGS = {'device': 'cpu', 'precision': 'float64'}


def crystal_set(count=6, properties=None, failures=()) -> CrystalSet:
    """Return cubic oxides of Li, Be, B, … with increasing lattice constants."""
    rows = [
        Crystal(
            f'c{row}',
            np.eye(3) * (3 + 0.1 * row),
            np.array([3 + row % 90, 8], np.int16),
            np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
        )
        for row in range(count)
    ]
    return CrystalSet.from_crystals(rows, properties, failures)


def repeated(crystals: CrystalSet, rows) -> CrystalSet:
    """Return some rows, of which one may occur several times, with ids of their own."""
    return CrystalSet.from_crystals([crystals[row]._replace(id=f'row{place}') for place, row in enumerate(rows)])


def predictions_for(
    crystals: CrystalSet, electronic=None, ionic=None, std=np.nan, errors=None, **changes
) -> Predictions:
    """Return isotropic predictions with the given averages; rows with an error are NaN."""
    n = len(crystals)
    errors = np.array([''] * n if errors is None else errors, dtype=np.str_).reshape(-1)
    parts = []
    for averages, default in ((electronic, 4.0), (ionic, 6.0)):
        averages = np.full(n, default) if averages is None else np.asarray(averages, dtype=float)
        parts.append(np.where((errors == '')[:, None, None], averages[:, None, None] * np.eye(3), np.nan))
    fields = {
        'ids': crystals.ids,
        'hashes': crystals.hashes,
        'electronic': parts[0],
        'ionic': parts[1],
        'total': parts[0] + parts[1],
        **{f'{name}_std': np.full((n, 3, 3), std) for name in ('electronic', 'ionic', 'total')},
        'flags': np.zeros(n, np.uint32),
        'errors': errors,
        'model_hash': 'm',
        'settings': SETTINGS,
    }
    return Predictions(**(fields | changes))


def rows_of(predictions: Predictions, rows, **changes) -> Predictions:
    """Return some rows as predictions of their own."""
    return replace(predictions.take(rows), **changes)


FAILURE = Failure('broken', 'unreadable_file', 'broken.cif: cut off; fetch the file again')
