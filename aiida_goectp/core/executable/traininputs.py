"""What ``goectp train`` is given: settings, the parts of a split, and a model to go on from."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.datasets.dataset import UNKNOWN, Dataset
from aiida_goectp.core.datasets.splits import FRACTIONS, PARTS
from aiida_goectp.core.executable.status import ExecutableError
from aiida_goectp.core.formats.npz import FormatError

if TYPE_CHECKING:
    from aiida_goectp.core.learning.settings import TrainSettings
    from aiida_goectp.core.network.checkpoint import LoadedModel

__all__ = ('name_functional', 'read_initial', 'read_settings', 'split_dataset')

_FEW = 10
"""rows below which nothing is held out"""
_NETWORK = ('width', 'layers')
"""options of the command line that are options of the backbone"""


def read_settings(options: dict[str, Any], initial: LoadedModel | None, found: Collection[str] = ()) -> TrainSettings:
    """Return the settings of the file, with the options of the command line laid over them.

    A model to go on from gives preset, options of the backbone and functionals where the file says nothing of them.

    :param found: functionals of the labels
    :raises WorkerError: no such settings; the message names the field
    """
    from pydantic import ValidationError

    from aiida_goectp.core.learning.settings import TrainSettings, settings_like

    values = _read_json(options['settings']) if options['settings'] else {}
    if initial is not None:
        values = settings_like(values, initial.card, found)
    values |= {name: options[name] for name in TrainSettings.model_fields if options.get(name) is not None}
    network = {name: options[name] for name in _NETWORK if options[name] is not None}
    if network:
        values['options'] = {**values.get('options', {}), **network}
    try:
        return TrainSettings.model_validate(values)
    except ValidationError as error:
        settings_errors = (f'{".".join(map(str, item["loc"]))}: {item["msg"]}' for item in error.errors())
        raise ExecutableError('bad_input', f'settings: {"; ".join(settings_errors)}') from error


def _read_json(path: str) -> dict[str, Any]:
    try:
        values = json.loads(Path(path).read_text())
    except ValueError as error:
        raise ExecutableError('bad_input', f'{path}: no JSON ({error})') from error
    if not isinstance(values, dict):
        raise ExecutableError('bad_input', f'{path}: expected an object of settings')
    return values


def read_initial(model: str | None) -> LoadedModel | None:
    """Return the model to go on from, None for a training from scratch.

    :raises WorkerError: no model of this package
    """
    from aiida_goectp.core.network.checkpoint import load_model

    if model is None:
        return None
    try:
        return load_model(model)
    except FormatError as error:
        raise ExecutableError('bad_model', str(error)) from error


def split_dataset(
    data: Dataset, split: str | None, split_file: str | None, seed: int, label: str = 'dataset'
) -> tuple[str, dict[str, Dataset]]:
    """Return in words how the rows were split, and the trainable rows of train, validation and test.

    :param split: name of a split of the dataset, or of the file; a tenth is held out twice, by the seed, if None
    :param split_file: JSON, ``splits`` → name → part → ids
    :param label: of the dataset, for messages
    :raises FormatError: no such split, or nothing to learn from
    """
    words = split or f'random, seed {seed}'
    if split_file is not None:
        if split is None:
            raise ExecutableError('bad_input', f'name a split of {split_file} with --split')
        column = f'{split} of {Path(split_file).name}'
        data = data.with_given_split(column, _read_split(Path(split_file), split))
    elif split is not None:
        column = split
    else:
        column, rows = words, int(data.trainable.sum())
        if rows < 2:
            raise ExecutableError('bad_input', f'{label}: {rows} labelled crystals to learn from; give two or more')
        data = data.with_split(column, 'random', seed, FRACTIONS if rows >= _FEW else (1.0, 0.0, 0.0))
    parts = {part: data.part(column, part) for part in PARTS}
    if (rows := len(parts['train'])) < 2:
        raise ExecutableError('bad_input', f'{label}: {rows} labelled crystals to learn from; give two or more')
    return words, parts


def name_functional(data: Dataset, functional: str | None) -> tuple[Dataset, str]:
    """Return the dataset with the functional of the rows that do not say, and the functionals in words.

    :param functional: of these rows; they stay unknown if None
    """
    column = data.functional
    if functional:
        column = np.where(column == UNKNOWN, functional, column)
    return replace(data, functional=column), ', '.join(sorted(set(column.tolist()))) or UNKNOWN


def _read_split(path: Path, name: str) -> dict[str, list[str]]:
    """Return the ids of each part of a split."""
    try:
        splits = json.loads(path.read_text())['splits']
        chosen = splits.get(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExecutableError(
            'bad_input', f'{path}: no JSON of the form splits → name → part → ids ({error})'
        ) from error
    if not isinstance(chosen, dict) or not chosen.get('train'):
        raise ExecutableError('bad_input', f'{path}: no split {name!r} with a part train; has {", ".join(splits)}')
    return {part: chosen[part] for part in PARTS if part in chosen}
