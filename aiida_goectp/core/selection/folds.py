"""Dataset of a campaign: the fixed base split, labels that are added, and their folds.

The base split is a named split of the starting dataset. Its validation rows are used for calibration; its test rows
are the hold-out of :func:`.compare_models`. Neither part gains or loses rows or is trained on. Labels of the campaign
are added to the part train, or complete a row of the starting dataset in its part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.prototypes import composition
from aiida_goectp.core.datasets.splits import SPLIT_PARTS
from aiida_goectp.core.formats.errors import FormatError

__all__ = (
    'BASE_FRACTIONS',
    'BASE_SPLIT',
    'add_labels',
    'assign_folds',
    'count_new_labels',
    'fold_name',
    'folds_of',
    'new_rows',
    'with_base_split',
    'with_folds',
)

BASE_SPLIT = 'campaign'
"""name of a base split that is made"""

BASE_FRACTIONS = (0.8, 0.1, 0.1)
"""fractions of train, validation and test of a base split that is made"""


def with_base_split(dataset: Dataset, split: str | None = None, seed: int = 0) -> tuple[Dataset, str]:
    """Return the starting dataset with the base split of a campaign, and the name of that split.

    Duplicate crystals are joined to one row first. :func:`add_labels` would do so later, and change the hold-out.

    :param split: a split of the dataset; if None, one by formula is made and named :data:`BASE_SPLIT`
    :param seed: of a split that is made
    :raises FormatError: an unknown split, a part without a row, or too few rows for a split
    """
    # numba takes a second to import
    from aiida_goectp.core.datasets.joining import join_datasets

    joined = replace(join_datasets([dataset])[0], split_settings=dataset.split_settings)
    if split is None:
        joined, split = joined.with_split(BASE_SPLIT, 'formula', seed, BASE_FRACTIONS), BASE_SPLIT
    for part in SPLIT_PARTS:
        if not len(joined.part(split, part)):
            raise FormatError(f'split {split!r}: no trainable row in {part}; a campaign needs all three parts')
    return joined, split


def add_labels(
    dataset: Dataset, labels: Dataset, split: str, tolerance: float | None = None
) -> tuple[Dataset, dict[str, Any]]:
    """Return the dataset with labels of the campaign joined to it, and the report of the joining.

    Trainable labels are added to the part train of the base split. A label of a crystal that is in validation or test,
    in any cell and with any functional, is kept and counts as verified, but is added to no part, so that nothing
    similar to the hold-out is trained on; in a split by formula, a label whose formula is there. Splits of the labels
    are dropped.

    :param labels: of the campaign
    :param split: the base split
    :param tolerance: see :func:`aiida_goectp.core.datasets.joining.join_datasets`; its default if not given
    :return: the dataset, with its former rows first and in their order, and the report
    :raises FormatError: an unknown split
    """
    from aiida_goectp.core.datasets.joining import TOLERANCE, join_datasets

    if split not in dataset.splits:
        raise FormatError(f'unknown split {split!r} of the dataset; available: {", ".join(dataset.splits) or "none"}')
    bare = replace(labels, splits={}, split_settings={})
    joined, report = join_datasets([dataset, bare], TOLERANCE if tolerance is None else tolerance, 'train')
    return replace(joined, split_settings=dataset.split_settings), report


def new_rows(dataset: Dataset, known: Dataset, split: str) -> np.ndarray:
    """Return (n,) true for training rows that are not trainable rows of another dataset.

    Compared with the starting dataset these are the labels of the campaign; compared with the dataset that a model was
    trained on, those that were not in its training. Rows are identified by content hash and functional.

    :param known: the other dataset
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


def count_new_labels(dataset: Dataset, known: Dataset, split: str) -> int:
    """Return the number of training rows that another dataset lacks, or of which it lacks a label.

    Zero means that a training on the dataset repeats one on the other. In contrast to :func:`new_rows`, a row that a
    label completed counts.

    :param known: the dataset of the last training
    :param split: the base split
    """
    before = {key for key, good in zip(_labels_of_rows(known), known.trainable.tolist(), strict=True) if good}
    taken = dataset.trainable & (dataset.splits[split] == 'train')
    return sum(key not in before for key, good in zip(_labels_of_rows(dataset), taken.tolist(), strict=True) if good)


