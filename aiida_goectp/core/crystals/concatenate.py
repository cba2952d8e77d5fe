"""Concatenation of crystal sets, and unique ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet

__all__ = ('concatenate_crystals', 'unique_ids')


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


def unique_ids(names: Sequence[str]) -> list[str]:
    """Return the names with ``#2``, ``#3``, … appended to repeated ones."""
    taken = set(names)
    seen: dict[str, int] = {}
    result = []
    for name in names:
        count = seen.get(name, 0) + 1
        new = name
        while count > 1 and (new := f'{name}#{count}') in taken:
            count += 1
        seen[name] = count
        taken.add(new)
        result.append(new)
    return result


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
