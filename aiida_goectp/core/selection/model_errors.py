"""Errors of an old and a new model on the same rows, the input of ``compare_models``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.prototypes import crystal_fingerprints
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.functionals import trained_as
from aiida_goectp.core.selection.folds import folds_of, new_rows
from aiida_goectp.core.selection.merit import FigureOfMerit, figure_of_merit
from aiida_goectp.core.selection.ranking import check_belongs
from aiida_goectp.core.selection.retraining import FOLDS, HOLD_OUT

__all__ = ('Predict', 'comparison_errors', 'count_trained_on', 'rows_trained_on', 'tensor_errors')

Predict = Callable[[CrystalSet], Predictions]
"""a model: crystals → one row for each"""

_SMALLEST = float(np.sqrt(3.0))
"""norm of the unit tensor; an ionic part may vanish, which would make its relative error infinite"""


def tensor_errors(predictions: Predictions, labels: Dataset, tensor: str) -> np.ndarray:
    """Return the relative error of each row (n,), NaN without a prediction or a label.

    It is the Frobenius norm of the difference divided by that of the label, the latter at least that of the unit
    tensor. In contrast to absolute errors, a mean of these is not dominated by a few large permittivities.

    :param predictions: of the crystals of the labels, in their order
    :param tensor: electronic, ionic or total
    :raises FormatError: predictions of other crystals
    """
    check_belongs(labels.crystals, predictions)
    wanted, found = getattr(labels, tensor), getattr(predictions, tensor)
    norms = np.maximum(np.linalg.norm(wanted, axis=(1, 2)), _SMALLEST)
    errors = np.linalg.norm(found - wanted, axis=(1, 2)) / norms
    return np.asarray(np.where(np.isfinite(norms), errors, np.nan), dtype=np.float64)


def rows_trained_on(dataset: Dataset, among: np.ndarray, trained_on: np.ndarray | None) -> np.ndarray:
    """Return (n,) true for rows whose crystal a model was trained on, with labels of any functional.

    :param among: (n,) true for the rows to compare; each takes a search for its symmetry
    :param trained_on: fingerprints of the crystals of the training, see :func:`.crystal_fingerprints`; None, if they
        are unknown, gives no row
    """
    seen, rows = np.zeros(len(dataset), dtype=bool), np.flatnonzero(among)
    if trained_on is not None:
        seen[rows] = np.isin(crystal_fingerprints(dataset.crystals.take(rows)), trained_on)
    return seen


def count_trained_on(
    dataset: Dataset,
    previous: Dataset,
    split: str,
    merit: str | FigureOfMerit,
    functionals: Sequence[str] = (),
    trained_on: np.ndarray | None = None,
) -> dict[str, int] | None:
    """Return the number of rows that :func:`comparison_errors` leaves out since the old model was trained on them.

    Arguments as for :func:`comparison_errors`.

    :return: name of the set of rows → number; None if the crystals of the model are unknown
    """
    if trained_on is None:
        return None
    sets = _compared_rows(dataset, previous, split, merit, _predicted(dataset, split, functionals))
    seen = rows_trained_on(dataset, sets[HOLD_OUT] | sets[FOLDS], trained_on)
    return {name: int((seen & rows).sum()) for name, rows in sets.items()}


def _compared_rows(
    dataset: Dataset, previous: Dataset, split: str, merit: str | FigureOfMerit, predicted: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the name of each set of rows → (n,) true for rows that can be compared, trained on or not.

    Arguments as for :func:`comparison_errors`.

    :param predicted: functionals of the labels that the new model predicts
    """
    figure = figure_of_merit(merit) if isinstance(merit, str) else merit
    labelled = np.isfinite(getattr(dataset, figure.tensor)).all(axis=(1, 2)) & dataset.trainable
    labelled &= np.isin(dataset.functional, predicted)
    grown = new_rows(dataset, previous, split) & (folds_of(dataset, split) >= 0)
    return {HOLD_OUT: labelled & (dataset.splits[split] == 'test'), FOLDS: labelled & grown}