def _labels_of_rows(dataset: Dataset) -> list[tuple[Any, ...]]:
    """Return content hash, functional and kinds of labels of each row."""
    offsets = dataset.crystals.atom_offsets[:-1]
    charged = np.isfinite(dataset.born_charges).all(axis=(1, 2))
    columns = (
        dataset.crystals.hashes,
        dataset.functional,
        *(np.isfinite(tensors).all(axis=(1, 2)) for tensors in (dataset.electronic, dataset.ionic)),
        dataset.has_force_constants,
        np.logical_and.reduceat(charged, offsets) if len(offsets) else np.zeros(0, dtype=bool),
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def fold_name(split: str, member: int) -> str:
    """Return the name of the split on which a member of the committee is trained.

    :param member: from 0
    """
    return f'{split}.fold-{member}'


def with_folds(dataset: Dataset, start: Dataset, split: str, folds: int, seed: int = 0) -> Dataset:
    """Return the dataset with one split for each member of a committee, see :func:`fold_name`.

    The labels of the campaign are assigned to folds by formula (:func:`assign_folds`). Member k is trained on the base
    rows and on the labels of all folds but k; validation is that of the base split, test is fold k. So each label is
    excluded from the training of one member. With few labels some folds are empty; without labels all members have the
    same training rows.

    :param dataset: with the labels of the campaign
    :param start: the starting dataset
    :param split: the base split
    :param folds: number of folds and members
    :raises FormatError: an unknown split, fewer than two folds, or a dataset that has such splits already
    """
    rows = np.flatnonzero(new_rows(dataset, start, split))
    assigned = assign_folds(dataset.crystals.take(rows), folds, seed)
    base = dataset.splits[split]
    columns: dict[str, np.ndarray] = {}
    settings: dict[str, Mapping[str, Any]] = {}
    for member in range(folds):
        name = fold_name(split, member)
        if name in dataset.splits:
            raise FormatError(f'the dataset has a split {name!r} already; give the dataset without folds')
        column = np.where(base == 'test', '', base).astype('<U10')
        column[rows[assigned == member]] = 'test'
        columns[name] = column
        settings[name] = {'kind': 'fold', 'of': split, 'fold': member, 'folds': folds, 'seed': int(seed)}
    return replace(dataset, splits={**dataset.splits, **columns}, split_settings={**dataset.split_settings, **settings})


def folds_of(dataset: Dataset, split: str) -> np.ndarray:
    """Return the fold of each row (n,), -1 for a row in none.

    :param dataset: see :func:`with_folds`
    :param split: the base split
    """
    folds = np.full(len(dataset), -1, dtype=np.int64)
    member = 0
    while (name := fold_name(split, member)) in dataset.splits:
        folds[dataset.splits[name] == 'test'] = member
        member += 1
    return folds


def assign_folds(crystals: CrystalSet, count: int, seed: int = 0) -> np.ndarray:
    """Return the fold of each crystal (n,), from 0; all crystals of one reduced formula are in one fold.

    The folds depend on the crystals and the seed, not on the order of the rows. Formulas with most crystals are
    assigned first, each to the smallest fold; with fewer formulas than folds, some folds are empty.

    :param count: number of folds
    :raises FormatError: fewer than two folds, or a negative seed
    """
    if count < 2:
        raise FormatError(f'number of folds: {count}; give two or more')
    if seed < 0:
        raise FormatError(f'seed: {seed}; give zero or more')
    formulas = [composition(crystal) for crystal in crystals]
    distinct = sorted(set(formulas))
    chance = dict(zip(distinct, np.random.default_rng(seed).random(len(distinct)).tolist(), strict=True))
    counts = Counter(formulas)
    sizes, folds = [0] * count, {}
    for name in sorted(distinct, key=lambda name: (-counts[name], chance[name])):
        folds[name] = sizes.index(min(sizes))
        sizes[folds[name]] += counts[name]
    return np.array([folds[name] for name in formulas], dtype=np.int64)
