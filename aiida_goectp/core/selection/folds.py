"""The dataset of a campaign: a base split that never changes, labels that come in, and the folds they are dealt into.

The base split is a named split of the starting dataset. Its validation rows calibrate, its test rows are the hold-out
of :func:`.compare_models`; neither part ever grows or is learnt from. The labels of
the campaign join its part train.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.selection.retraining import assign_folds

__all__ = (
    'BASE_FRACTIONS',
    'BASE_SPLIT',
    'add_labels',
    'fold_name',
    'folds_of',
    'new_rows',
    'with_base_split',
    'with_folds',
)

BASE_SPLIT = 'campaign'
"""name of the base split of a starting dataset that had none"""

BASE_FRACTIONS = (0.8, 0.1, 0.1)
"""of train, validation and test; what is held out is missed where there are few labels"""


def with_base_split(dataset: Dataset, split: str | None = None, seed: int = 0) -> tuple[Dataset, str]:
    """Return the starting dataset with the base split of a campaign, and the name of that split.

    Duplicate crystals are joined to one row first, as :func:`add_labels` would do later: the hold-out must not
    change then.

    :param split: one that the dataset has; if None, one by formula is made and named :data:`BASE_SPLIT`
    :raises FormatError: no such split, parts without a row, or too few rows for a split
    """
    # it compiles, which importing a campaign's settings must not
    from aiida_goectp.core.datasets.joining import join_datasets

    made = replace(join_datasets([dataset])[0], split_settings=dataset.split_settings)
    if split is None:
        made, split = made.with_split(BASE_SPLIT, 'formula', seed, BASE_FRACTIONS), BASE_SPLIT
    for part in ('train', 'validation', 'test'):
        if not len(made.part(split, part)):
            raise FormatError(f'the split {split!r} has no usable row in its part {part}; a campaign needs all three')
    return made, split


def add_labels(
    dataset: Dataset, labels: Dataset, split: str, tolerance: float | None = None
) -> tuple[Dataset, dict[str, Any]]:
    """Return the dataset with labels of the campaign joined to it, and what was done.

    Usable labels join the part train of the base split. In a split by formula, a label whose formula stands in
    validation or test is kept and counts as verified, but joins no part: nothing that resembles the hold-out is learnt.
    Splits that the labels bring along are dropped.

    :param tolerance: see :func:`aiida_goectp.core.datasets.joining.join_datasets`, whose default is taken if not given
    :return: the dataset, the rows it had first and in their order, and the report of the joining
    :raises FormatError: the dataset has no such split
    """
    from aiida_goectp.core.datasets.joining import TOLERANCE, join_datasets

    if split not in dataset.splits:
        raise FormatError(f'the dataset has no split {split!r}; it has {", ".join(dataset.splits) or "none"}')
    bare = replace(labels, splits={}, split_settings={})
    joined, report = join_datasets([dataset, bare], TOLERANCE if tolerance is None else tolerance, 'train')
    # the split is what it was; how often it was joined to says nothing
    return replace(joined, split_settings=dataset.split_settings), report


def new_rows(dataset: Dataset, known: Dataset, split: str) -> np.ndarray:
    """Return (n,) true for the rows that are learnt from and are no usable rows of another dataset.

    Against the starting dataset these are the labels of the campaign; against the dataset that a model was trained on,
    those that this model never saw. Rows are told apart by content hash and functional.

    :param split: the base split
    """
    before = {
        key
        for key, good in zip(
            zip(known.crystals.hashes.tolist(), known.functional.tolist(), strict=True),
            known.trainable.tolist(),
            strict=True,
        )
        if good
    }
    keys = zip(dataset.crystals.hashes.tolist(), dataset.functional.tolist(), strict=True)
    fresh = np.array([key not in before for key in keys], dtype=bool).reshape(-1)
    return fresh & dataset.trainable & (dataset.splits[split] == 'train')


def fold_name(split: str, member: int) -> str:
    """Return the name of the split on which a member of the committee is trained, from 0."""
    return f'{split}.fold-{member}'


def with_folds(dataset: Dataset, start: Dataset, split: str, folds: int, seed: int = 0) -> Dataset:
    """Return the dataset with one split for each member of a committee, see :func:`fold_name`.

    The labels of the campaign are dealt into folds by formula (:func:`.assign_folds`). Member k learns from the base
    rows and from the labels of all folds but k; validation is that of the base split, test is fold k. So each label is
    out of the training of one member. With few labels some folds are empty, and with none all members learn the same.

    :param dataset: what has grown
    :param start: the starting dataset
    :param split: the base split
    :param folds: members
    :raises FormatError: no such split, fewer than two folds, or folds that are there already
    """
    rows = np.flatnonzero(new_rows(dataset, start, split))
    dealt = assign_folds(dataset.crystals.take(rows), folds, seed)
    base = dataset.splits[split]
    columns: dict[str, np.ndarray] = {}
    settings: dict[str, Mapping[str, Any]] = {}
    for member in range(folds):
        name = fold_name(split, member)
        if name in dataset.splits:
            raise FormatError(f'the dataset has a split {name!r} already; give the dataset before folds were dealt')
        column = np.where(base == 'test', '', base).astype('<U10')
        column[rows[dealt == member]] = 'test'
        columns[name] = column
        settings[name] = {'kind': 'fold', 'of': split, 'fold': member, 'folds': folds, 'seed': int(seed)}
    return replace(dataset, splits={**dataset.splits, **columns}, split_settings={**dataset.split_settings, **settings})


def folds_of(dataset: Dataset, split: str) -> np.ndarray:
    """Return the fold of each row (n,), -1 for a row in none, of a dataset whose folds are dealt."""
    folds = np.full(len(dataset), -1, dtype=np.int64)
    member = 0
    while (name := fold_name(split, member)) in dataset.splits:
        folds[dataset.splits[name] == 'test'] = member
        member += 1
    return folds
