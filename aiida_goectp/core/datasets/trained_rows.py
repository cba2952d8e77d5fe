"""Rows of a dataset that a training can take, by the functional of their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.functionals import trained_as

__all__ = ('label_counts', 'missing_labels', 'missing_labels_error', 'take_trained_rows', 'training_functionals')


def label_counts(dataset: Dataset) -> dict[str, int]:
    """Return the number of rows by kind of label: electronic, ionic, force_constants, born_charges.

    Tensors are counted in trainable rows.
    """
    trainable = dataset.trainable
    known = {name: np.isfinite(getattr(dataset, name)).all(axis=(1, 2)) for name in ('electronic', 'ionic')}
    charged = np.isfinite(dataset.born_charges).all(axis=(1, 2))
    offsets = dataset.crystals.atom_offsets
    return {
        **{name: int((column & trainable).sum()) for name, column in known.items()},
        'force_constants': int(dataset.has_force_constants.sum()),
        'born_charges': sum(
            bool(charged[start:stop].all())
            for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
        ),
    }


def missing_labels(counts: Mapping[str, int], preset: str) -> list[str]:
    """Return the tensors, electronic and ionic, that a training from random weights cannot learn for lack of labels.

    The ionic tensor of preset ``force_constants`` follows from force constants and Born charges, which may be the
    labels instead.

    :param counts: see :func:`label_counts`
    :param preset: of the network
    """
    by_lattice = preset == 'force_constants' and counts.get('force_constants') and counts.get('born_charges')
    known = {'electronic': counts['electronic'], 'ionic': counts['ionic'] or by_lattice}
    return [name for name, number in known.items() if not number]


def missing_labels_error(counts: Mapping[str, int], preset: str) -> str | None:
    """Return what is missing for a training from random weights and what to do, None if nothing is.

    Arguments as for :func:`missing_labels`.
    """
    missing = missing_labels(counts, preset)
    if not missing:
        return None
    more = ', or with force constants and Born charges' if preset == 'force_constants' and 'ionic' in missing else ''
    return (
        f'no training row has an {" or ".join(missing)} label, so that the model would predict the tensor without '
        f'having learned it; add rows with such labels{more}, or fine-tune a model that was trained on some'
    )


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
