"""Several crystal sets as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.entries import unique_ids

__all__ = ('concatenate_crystals',)


def concatenate_crystals(parts: Sequence[CrystalSet]) -> CrystalSet:
    """Return the rows of all parts, one after the other, with the union of their property columns.

    An id that stood before gets ``#2``, ``#3``, … appended. A property that a part lacks is NaN, or an empty text,
    there. Failures are kept.
    """
    counts = np.concatenate([np.zeros(0, np.int64), *(part.atom_counts for part in parts)])
    names = dict.fromkeys(name for part in parts for name in part.properties)
    ids = unique_ids([str(name) for part in parts for name in part.ids])
    return CrystalSet(
        np.concatenate([np.zeros((0, 3, 3)), *(part.lattices for part in parts)]),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([np.zeros(0, np.int16), *(part.atomic_numbers for part in parts)]),
        np.concatenate([np.zeros((0, 3)), *(part.fractional_positions for part in parts)]),
        np.array(ids, dtype=np.str_).reshape(-1),
        {name: _column([(part.properties.get(name), len(part)) for part in parts]) for name in names},
        tuple(failure for part in parts for failure in part.failures),
    )


def _column(pieces: Sequence[tuple[np.ndarray | None, int]]) -> np.ndarray:
    """Return one column; text if any piece is text, numbers as they are if all are there, else with NaN."""
    there = [piece for piece, _ in pieces if piece is not None]
    if any(piece.dtype.kind == 'U' for piece in there):
        return np.concatenate(
            [np.full(n, '', '<U1') if piece is None else piece.astype(np.str_) for piece, n in pieces]
        )
    if len(there) == len(pieces):
        return np.concatenate(there)
    return np.concatenate([np.full(n, np.nan) if piece is None else piece.astype(np.float64) for piece, n in pieces])
