"""Merging of the predictions of shards: no row may be missing, duplicate, or of another crystal or model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('MergeError', 'merge_predictions')


class MergeError(FormatError):
    """Shards that cannot be merged.

    :param code: ``no_parts``, ``mixed_models``, ``duplicate``, ``foreign`` or ``gap``
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def merge_predictions(
    parts: Sequence[Predictions], ids: Sequence[str] | np.ndarray, hashes: Sequence[str] | np.ndarray
) -> Predictions:
    """Return the predictions of all shards in the order of the crystals.

    :param parts: predictions of the shards, in any order
    :param ids: (n,) of the crystal set
    :param hashes: (n,) of the crystal set
    :raises MergeError: no shard, shards of different models, a duplicate row, a row of another crystal, or a crystal
        without prediction
    """
    if not parts:
        raise MergeError('no_parts', 'no predictions to merge')
    models = sorted({part.model_hash for part in parts})
    if len(models) > 1:
        raise MergeError(
            'mixed_models', f'the shards were predicted with different models: {", ".join(models)}; use one model'
        )
    whole = Predictions.join(parts)
    wanted = {str(name): row for row, name in enumerate(ids)}
    source = np.full(len(wanted), -1, dtype=np.int64)
    for row, (name, content) in enumerate(zip(whole.ids.tolist(), whole.hashes.tolist(), strict=True)):
        place = wanted.get(name)
        if place is None or str(hashes[place]) != content:
            found = 'the crystals have no such id' if place is None else f'the crystal with this id is {hashes[place]}'
            raise MergeError('foreign', f'{_origin(parts, row)}: unknown crystal {name} ({content}); {found}')
        if source[place] >= 0:
            raise MergeError(
                'duplicate', f'duplicate row of {name}: {_origin(parts, int(source[place]))}, {_origin(parts, row)}'
            )
        source[place] = row
    gaps = np.flatnonzero(source < 0)
    if len(gaps):
        first = ', '.join(str(ids[row]) for row in gaps[:5])
        more = ', …' * (len(gaps) > 5)
        raise MergeError('gap', f'{len(gaps)} of {len(source)} crystals have no prediction: {first}{more}')
    return replace(whole.take(source), settings=_common([part.settings for part in parts]))


def _origin(parts: Sequence[Predictions], row: int) -> str:
    """Return shard and row of a row of the joined shards, for messages."""
    for number, part in enumerate(parts):
        if row < len(part):
            return f'shard {number}, row {row}'
        row -= len(part)
    raise IndexError(row)


def _common(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of all shards; a setting that differs is a list of its distinct values."""
    result: dict[str, Any] = {}
    for name in sorted({name for part in settings for name in part}):
        distinct = {json.dumps(part.get(name), sort_keys=True) for part in settings}
        values = [json.loads(text) for text in sorted(distinct)]
        result[name] = values[0] if len(values) == 1 else values
    return result
