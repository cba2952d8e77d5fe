"""Predictions of some crystals of a set as predictions of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.predictions import DEVIATIONS, TENSORS, Predictions
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('NOT_PREDICTED_AGAIN', 'align_predictions')

NOT_PREDICTED_AGAIN = 'not predicted again'
"""error of a row that a pruned prediction leaves out"""


def align_predictions(
    crystals: CrystalSet, predictions: Predictions, error: str = 'not predicted'
) -> tuple[Predictions, np.ndarray]:
    """Return one row for each of n crystals, and (n,) whether the crystal was predicted; other rows are failed ones.

    :param error: of the rows that were not predicted
    :raises FormatError: a prediction of none of the crystals, or two of one crystal
    """
    n = len(crystals)
    if n == len(predictions):
        return predictions, np.ones(n, dtype=bool)  # rank() compares row by row
    rows = {key: row for row, key in enumerate(zip(crystals.ids.tolist(), crystals.hashes.tolist(), strict=True))}
    keys = list(zip(predictions.ids.tolist(), predictions.hashes.tolist(), strict=True))
    places = [rows.get(key, -1) for key in keys]
    if -1 in places:
        row = places.index(-1)
        raise FormatError(f'predictions, row {row}: {keys[row][0]} is not one of the crystals; predict these crystals')
    if len(set(places)) < len(places):
        raise FormatError('predictions: a crystal was predicted twice; merge shards with `merge_predictions`')
    source = np.full(n, -1, dtype=np.int64)
    source[places] = np.arange(len(places))
    predicted = source >= 0

    def spread(column: np.ndarray) -> np.ndarray:
        wide = np.full((n, *column.shape[1:]), np.nan)
        wide[predicted] = column[source[predicted]]
        return wide

    flags = np.zeros(n, dtype=predictions.flags.dtype)
    flags[predicted] = predictions.flags[source[predicted]]
    errors = [str(predictions.errors[row]) if row >= 0 else error for row in source]
    names = (*TENSORS, *DEVIATIONS, 'stability')
    columns: dict[str, Any] = {name: spread(getattr(predictions, name)) for name in names}
    aligned = Predictions(
        ids=crystals.ids.astype(np.str_),
        hashes=crystals.hashes,
        **columns,
        flags=flags,
        errors=np.array(errors, dtype=np.str_),
        model_hash=predictions.model_hash,
        settings=predictions.settings,
    )
    return aligned, predicted
