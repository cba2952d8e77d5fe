"""``Candidates``: crystals of a screen, verification or campaign with predictions, ranks and DFPT results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.formats.names import GAP_COLUMN
from aiida_goectp.core.selection.merit import figure_of_merit
from aiida_goectp.core.selection.ranking import Ranking

__all__ = ('Candidates', 'Computed', 'candidates_of_ranking')

_COLUMNS = ('ids', 'rank', 'score', 'score_std', 'gap', 'stability', 'flags', 'reason', 'selected')


class Computed(NamedTuple):
    """DFPT result of one crystal, in the frame of the crystal that was predicted."""

    verdict: str
    """label of the gates, or why there is no response"""
    reason: str = ''
    tensors: Mapping[str, np.ndarray] = {}
    """part → (3, 3)"""
    averages: Mapping[str, float] = {}
    """part → polycrystalline average"""
    process: int | None = None
    """PK of the calculation"""
    source: str = ''
    """functional and engine"""
    core_hours: float = 0.0
    round: int | None = None
    """of a campaign"""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Crystals of a result, n rows, best first; excluded crystals follow in the order of the crystal set.

    :param ids: (n,)
    :param rank: (n,) 1 for the best, 0 for an excluded crystal
    :param score: (n,) figure of merit, NaN for an excluded crystal
    :param score_std: (n,) its standard deviation, NaN if unknown
    :param gap: (n,) eV, NaN if unknown
    :param tensors: part → (n, 3, 3), NaN without a prediction
    :param averages: part → (n,) polycrystalline averages of the prediction
    :param deviations: part → (n,) their standard deviations
    :param stability: (n,) probability of stability, NaN if unknown
    :param flags: (n,) bits, see :data:`aiida_goectp.core.dielectric.predictions.FLAG_NAMES`
    :param reason: (n,) why a crystal is excluded, or picked
    :param selected: (n,) true for the selected or picked crystals
    :param crystals: the crystals of the first rows; a row that could not be read has none
    :param computed: row → DFPT result
    :param figure_of_merit: name
    :param omitted: number of further crystals that are not among the rows
    """

    ids: np.ndarray
    rank: np.ndarray
    score: np.ndarray
    score_std: np.ndarray
    gap: np.ndarray
    tensors: Mapping[str, np.ndarray]
    averages: Mapping[str, np.ndarray]
    deviations: Mapping[str, np.ndarray]
    stability: np.ndarray
    flags: np.ndarray
    reason: np.ndarray
    selected: np.ndarray
    crystals: Mapping[int, Any]
    figure_of_merit: str
    computed: Mapping[int, Computed] = field(default_factory=dict)
    omitted: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def take_first(self, number: int) -> Candidates:
        """Return the first rows, with the number of those that are left out."""
        if number >= len(self):
            return self
        changes: dict[str, Any] = {'omitted': self.omitted + len(self) - number}
        for name in _COLUMNS:
            changes[name] = getattr(self, name)[:number]
        for name in ('tensors', 'averages', 'deviations'):
            changes[name] = {part: values[:number] for part, values in getattr(self, name).items()}
        for name in ('crystals', 'computed'):
            changes[name] = {row: item for row, item in getattr(self, name).items() if row < number}
        return replace(self, **changes)


def candidates_of_ranking(
    ranking: Ranking,
    crystals: CrystalSet,
    predictions: Predictions,
    selected: set[str],
    computed: Mapping[str, Computed],
    order_of: np.ndarray | None = None,
) -> Candidates:
    """Return the candidates of a ranking.

    :param ranking: of these crystals
    :param crystals: m crystals
    :param predictions: of some or all of them
    :param selected: content hashes of the selected crystals
    :param computed: content hash → DFPT result
    :param order_of: (len(ranking),) rows in the order to show; by default ranked rows, then predicted, then others
    """
    predicted = _rows_of_predictions(ranking, crystals, predictions)
    if order_of is None:
        last = np.iinfo(np.int64).max
        ranks = np.where(ranking.rank > 0, ranking.rank, last)
        order_of = np.lexsort((np.arange(len(ranking)), predicted < 0, ranks))
    order, rows = np.asarray(order_of), predicted[order_of]
    known = rows >= 0

    def column(values: np.ndarray) -> np.ndarray:
        found = np.full((len(order), *values.shape[1:]), np.nan)
        found[known] = values[rows[known]]
        return found

    inside = order < len(crystals)
    properties = {name: values[order[inside]] for name, values in crystals.properties.items()}
    gap = np.full(len(order), np.nan)
    if GAP_COLUMN in properties and properties[GAP_COLUMN].dtype.kind in 'fiu':
        gap[inside] = properties[GAP_COLUMN]
    hashes = ranking.hashes[order].tolist()
    return Candidates(
        ids=ranking.ids[order],
        rank=ranking.rank[order],
        score=ranking.score[order],
        score_std=_score_deviation(ranking, predictions, rows, gap),
        gap=gap,
        tensors={part: column(getattr(predictions, part)) for part in PARTS},
        averages={part: column(polycrystalline_average(getattr(predictions, part))) for part in PARTS},
        deviations={part: column(predictions.average_std[:, place]) for place, part in enumerate(PARTS)},
        stability=ranking.stability[order],
        flags=ranking.flags[order],
        reason=ranking.reason[order],
        selected=np.array([name in selected for name in hashes], dtype=bool),
        crystals={place: crystals[row] for place, row in enumerate(order.tolist()) if row < len(crystals)},
        figure_of_merit=ranking.figure_of_merit,
        computed={place: computed[name] for place, name in enumerate(hashes) if name in computed},
    )


def _rows_of_predictions(ranking: Ranking, crystals: CrystalSet, predictions: Predictions) -> np.ndarray:
    """Return for each row of a ranking that of its prediction, −1 without one or if it failed."""
    names = zip(predictions.ids.tolist(), predictions.hashes.tolist(), strict=True)
    places = {name: row for row, name in enumerate(names) if not predictions.failed[row]}
    own = zip(ranking.ids.tolist(), ranking.hashes.tolist(), strict=True)
    rows = np.array([places.get(name, -1) for name in own], dtype=np.int64)
    rows[len(crystals) :] = -1  # rows that could not be read
    return rows


def _score_deviation(ranking: Ranking, predictions: Predictions, rows: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each score (n,), NaN if unknown.

    :param rows: (n,) rows of the predictions, −1 without one
    :param gap: (n,) eV
    """
    found, known = np.full(len(rows), np.nan), rows >= 0
    figure = figure_of_merit(ranking.figure_of_merit)
    if known.any():
        part = predictions.take(rows[known])
        try:
            found[known] = figure.deviation(part, {GAP_COLUMN: gap[known]})
        except ValueError:  # the model gives no standard deviations, or none of this tensor
            return found
    return found
