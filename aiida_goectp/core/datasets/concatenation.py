"""Concatenation of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.concatenate import concatenate_crystals
from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.same_crystals import SameCrystals
from aiida_goectp.core.datasets.splits import SPLIT_PARTS, reduced_formulas
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('concatenate',)


def concatenate(parts: Sequence[Dataset], newcomers: str = '') -> Dataset:
    """Return all rows of all datasets, duplicates included; ``#2`` is appended to a duplicate id.

    :param parts: one dataset or more
    :param newcomers: part of a split for the trainable rows of a dataset without that split; empty for no part. A row
        that is the same crystal as one of another part, whatever its cell and functional, is in no part; in a split by
        formula, a row whose formula is in another part
    :raises FormatError: no dataset, or an unknown part
    """
    if not parts:
        raise FormatError('no dataset given; expected at least one')
    if newcomers not in (*SPLIT_PARTS, ''):
        raise FormatError(
            f'newcomers: unknown part {newcomers!r}; expected {", ".join(SPLIT_PARTS)}, or empty for none'
        )
    names = dict.fromkeys(name for part in parts for name in part.splits)
    columns = (*Dataset.columns(), *Dataset.columns('atoms'))
    crystals = concatenate_crystals([part.crystals for part in parts])
    return Dataset(
        crystals,
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
        force_constants=_force_constants(parts),
        splits={name: _split(name, parts, newcomers, crystals) for name in names},
        split_settings={name: _settings(name, parts, newcomers) for name in names},
    )


def _force_constants(parts: Sequence[Dataset]) -> np.ndarray | None:
    if all(part.force_constants is None for part in parts):
        return None
    unknown = [np.full((part.block_offsets[-1], 3, 3), np.nan, dtype=np.float32) for part in parts]
    given = [part.force_constants for part in parts]
    return np.concatenate([none if found is None else found for none, found in zip(unknown, given, strict=True)])


def _split(name: str, parts: Sequence[Dataset], newcomers: str, crystals: CrystalSet) -> np.ndarray:
    column = np.concatenate(
        [part.splits[name] if name in part.splits else np.where(part.trainable, newcomers, '') for part in parts]
    )
    if newcomers:
        added = np.concatenate([np.full(len(part), name not in part.splits) for part in parts])
        column[_rows_like_other_parts(crystals, column, added, newcomers)] = ''
    return column


def _rows_like_other_parts(crystals: CrystalSet, column: np.ndarray, added: np.ndarray, newcomers: str) -> list[int]:
    """Return the added rows that other parts than that of newcomers contain: by formula in a split by formula.

    A split is by formula if no formula is in two parts; the settings of a given or joined split do not state it.

    :param column: (n,) part of each row
    :param added: (n,) true for the rows of datasets without the split
    """
    formulas = reduced_formulas(crystals)
    places: dict[str, set[str]] = {}
    others: dict[str, list[int]] = {}
    for row in np.flatnonzero(~added & (column != '')).tolist():
        places.setdefault(formulas[row], set()).add(column[row])
        if column[row] != newcomers:
            others.setdefault(formulas[row], []).append(row)
    candidates = [row for row in np.flatnonzero(added & (column != '')).tolist() if formulas[row] in others]
    if not candidates or all(len(found) == 1 for found in places.values()):
        return candidates
    same = SameCrystals(crystals)
    return [row for row in candidates if any(same(row, other) for other in others[formulas[row]])]


def _settings(name: str, parts: Sequence[Dataset], newcomers: str) -> dict[str, Any]:
    if len(parts) == 1:
        return dict(parts[0].split_settings[name])
    return {'kind': 'joined', 'of': [part.split_settings.get(name) for part in parts], 'newcomers': newcomers}
