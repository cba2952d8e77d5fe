"""Inputs of ``goectp train`` and ``goectp join``: settings, the parts of a split, and the initial model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.reading import read_splits
from aiida_goectp.core.datasets.splits import FRACTIONS, SPLIT_PARTS
from aiida_goectp.core.datasets.trained_rows import label_counts, missing_labels_error
from aiida_goectp.core.executable.status import ExecutableError
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.functionals import UNKNOWN
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.learning.settings import TrainSettings, settings_like

if TYPE_CHECKING:
    from aiida_goectp.core.formats.model_card import ModelCard
    from aiida_goectp.core.network.checkpoint import LoadedModel

__all__ = ('TrainInputs', 'read_inputs', 'split_dataset', 'train_settings', 'with_functional')

_MIN_ROWS_TO_SPLIT = 10
"""rows below which a random split has no validation and test rows"""
_BACKBONE_OPTIONS = ('width', 'layers')
"""options of the command line that are options of the backbone"""


@dataclass(frozen=True)
class TrainInputs:
    """Inputs of a training."""

    settings: TrainSettings
    parts: dict[str, Dataset]
    """trainable rows of train, validation and test"""
    origin: str
    """name of the dataset and description of the split, for the card"""
    functional: str
    """functionals of the labels"""
    initial: LoadedModel | None
    """model to fine-tune"""


def read_inputs(source: Path, options: Mapping[str, Any]) -> TrainInputs:
    """Read the inputs of a training.

    :param options: of ``goectp train``
    :raises ExecutableError: ``bad_model``, or ``bad_input`` for an option
    :raises FormatError: invalid settings, dataset or split; no label of a tensor to learn from random weights
    """
    initial = None
    if options['initial'] is not None:
        from aiida_goectp.core.network.checkpoint import load_model

        try:
            initial = load_model(options['initial'])
        except FormatError as error:
            raise ExecutableError('bad_model', str(error)) from error
    data, functional = with_functional(Dataset.load(source), options['functional'])
    found = set(data.functional.tolist())
    settings = train_settings(options, None if initial is None else initial.card, found)
    split, parts = split_dataset(data, options['split'], options['split_file'], settings.seed, label=str(source))
    if initial is None and (missing := missing_labels_error(label_counts(parts['train']), settings.preset)):
        raise FormatError(f'{source}: {missing}')
    return TrainInputs(settings, parts, f'{source.name}, split {split}', functional, initial)


def train_settings(
    options: Mapping[str, Any], initial: ModelCard | None = None, found: Collection[str] = ()
) -> TrainSettings:
    """Return the settings of the settings file, overridden by the options of the command line.

    :param initial: card of the initial model; gives preset, options of the backbone and functionals where the file does
        not
    :param found: functionals of the labels
    :raises FormatError: invalid settings
    """
    values: dict[str, Any] = {}
    if options['settings'] is not None:
        values = parse_json(options['settings'].read_bytes(), str(options['settings']))
        if not isinstance(values, dict):
            raise FormatError(f'{options["settings"]}: expected an object of settings')
    if initial is not None:
        values = settings_like(values, initial, found)
    values |= {name: options[name] for name in TrainSettings.model_fields if options.get(name) is not None}
    backbone = {name: options[name] for name in _BACKBONE_OPTIONS if options[name] is not None}
    if backbone:
        values['options'] = {**values.get('options', {}), **backbone}
    return read_settings(TrainSettings, values, 'settings')


def with_functional(data: Dataset, functional: str | None) -> tuple[Dataset, str]:
    """Return the dataset with the functional of the rows that state none, and all functionals as text.

    :param functional: None leaves these rows unknown
    """
    column = data.functional
    if functional:
        column = np.where(column == UNKNOWN, functional, column)
    return replace(data, functional=column), ', '.join(sorted(set(column.tolist()))) or UNKNOWN


def split_dataset(
    data: Dataset, split: str | None, split_file: Path | None, seed: int, label: str = 'dataset'
) -> tuple[str, dict[str, Dataset]]:
    """Return a description of the split, and the trainable rows of train, validation and test.

    :param split: name of a split of the dataset, or of the file; None for a random split
    :param split_file: JSON, ``splits`` → name → part → ids
    :param seed: of a random split
    :param label: name of the dataset, for messages
    :raises FormatError: no such split, or fewer than two training rows
    """
    column = description = split or f'random, seed {seed}'
    if split_file is not None:
        if split is None:
            raise ExecutableError('bad_input', f'--split is missing; name a split of {split_file}')
        column = f'{split} of {split_file.name}'
        data = data.with_given_split(column, _read_split(split_file, split))
    elif split is None:
        rows = int(data.trainable.sum())
        _check_rows(rows, label)
        fractions = FRACTIONS if rows >= _MIN_ROWS_TO_SPLIT else (1.0, 0.0, 0.0)
        data = data.with_split(column, 'random', seed, fractions)
    parts = {part: data.part(column, part) for part in SPLIT_PARTS}
    _check_rows(len(parts['train']), label)
    return description, parts


def _check_rows(rows: int, label: str) -> None:
    if rows < 2:
        raise FormatError(f'{label}: {rows} labelled training crystals; give two or more')


def _read_split(path: Path, name: str) -> dict[str, list[str]]:
    """Return the ids of each part of a split."""
    splits = read_splits(str(path), path.read_bytes())
    parts = splits.get(name, {})
    if not parts.get('train'):
        raise FormatError(f'{path}: no split {name!r} with a part train; has {", ".join(splits) or "none"}')
    return {part: parts[part] for part in SPLIT_PARTS if part in parts}
