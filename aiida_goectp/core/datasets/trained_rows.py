"""Rows of a dataset that a training can take, by the functional of their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.functionals import trained_as

__all__ = ('take_trained_rows', 'training_functionals')


def training_functionals(given: Sequence[str], start: Dataset, split: str | None = None) -> list[str]:
    """Return the functionals of a training.

    :param given: in the settings, or of the initial model; empty for a training on one functional
    :param start: if none is given, the functional of most of its trainable rows in the part train is taken
    :param split: name of the split; None before it is made
    """
    if given:
        return list(given)
    rows = start.trainable if split is None else start.trainable & (start.splits[split] == 'train')
    counts = Counter(start.functional[rows].tolist())
    return sorted(counts, key=lambda name: (-counts[name], name))[:1]


def take_trained_rows(dataset: Dataset, functionals: Sequence[str]) -> tuple[Dataset, dict[str, int]]:
    """Return the rows with labels that a training can take, and the number of trainable rows left out by functional.

    :param functionals: of the training, see :func:`.trained_as`
    :raises FormatError: labels with different values of U for one element
    """
    trainable = dataset.trainable
    taken = trained_as(dataset.functional[trainable].tolist(), functionals)
    keep = np.isin(dataset.functional, list(taken)) | ~trainable
    left_out = Counter(dataset.functional[~keep].tolist())
    return (dataset if keep.all() else dataset.take(np.flatnonzero(keep))), dict(sorted(left_out.items()))
