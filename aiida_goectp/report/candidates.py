"""``Candidates``: crystals of a screen, verification or campaign with predictions, ranks and DFPT results."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.dielectric.gate_codes import VerdictLabel
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.formats.names import GAP_COLUMN
from aiida_goectp.core.formats.npz import BLOCK_ROWS
from aiida_goectp.core.formats.table import TableFile
from aiida_goectp.core.selection.history import LABELLED
from aiida_goectp.core.selection.merit import figure_of_merit
from aiida_goectp.core.selection.ranking import Ranking
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('Candidates', 'Computed', 'Key', 'candidates_of_ranking', 'find_predictions', 'keys_of', 'rows_with')

Key = tuple[str, str]
"""id and content hash of a row; exact copies of a crystal have one hash"""


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

    def accepts(self, part: str) -> bool:
        """Return whether the gates accepted a tensor; ionic part and total of ``electronic-only`` are refused."""
        return self.verdict in (LABELLED if part == 'electronic' else (VerdictLabel.ACCEPTED.value,))


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


def candidates_of_ranking(
    ranking: TableFile[Ranking],
    crystals: CrystalsData,
    predictions: PredictionsData,
    selected: Collection[Key],
    computed: Mapping[Key, Computed],
    limit: int | None = None,
    further: Collection[str] = (),
) -> Candidates:
    """Return the candidates of a ranking: ranked rows, then predicted, then others.

    Ranking, crystals and predictions are read block by block, and only the returned rows are kept.

    :param ranking: of these crystals
    :param crystals: m crystals
    :param predictions: of some or all of them
    :param selected: keys of the selected crystals
    :param computed: key → DFPT result
    :param limit: rows to return, all if not given; those with a DFPT result are returned besides
    :param further: ids of rows to return besides
    """
    names = chain.from_iterable(block.tolist() for block in ranking.column('ids'))
    besides = [*rows_with(keys_of(ranking), computed), *rows_with(names, further)]
    order = _order(ranking, limit, besides)
    ranked = ranking.take(order, ('ids', 'hashes', 'rank', 'score', 'stability', 'flags', 'reason'))
    keys = list(zip(ranked['ids'].tolist(), ranked['hashes'].tolist(), strict=True))
    rows, found = find_predictions(predictions, keys)
    known, merit = rows >= 0, str(ranking.values['figure_of_merit'])
    with crystals.open_rows() as file:
        inside = np.flatnonzero(order < len(file))
        taken = file.take(order[inside])
    gap, column = np.full(len(order), np.nan), taken.properties.get(GAP_COLUMN)
    if column is not None and column.dtype.kind in 'fiu':
        gap[inside] = column

    def predicted(values: np.ndarray) -> np.ndarray:
        filled = np.full((len(order), *values.shape[1:]), np.nan)
        filled[known] = values[rows[known]]
        return filled

    return Candidates(
        ids=ranked['ids'],
        rank=ranked['rank'],
        score=ranked['score'],
        score_std=_score_deviation(merit, found, rows, gap),
        gap=gap,
        tensors={part: predicted(getattr(found, part)) for part in PARTS},
        averages={part: predicted(polycrystalline_average(getattr(found, part))) for part in PARTS},
        deviations={part: predicted(found.average_std[:, place]) for place, part in enumerate(PARTS)},
        stability=ranked['stability'],
        flags=ranked['flags'],
        reason=ranked['reason'],
        selected=np.array([key in selected for key in keys], dtype=bool),
        crystals=dict(zip(inside.tolist(), taken, strict=True)),
        figure_of_merit=merit,
        computed={place: computed[key] for place, key in enumerate(keys) if key in computed},
        omitted=len(ranking) - len(order),
    )


def _order(ranking: TableFile[Ranking], limit: int | None, further: Sequence[int]) -> np.ndarray:
    """Return the first rows in the order to show, and further ones in the same order."""
    predicted = np.isfinite([ranking.whole(part) for part in PARTS]).any(axis=0)
    ranks, last = ranking.whole('rank'), np.iinfo(np.int64).max
    order = np.lexsort((~predicted, np.where(ranks > 0, ranks, last)))
    if limit is None:
        return order
    rest = order[limit:]
    return np.concatenate([order[:limit], rest[np.isin(rest, further)]])


def keys_of(file: TableFile[Any]) -> Iterator[Key]:
    """Yield the key of each row of a ranking or of predictions, read in blocks."""
    for block in file.some_columns(('ids', 'hashes')):
        yield from zip(block['ids'].tolist(), block['hashes'].tolist(), strict=True)


def rows_with(values: Iterable[Hashable], wanted: Collection[Hashable]) -> list[int]:
    """Return the rows whose value is wanted."""
    return [row for row, value in enumerate(values) if value in wanted] if wanted else []


def find_predictions(node: PredictionsData, keys: Sequence[Key]) -> tuple[np.ndarray, Predictions]:
    """Return for each key the row in a table, −1 without a good prediction, and the table.

    The predictions are read block by block; the table has only those that are found, without phonons.
    """
    places = {key: place for place, key in enumerate(keys) if key[1]}
    rows = np.full(len(keys), -1, dtype=np.int64)
    count = 0
    with node.open_rows() as file:
        following = file.reader()
        parts: list[Predictions] = [following(0)]
        for first in range(0, len(file), BLOCK_ROWS):
            block = following(min(BLOCK_ROWS, len(file) - first))
            names = zip(block.ids.tolist(), block.hashes.tolist(), strict=True)
            found = np.array([places.get(name, -1) for name in names], dtype=np.int64)
            chosen = np.flatnonzero((found >= 0) & ~block.failed)
            if len(chosen):
                parts.append(block.take(chosen))
                rows[found[chosen]] = np.arange(count, count + len(chosen))
                count += len(chosen)
    return rows, Predictions.join(parts)


def _score_deviation(merit: str, predictions: Predictions, rows: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each score (n,), NaN if unknown.

    :param merit: figure of merit
    :param rows: (n,) rows of the predictions, −1 without one
    :param gap: (n,) eV
    """
    found, known = np.full(len(rows), np.nan), rows >= 0
    figure = figure_of_merit(merit)
    if known.any():
        part = predictions.take(rows[known])
        try:
            found[known] = figure.deviation(part, {GAP_COLUMN: gap[known]})
        except ValueError:  # the model gives no standard deviations, or none of this tensor
            return found
    return found
