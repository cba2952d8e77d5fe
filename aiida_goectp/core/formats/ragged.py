"""Ragged arrays: rows of different length in one flat array, divided by offsets."""

from __future__ import annotations

import numpy as np

__all__ = ('ranges',)


def ranges(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the elements in the given rows of a ragged array, and the offsets of the new rows.

    :param offsets: (n + 1,) row r owns the elements ``offsets[r]:offsets[r + 1]``
    :param rows: (m,) their indices
    """
    counts = offsets[rows + 1] - offsets[rows]
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return np.repeat(offsets[rows] - ends[:-1], counts) + np.arange(ends[-1]), ends