def comparison_errors(
    dataset: Dataset,
    previous: Dataset,
    split: str,
    merit: str | FigureOfMerit,
    old: Predict,
    new: Predict,
    members: Sequence[Predict],
    old_members: Sequence[Predict],
    functionals: Sequence[str] = (),
    trained_on: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the errors of the old and of the new model, see :func:`.retraining.compare_models`.

    :data:`.HOLD_OUT` are the test rows of the base split. :data:`.FOLDS` are the rows that were not in the training of
    the old model; there the error of the new model is that of the member that was trained without the fold of the row,
    and the error of the old model is the mean of those of its members: a committee is more accurate than its members.
    Rows without the tensor that the figure of merit needs are left out, and those of another functional than the
    predicted one: permittivities of PBE and PBEsol differ by several per cent, whatever the error of a model. Rows that
    the old model was trained on are left out of both sets: they favour it, and a model fine-tuned from it has seen them
    as well.

    :param dataset: with folds, see :func:`.folds.with_folds`, on which the members were trained
    :param previous: dataset that the old model was trained on; the starting dataset if it is not known
    :param split: the base split
    :param merit: figure of merit, or its name
    :param old: the model in use
    :param new: the new committee
    :param members: its members, in the order of the folds
    :param old_members: those of the old model
    :param functionals: that the new model distinguishes, the predicted one first; a model without predicts those of
        its training rows
    :param trained_on: fingerprints of the crystals of the old training, see :func:`.read_trained_on`; None if unknown
    :raises FormatError: fewer members than folds, or no row of the predicted functional
    """
    figure = figure_of_merit(merit) if isinstance(merit, str) else merit
    fold = folds_of(dataset, split)
    if fold.max(initial=-1) >= len(members):
        raise FormatError(f'{len(members)} members for {fold.max() + 1} folds of the dataset; give one member a fold')
    predicted = _predicted(dataset, split, functionals)
    sets = _compared_rows(dataset, previous, split, figure, predicted)
    compared = sets[HOLD_OUT] | sets[FOLDS]
    if not compared.any():
        raise FormatError(
            f'comparison of models: functional {", ".join(predicted)} is predicted; neither the part test '
            f'of split {split!r} nor the new labels have such a row with a label; give a split whose part test has some'
        )
    seen = rows_trained_on(dataset, compared, trained_on)
    hold_out, fresh = (np.flatnonzero(sets[name] & ~seen) for name in (HOLD_OUT, FOLDS))

    errors = partial(_errors, dataset, figure.tensor)
    new_errors = np.full(len(fresh), np.nan)
    for member, model in enumerate(members):
        in_fold = fold[fresh] == member
        new_errors[in_fold] = errors(model, fresh[in_fold])
    return (
        {HOLD_OUT: errors(old, hold_out), FOLDS: np.mean([errors(model, fresh) for model in old_members], axis=0)},
        {HOLD_OUT: errors(new, hold_out), FOLDS: new_errors},
    )


def _errors(dataset: Dataset, tensor: str, model: Predict, rows: np.ndarray) -> np.ndarray:
    """Return the errors of a model on some rows, in their order."""
    if not len(rows):
        return np.zeros(0)
    labels = replace(dataset.take(rows), splits={}, split_settings={})
    return tensor_errors(model(labels.crystals), labels, tensor)


def _predicted(dataset: Dataset, split: str, functionals: Sequence[str]) -> list[str]:
    """Return the functionals of the labels that a model predicts, arguments as for :func:`comparison_errors`."""
    if not functionals:
        return sorted(set(dataset.part(split, 'train').functional.tolist()))
    taken = trained_as(dataset.functional[dataset.trainable].tolist(), functionals)
    return [name for name, target in taken.items() if target == functionals[0]] or [functionals[0]]
