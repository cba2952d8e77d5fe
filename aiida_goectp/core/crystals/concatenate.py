"""Concatenation of crystal sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.entries import unique_ids

__all__ = ('concatenate_crystals',)


def concatenate_crystals(parts: Sequence[CrystalSet]) -> CrystalSet:
    """Return the rows of all parts in order, with the union of their property columns and all failures.

    Duplicate ids are made unique by :func:`.unique_ids`. A property that a part does not have is NaN there, or empty in
    a text column.
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
        failures=tuple(failure for part in parts for failure in part.failures),
    )


def _column(pieces: Sequence[tuple[np.ndarray | None, int]]) -> np.ndarray:
    """Return one column of (values, length) of all parts; None for the values of a part without the property."""
    present = [piece for piece, _ in pieces if piece is not None]
    if any(piece.dtype.kind == 'U' for piece in present):
        return np.concatenate(
            [np.full(n, '', '<U1') if piece is None else piece.astype(np.str_) for piece, n in pieces]
        )
    if len(present) == len(pieces):
        return np.concatenate(present)
    return np.concatenate([np.full(n, np.nan) if piece is None else piece.astype(np.float64) for piece, n in pieces])
