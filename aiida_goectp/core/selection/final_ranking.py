"""Final ranking of a campaign: figures of merit of labels where there are any, otherwise of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.selection.diversity import StructureMatcher
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.history import History
from aiida_goectp.core.selection.known import KnownCrystals, known_rows
from aiida_goectp.core.selection.merit import figure_of_merit, label_rows
from aiida_goectp.core.selection.ranking import Ranking, join_equal, rank
from aiida_goectp.core.selection.reasons import ReasonCode, make_reason

__all__ = ('rank_verified',)


class _Label(NamedTuple):
    """Verified value of a crystal of the pool."""

    value: float
    """figure of merit of the label"""
    averages: tuple[float, float, float]
    """electronic, ionic, total; NaN if missing"""


def rank_verified(
    crystals: CrystalSet,
    predictions: Predictions,
    dataset: Dataset,
    history: History,
    filters: Filters | None = None,
    *,
    keep_duplicates: bool = False,
    functionals: Sequence[str] = (),
) -> Ranking:
    """Rank a pool by the labels of verified crystals and by the predictions of the others.

    Verified and failed crystals are those of :meth:`.KnownCrystals.of_dataset`: the picks of the campaign, crystals
    with the same content as a row of the dataset, and copies of either, also rotated or in another cell. The averages
    of verified crystals have the standard deviation zero. Crystals that failed permanently are excluded with that
    reason, as are those that the filters exclude. Equal crystals are ranked once, with the label if one of them has it.

    :param crystals: the pool, n crystals
    :param predictions: n rows, of the model in use at the end
    :param dataset: with all labels
    :param history: of the campaign; it defines the figure of merit
    :param keep_duplicates: rank every row of equal crystals; then a copy has no label
    :param functionals: of the model, see :func:`.known_rows`
    :raises FormatError: as :func:`aiida_goectp.core.selection.ranking.rank`
    """
    figure = figure_of_merit(history.figure_of_merit)
    table = rank(crystals, predictions, figure, filters, keep_duplicates=True)
    passes = (filters or Filters()).passes(crystals)
    score, reason = table.score.copy(), table.reason.astype(object)
    averages = {name: getattr(table, name).copy() for name in PARTS}
    deviations = {name: getattr(table, f'{name}_std').copy() for name in PARTS}
    known = KnownCrystals.of_dataset(dataset, figure, crystals, history.outcomes(), functionals)
    own, copies = _known_rows(crystals, known, keep_duplicates)
    labels = _labels(crystals, known, own | copies, dataset, history, functionals)
    for row, label in labels.items():
        for name, average in zip(PARTS, label.averages, strict=True):
            averages[name][row], deviations[name][row] = average, 0.0 if np.isfinite(average) else np.nan
        if passes[row]:
            score[row], reason[row] = label.value, ''
    for row, text in _failures(crystals, known, own | copies, history).items():
        if passes[row]:
            score[row], reason[row] = np.nan, text
    origin = np.array([2 if row not in labels else row not in own for row in range(len(table))], dtype=np.int64)
    included = np.flatnonzero((reason == '') & np.isfinite(score))
    joined, equal = join_equal(crystals, _ordered(table, score, included, origin), keep_duplicates)
    for row, item in equal.items():
        score[row], reason[row] = np.nan, item.text
    order = _ordered(table, score, included[joined[included] < 0], np.zeros_like(origin))
    ranks = np.zeros(len(table), dtype=np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    return replace(
        table,
        score=score,
        rank=ranks,
        joined_to=joined,
        reason=np.array(reason.tolist(), dtype=np.str_).reshape(-1),
        **averages,
        **{f'{name}_std': column for name, column in deviations.items()},
        settings={**table.settings, 'verified': len(labels)},
    )


def _ordered(table: Ranking, score: np.ndarray, rows: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Return rows by origin, then by descending score; ties by hash and id.

    :param origin: 0 for a label of the crystal itself, 1 for that of a copy, 2 for a prediction
    """
    return rows[np.lexsort((table.ids[rows], table.hashes[rows], -score[rows], origin[rows]))]


def _known_rows(
    crystals: CrystalSet, known: KnownCrystals, keep_duplicates: bool
) -> tuple[dict[int, int], dict[int, int]]:
    """Return row → row of the known crystal, of rows with equal content and of copies.

    :param keep_duplicates: do not search for copies
    """
    places = {str(name): place for place, name in enumerate(known.crystals.hashes)}
    own = {row: places[str(name)] for row, name in enumerate(crystals.hashes) if str(name) in places}
    if keep_duplicates:
        return own, {}
    others = [row for row in range(len(crystals)) if row not in own]
    return own, known.copies(crystals, others, StructureMatcher())


def _failures(crystals: CrystalSet, known: KnownCrystals, rows: Mapping[int, int], history: History) -> dict[int, str]:
    """Return row → reason of crystals that failed permanently.

    :param rows: row → row of the known crystal
    :param history: its texts precede those of the dataset
    """
    outcomes = history.outcomes()
    return {
        row: make_reason(
            ReasonCode.FAILED_PERMANENTLY, message=outcomes.get(str(crystals.hashes[row])) or known.failure[place]
        ).text
        for row, place in rows.items()
        if not known.verified[place]
    }


def _labels(
    crystals: CrystalSet,
    known: KnownCrystals,
    rows: Mapping[int, int],
    dataset: Dataset,
    history: History,
    functionals: Sequence[str],
) -> dict[int, _Label]:
    """Return row → label of verified crystals; the band gap is that of the row, by which it was ranked.

    :param rows: row → row of the known crystal
    """
    figure = figure_of_merit(history.figure_of_merit)
    places = known_rows(dataset, figure, functionals).tolist()  # the first known crystals, in this order
    by_hash = {pick.hash: pick for item in history.rounds for pick in item.picks if pick.value is not None}
    found: dict[int, _Label] = {}
    for row, place in rows.items():
        pick = by_hash.get(str(crystals.hashes[row])) or by_hash.get(str(known.crystals.hashes[place]))
        if pick is not None and pick.value is not None:
            electronic, ionic = (np.nan if part is None else part for part in (pick.electronic, pick.ionic))
            found[row] = _Label(pick.value, (electronic, ionic, electronic + ionic))
        elif known.verified[place] and place < len(places):
            labels = label_rows(dataset.electronic[[places[place]]], dataset.ionic[[places[place]]])
            properties = {name: crystals.properties[name][[row]] for name in figure.columns}
            electronic, ionic, total = (float(polycrystalline_average(getattr(labels, name)[0])) for name in PARTS)
            value = float(figure.evaluate(labels, properties)[0])
            if np.isfinite(value):
                found[row] = _Label(value, (electronic, ionic, total))
    return found
