"""Final ranking of a campaign: figures of merit of labels where there are any, otherwise of predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.history import History
from aiida_goectp.core.selection.merit import figure_of_merit, label_rows
from aiida_goectp.core.selection.ranking import Ranking, join_equal, rank
from aiida_goectp.core.selection.reasons import ReasonCode, make_reason

__all__ = ('rank_verified',)


def rank_verified(
    crystals: CrystalSet,
    predictions: Predictions,
    dataset: Dataset,
    history: History,
    filters: Filters | None = None,
    *,
    keep_duplicates: bool = False,
) -> Ranking:
    """Rank a pool by the labels of verified crystals and by the predictions of the others.

    Verified are the picks of the campaign with a label, and crystals with the same content as a row of the dataset.
    Their averages have the standard deviation zero. Crystals that failed permanently are excluded with that reason, as
    are those that the filters exclude. Equal crystals are ranked once, with the label if one of them has it.

    :param crystals: the pool, n crystals
    :param predictions: n rows, of the model in use at the end
    :param dataset: with all labels
    :param history: of the campaign; it defines the figure of merit
    :param keep_duplicates: rank every row of equal crystals
    :raises FormatError: as :func:`aiida_goectp.core.selection.ranking.rank`
    """
    figure = figure_of_merit(history.figure_of_merit)
    table = rank(crystals, predictions, figure, filters, keep_duplicates=True)
    passes = (filters or Filters()).passes(crystals)
    score, reason = table.score.copy(), table.reason.astype(object)
    averages = {name: getattr(table, name).copy() for name in PARTS}
    deviations = {name: getattr(table, f'{name}_std').copy() for name in PARTS}
    labels = _labels(crystals, dataset, history)
    for row, (value, parts) in labels.items():
        for name, average in zip(PARTS, parts, strict=True):
            averages[name][row], deviations[name][row] = average, 0.0 if np.isfinite(average) else np.nan
        if passes[row]:
            score[row], reason[row] = value, ''
    failures = {name: failure for name, failure in history.outcomes().items() if failure}
    for row, name in enumerate(crystals.hashes.tolist()):
        if name in failures and passes[row]:
            score[row] = np.nan
            reason[row] = make_reason(ReasonCode.FAILED_PERMANENTLY, message=failures[name]).text
    included = np.flatnonzero((reason == '') & np.isfinite(score))
    verified = np.isin(included, list(labels))
    first = included[np.lexsort((table.ids[included], table.hashes[included], -score[included], ~verified))]
    joined, equal = join_equal(crystals, first, keep_duplicates)
    for row, item in equal.items():
        score[row], reason[row] = np.nan, item.text
    included = included[joined[included] < 0]
    order = included[np.lexsort((table.ids[included], table.hashes[included], -score[included]))]
    ranks = np.zeros(len(table), dtype=np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    labelled = np.count_nonzero(deviations[figure.tensor][: len(crystals)] == 0)
    return replace(
        table,
        score=score,
        rank=ranks,
        joined_to=joined,
        reason=np.array(reason.tolist(), dtype=np.str_).reshape(-1),
        **averages,
        **{f'{name}_std': column for name, column in deviations.items()},
        settings={**table.settings, 'verified': int(labelled)},
    )


def _labels(
    crystals: CrystalSet, dataset: Dataset, history: History
) -> dict[int, tuple[float, tuple[float, float, float]]]:
    """Return row → figure of merit of the label, and its averages (electronic, ionic, total), of verified crystals."""
    figure = figure_of_merit(history.figure_of_merit)
    rows = {str(name): row for row, name in enumerate(crystals.hashes)}
    found: dict[int, tuple[float, tuple[float, float, float]]] = {}
    labelled = np.isfinite(getattr(dataset, figure.tensor)).all(axis=(1, 2)) & dataset.trainable
    for place in np.flatnonzero(labelled).tolist():
        row = rows.get(str(dataset.crystals.hashes[place]))
        if row is None:
            continue
        labels = label_rows(dataset.electronic[[place]], dataset.ionic[[place]])
        properties = {name: crystals.properties[name][[row]] for name in figure.columns}
        parts = [float(polycrystalline_average(getattr(labels, name)[0])) for name in PARTS]
        value = float(figure.evaluate(labels, properties)[0])
        if np.isfinite(value):
            found[row] = (value, (parts[0], parts[1], parts[2]))
    for item in history.rounds:
        for pick in item.picks:
            row = rows.get(pick.hash)
            if row is not None and pick.value is not None:
                electronic, ionic = (np.nan if part is None else part for part in (pick.electronic, pick.ionic))
                found[row] = (pick.value, (electronic, ionic, electronic + ionic))
    return found
