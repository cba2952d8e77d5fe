"""Merging of the predictions of shards: no row may be missing, duplicate, or of another crystal or model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import IO, Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalFile
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import Blocks, hash_arrays, write_npz
from aiida_goectp.core.formats.table import TableFile

__all__ = ('MergeError', 'MergedFile', 'merge_files', 'merge_predictions')


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
    _one_model([part.model_hash for part in parts])
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


def _one_model(hashes: Sequence[str]) -> str:
    """Return the hash of the model of all shards.

    :raises MergeError: no shard, or different models
    """
    if not hashes:
        raise MergeError('no_parts', 'no predictions to merge')
    models = sorted(set(hashes))
    if len(models) > 1:
        raise MergeError(
            'mixed_models', f'the shards were predicted with different models: {", ".join(models)}; use one model'
        )
    return models[0]


class MergedFile(NamedTuple):
    """What is known of predictions that were merged from file to file."""

    rows: int
    failed: int
    model_hash: str
    settings: dict[str, Any]
    content_hash: str


def merge_files(parts: Sequence[TableFile[Predictions]], crystals: CrystalFile, target: IO[bytes]) -> MergedFile | None:
    """Write the predictions of all shards to one file, as :func:`merge_predictions` returns them, block by block.

    :param parts: predictions of the shards
    :param target: binary stream
    :return: None, and nothing is written, if the shards do not follow each other in the order of the crystals, are of
        an older version of the format or have phonons
    :raises MergeError: no shard, or shards of different models
    """
    model = _one_model([str(part.values['model_hash']) for part in parts])
    columns, rows = Predictions.columns(), sum(map(len, parts))
    if any(part.nested or set(part.columns) != set(columns) for part in parts) or not _in_order(parts, crystals):
        return None
    settings = _common([part.values['settings'] for part in parts])
    fields = Predictions.stored_fields()
    arrays: dict[str, np.ndarray | Blocks] = {}
    for name in fields:
        if name in columns:
            arrays[name] = _joined_column(parts, name, rows)
        elif name in ('model_hash', 'settings'):
            arrays |= fields[name].encode(name, model if name == 'model_hash' else settings)
    write_npz(target, Predictions.KIND, Predictions.VERSION, arrays)
    failed = sum(int((block != '').sum()) for part in parts for block in part.column('errors'))
    return MergedFile(rows, failed, model, settings, hash_arrays(arrays))


def _joined_column(parts: Sequence[TableFile[Predictions]], name: str, rows: int) -> Blocks:
    """Return a column of all shards."""
    dtype = np.result_type(*(part.npz.dtype(name) for part in parts))
    shape = (rows, *parts[0].npz.shapes[name][1:])
    return Blocks(dtype, shape, lambda: (block for part in parts for block in part.column(name)))


def _in_order(parts: Sequence[TableFile[Predictions]], crystals: CrystalFile) -> bool:
    """Return whether the rows of the shards are, one after the other, those of the crystals."""
    if sum(map(len, parts)) != len(crystals):
        return False
    names, hashes = _Rows(parts, 'ids'), _Rows(parts, 'hashes')
    for block in crystals.blocks():
        count = len(block)
        if not np.array_equal(names.take(count), block.ids) or not np.array_equal(hashes.take(count), block.hashes):
            return False
    return True


class _Rows:
    """A column of all shards, taken in other numbers of rows than those of the blocks."""

    def __init__(self, parts: Sequence[TableFile[Predictions]], name: str) -> None:
        self._blocks = (block for part in parts for block in part.column(name))
        self._left = [np.zeros(0, '<U1')]

    def take(self, count: int) -> np.ndarray:
        """Return the next rows."""
        while sum(map(len, self._left)) < count:
            self._left.append(next(self._blocks))
        whole = np.concatenate(self._left)
        self._left = [whole[count:]]
        return whole[:count]


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
