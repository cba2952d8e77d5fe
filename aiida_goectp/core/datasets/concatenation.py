"""The rows of several datasets, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.concatenate import concatenate_crystals
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.splits import SPLIT_PARTS, reduced_formulas
from aiida_goectp.core.formats.npz import FormatError

__all__ = ('concatenate',)

_COLUMNS = ('electronic', 'ionic', 'born_charges', 'functional', 'origin', 'failed_gates')


def concatenate(parts: Sequence[Dataset], newcomers: str = '') -> Dataset:
    """Return all rows, duplicates included; an id that stood before gets ``#2`` appended.

    :param parts: one or more
    :param newcomers: part of a split for the trainable rows of a dataset that lacks it; empty for none. In a split by
        formula, a newcomer whose formula stands in another part stays out
    :raises FormatError: no dataset, or no such part
    """
    if not parts:
        raise FormatError('no dataset to join; give at least one')
    if newcomers not in (*SPLIT_PARTS, ''):
        raise FormatError(f'newcomers go to one of {", ".join(SPLIT_PARTS)}, or to none; found {newcomers!r}')
    names = dict.fromkeys(name for part in parts for name in part.splits)
    return Dataset(
        concatenate_crystals([part.crystals for part in parts]),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS},
        splits={name: _split(name, parts, newcomers) for name in names},
        split_settings={name: _settings(name, parts, newcomers) for name in names},
    )


def _split(name: str, parts: Sequence[Dataset], newcomers: str) -> np.ndarray:
    taken = _formulas_elsewhere(name, parts, newcomers) if newcomers else []
    columns = []
    for part in parts:
        if name in part.splits:
            columns.append(part.splits[name])
            continue
        free = part.trainable
        if taken:
            free = free & ~np.isin(reduced_formulas(part.crystals), taken)
        columns.append(np.where(free, newcomers, ''))
    return np.concatenate(columns)


def _formulas_elsewhere(name: str, parts: Sequence[Dataset], newcomers: str) -> list[str]:
    """Return the formulas of the other parts if no formula stands in two parts of the split; else none.

    What a split is shows in its rows: one that was given, or joined before, does not say that it is by formula.
    """
    sides: dict[str, set[str]] = {}
    for part in (part for part in parts if name in part.splits):
        for formula, side in zip(reduced_formulas(part.crystals), part.splits[name].tolist(), strict=True):
            if side:
                sides.setdefault(formula, set()).add(side)
    if any(len(found) > 1 for found in sides.values()):
        return []
    return sorted(formula for formula, found in sides.items() if newcomers not in found)


def _settings(name: str, parts: Sequence[Dataset], newcomers: str) -> dict[str, Any]:
    if len(parts) == 1:
        return dict(parts[0].split_settings[name])
    return {'kind': 'joined', 'of': [part.split_settings.get(name) for part in parts], 'newcomers': newcomers}
