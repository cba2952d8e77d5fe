"""Errors of an old and a new model on the same rows: what ``compare_models`` decides by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.selection.folds import folds_of, new_rows
from aiida_goectp.core.selection.merit import FigureOfMerit, figure_of_merit
from aiida_goectp.core.selection.ranking import check_belongs
from aiida_goectp.core.selection.retraining import FOLDS, HOLD_OUT

__all__ = ('Predict', 'comparison_errors', 'tensor_errors')

Predict = Callable[[CrystalSet], Predictions]
"""a model: crystals → one row each"""

_SMALLEST = float(np.sqrt(3.0))
"""norm of the tensor of the vacuum; an ionic part may vanish, and a relative error with it"""


def tensor_errors(predictions: Predictions, labels: Dataset, tensor: str) -> np.ndarray:
    """Return the relative error of each row (n,), NaN where there is no prediction or no label.

    It is the Frobenius distance of the tensors over the norm of the label, at least that of the unit tensor. Large
    permittivities count no more than small ones, unlike in an absolute error, which a few of them would decide.

    :param predictions: of the crystals of the labels, in their order
    :param tensor: electronic, ionic or total
    :raises FormatError: predictions of other crystals
    """
    check_belongs(labels.crystals, predictions)
    wanted, found = getattr(labels, tensor), getattr(predictions, tensor)
    norms = np.maximum(np.linalg.norm(wanted, axis=(1, 2)), _SMALLEST)
    errors = np.linalg.norm(found - wanted, axis=(1, 2)) / norms
    return np.asarray(np.where(np.isfinite(norms), errors, np.nan), dtype=np.float64)


def comparison_errors(
    dealt: Dataset,
    seen: Dataset,
    split: str,
    merit: str | FigureOfMerit,
    old: Predict,
    new: Predict,
    members: Sequence[Predict],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the errors of the old and of the new model, as :func:`.retraining.compare_models` takes them.

    ``hold-out`` are the test rows of the base split, which both models predict. ``new labels`` are the rows that the
    old model never saw: there the new model's error is that of the one member that was trained without the row's fold.
    Rows without the tensor that the figure of merit needs are left out.

    :param dealt: the dataset with its folds, see :func:`.folds.with_folds`, on which the members were trained
    :param seen: the dataset that the old model was trained on; the starting dataset if it came from elsewhere
    :param split: the base split
    :param old: the model in use
    :param new: the joined committee
    :param members: its members, each alone, in the order of the folds
    :raises FormatError: the dataset has no fold, or not one for each member
    """
    figure = figure_of_merit(merit) if isinstance(merit, str) else merit
    fold = folds_of(dealt, split)
    if fold.max(initial=-1) >= len(members):
        raise FormatError(f'{len(members)} members for a dataset of {fold.max() + 1} folds; give one a fold')
    labelled = np.isfinite(getattr(dealt, figure.tensor)).all(axis=(1, 2)) & dealt.trainable
    held = np.flatnonzero(labelled & (dealt.splits[split] == 'test'))
    fresh = np.flatnonzero(labelled & new_rows(dealt, seen, split) & (fold >= 0))

    def errors(model: Predict, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros(0)
        labels = replace(dealt.take(rows), splits={}, split_settings={})
        return tensor_errors(model(labels.crystals), labels, figure.tensor)

    after = np.full(len(fresh), np.nan)
    for member, model in enumerate(members):
        mine = fold[fresh] == member
        after[mine] = errors(model, fresh[mine])
    return (
        {HOLD_OUT: errors(old, held), FOLDS: errors(old, fresh)},
        {HOLD_OUT: errors(new, held), FOLDS: after},
    )
