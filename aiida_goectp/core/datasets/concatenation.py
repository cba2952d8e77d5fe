"""Concatenation of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.concatenate import concatenate_crystals
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.splits import SPLIT_PARTS, reduced_formulas
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('concatenate',)


def concatenate(parts: Sequence[Dataset], newcomers: str = '') -> Dataset:
    """Return all rows of all datasets, duplicates included; ``#2`` is appended to a duplicate id.

    :param parts: one dataset or more
    :param newcomers: part of a split for the trainable rows of a dataset without that split; empty for no part. In a
        split by formula, a row whose formula is in another part is in no part
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
    return Dataset(
        concatenate_crystals([part.crystals for part in parts]),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
        force_constants=_force_constants(parts),
        splits={name: _split(name, parts, newcomers) for name in names},
        split_settings={name: _settings(name, parts, newcomers) for name in names},
    )


def _force_constants(parts: Sequence[Dataset]) -> np.ndarray | None:
    if all(part.force_constants is None for part in parts):
        return None
    unknown = [np.full((part.block_offsets[-1], 3, 3), np.nan, dtype=np.float32) for part in parts]
    given = [part.force_constants for part in parts]
    return np.concatenate([none if found is None else found for none, found in zip(unknown, given, strict=True)])


def _split(name: str, parts: Sequence[Dataset], newcomers: str) -> np.ndarray:
    excluded = _formulas_of_other_parts(name, parts, newcomers) if newcomers else []
    columns = []
    for part in parts:
        if name in part.splits:
            columns.append(part.splits[name])
            continue
        eligible = part.trainable
        if excluded:
            eligible = eligible & ~np.isin(reduced_formulas(part.crystals), excluded)
        columns.append(np.where(eligible, newcomers, ''))
    return np.concatenate(columns)


def _formulas_of_other_parts(name: str, parts: Sequence[Dataset], newcomers: str) -> list[str]:
    """Return the formulas of the other parts of a split by formula; an empty list for other splits.

    A split is by formula if no formula is in two parts; the settings of a given or joined split do not state it.
    """
    found: dict[str, set[str]] = {}
    for part in (part for part in parts if name in part.splits):
        for formula, place in zip(reduced_formulas(part.crystals), part.splits[name].tolist(), strict=True):
            if place:
                found.setdefault(formula, set()).add(place)
    if any(len(places) > 1 for places in found.values()):
        return []
    return sorted(formula for formula, places in found.items() if newcomers not in places)


def _settings(name: str, parts: Sequence[Dataset], newcomers: str) -> dict[str, Any]:
    if len(parts) == 1:
        return dict(parts[0].split_settings[name])
    return {'kind': 'joined', 'of': [part.split_settings.get(name) for part in parts], 'newcomers': newcomers}
