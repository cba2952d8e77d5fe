"""Ranking of crystals by a figure of merit, and its file ``ranking.npz``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet, Failure
from aiida_goectp.core.dielectric.alignment import NOT_PREDICTED_AGAIN
from aiida_goectp.core.dielectric.predictions import FLAG_NAMES, Predictions, flag_texts
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.formats.dataframe import make_frame
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.table import FILLED, Column, FloatColumn, JsonObject, Table, Text, TextColumn
from aiida_goectp.core.selection.equal_crystals import CompositionKeys, composition_keys, equal_among, equal_rows
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.merit import FigureOfMerit, figure_of_merit
from aiida_goectp.core.selection.reasons import Reason, ReasonCode, count_reasons, join_reasons, make_reason

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ('MAX_TOTAL', 'Ranker', 'Ranking', 'check_belongs', 'check_rows', 'join_equal', 'rank')

MAX_TOTAL = 1000.0
"""Largest ε_total that is ranked. A larger value indicates a soft mode near a phase transition."""

_Deviations = Annotated[np.ndarray, Column('<f8', fill=np.nan, since=2)]


@dataclass(frozen=True, eq=False)
class Ranking(Table):
    """Ranks and scores: a row for each crystal in the order of the crystal set, then one for each import failure.

    :param ids: (n,) as in the crystal set
    :param hashes: (n,) content hashes; empty for an import failure
    :param score: (n,) figure of merit, NaN for an excluded row
    :param rank: (n,) 1 for the best, 0 for an excluded row
    :param reason: (n,) why a row is excluded, see :mod:`aiida_goectp.core.selection.reasons`; empty for a ranked row
    :param electronic: (n,) polycrystalline average of the electronic tensor, NaN without a prediction
    :param ionic: (n,) that of the ionic tensor
    :param total: (n,) that of the total tensor
    :param figure_of_merit: name in :data:`aiida_goectp.core.selection.merit.FIGURES_OF_MERIT`
    :param settings: filters, content hash of the model, and ``min_stability`` if there is one, plain JSON
    :param electronic_std: (n,) standard deviation of the electronic average, NaN if the model gives none
    :param ionic_std: (n,) that of the ionic average
    :param total_std: (n,) that of the total average
    :param flags: (n,) bits of the prediction, named by :data:`aiida_goectp.core.dielectric.predictions.FLAG_NAMES`
    :param joined_to: (n,) ranked row of an equal crystal, under which this one is ranked; −1 for other rows
    :param stability: (n,) predicted probability that the crystal has no negative optical mode at Γ, NaN if unknown
    """

    KIND, VERSION = 'ranking', 4

    ids: TextColumn
    hashes: TextColumn
    reason: TextColumn
    score: FloatColumn
    electronic: FloatColumn
    ionic: FloatColumn
    total: FloatColumn
    electronic_std: _Deviations = field(default=FILLED, kw_only=True)
    ionic_std: _Deviations = field(default=FILLED, kw_only=True)
    total_std: _Deviations = field(default=FILLED, kw_only=True)
    rank: Annotated[np.ndarray, Column('<i8')]
    flags: Annotated[np.ndarray, Column('<u4', fill=0, since=2)] = field(default=FILLED, kw_only=True)
    joined_to: Annotated[np.ndarray, Column('<i8', fill=-1, since=3)] = field(default=FILLED, kw_only=True)
    stability: Annotated[np.ndarray, Column('<f8', fill=np.nan, since=4)] = field(default=FILLED, kw_only=True)
    figure_of_merit: Text
    settings: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        included = self.reason == ''
        ranked = self.rank[included]
        if not np.array_equal(np.sort(ranked), np.arange(1, len(ranked) + 1)) or np.any(self.rank[~included]):
            raise FormatError(f'ranking: ranks must be 1 to {len(ranked)} for rows without a reason, 0 for others')
        joined = self.joined_to[self.joined_to != -1]
        if np.any((joined < 0) | (joined >= len(self))) or np.any(self.rank[joined] == 0):
            raise FormatError('ranking: joined_to must be the number of a ranked row, or -1')
        if np.any(included & (self.joined_to != -1)):
            raise FormatError('ranking: a row that is joined to another one must have a reason')

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ranked_count(self) -> int:
        """Number of rows with a rank."""
        return int(np.count_nonzero(self.rank))

    def top(self, n: int | None = None) -> np.ndarray:
        """Return the rows of the n best crystals, best first.

        :param n: maximum number, all with a rank if not given
        :return: rows of the crystal set
        """
        rows = np.flatnonzero(self.rank)
        ordered = rows[np.argsort(self.rank[rows], kind='stable')]
        return ordered if n is None else ordered[: max(0, n)]

    def to_dataframe(self, crystals: CrystalSet | None = None) -> DataFrame:
        """Return a pandas data frame with the index ``id``: the ranked rows, best first, then the excluded ones.

        Columns: ``rank`` (missing for an excluded row), ``score``; ``electronic``, ``ionic`` and ``total``
        (polycrystalline averages), each followed by its standard deviation ``…_std``; ``stability``; ``flags`` (names,
        joined by spaces); ``reason`` of the exclusion.

        :param crystals: the ranked crystals, which add ``formula`` and their properties
        :raises FormatError: other crystals
        """
        columns, properties = ({}, {}) if crystals is None else crystals.frame_columns(self.hashes)
        values: dict[str, Any] = {'rank': self.rank, **columns, 'score': self.score}
        for name in PARTS:
            values |= {name: getattr(self, name), f'{name}_std': getattr(self, f'{name}_std')}
        values |= {'stability': self.stability, 'flags': flag_texts(self.flags), 'reason': self.reason}
        frame = make_frame(self.ids, values, properties)
        frame['rank'] = frame['rank'].astype('Int64').where(frame['rank'] > 0)
        return frame.sort_values('rank', kind='stable', na_position='last')

    def joined_ids(self, row: int) -> list[str]:
        """Return the ids of the equal crystals that are ranked under a row."""
        return [str(name) for name in self.ids[self.joined_to == row]]

    def reason_counts(self) -> dict[str, int]:
        """Return the number of rows excluded by each kind of reason, see :func:`.count_reasons`."""
        return count_reasons([self.reason])


def rank(
    crystals: CrystalSet,
    predictions: Predictions,
    merit: str | FigureOfMerit = 'total',
    filters: Filters | None = None,
    predicted: np.ndarray | None = None,
    *,
    keep_duplicates: bool = False,
    min_stability: float | None = None,
) -> Ranking:
    """Rank crystals by a figure of merit; equal scores are ordered by content hash, then by id.

    Equal crystals, in any cell, are ranked once, with the highest of their scores; see :func:`.equal_rows`.

    Excluded are rows that a filter excludes, whose prediction failed, that lack a property which the figure of merit
    needs, whose ε_total exceeds :data:`MAX_TOTAL`, that contain an element which is not in the training set of the
    model (unless ``Filters.unseen_elements`` is set), or whose probability of stability is missing or too low.

    :param crystals: n crystals
    :param predictions: n rows, of the same crystals in the same order
    :param merit: figure of merit, or its name
    :param filters: conditions on the crystals; none if not given
    :param predicted: (n,) false for rows that were not predicted, which the filters must exclude; all if not given
    :param keep_duplicates: rank every row of equal crystals
    :param min_stability: smallest probability of stability, 0 to 1; any if not given
    :raises FormatError: predictions of other crystals, a missing property column, a crystal without a prediction that
        passes the filters, or ``min_stability`` for predictions without any probability of stability
    """
    ranker = Ranker(merit, filters, min_stability)
    check_rows(len(crystals), len(predictions))
    ranker.add(crystals, predictions, predicted)
    return ranker.ranking(crystals.failures, None if keep_duplicates else crystals.take)


class _Scored(NamedTuple):
    """What a ranking needs of a block of crystals and their predictions."""

    ids: np.ndarray
    hashes: np.ndarray
    score: np.ndarray
    averages: np.ndarray
    """(k, 3)"""
    deviations: np.ndarray
    """(k, 3)"""
    flags: np.ndarray
    stability: np.ndarray
    reasons: np.ndarray
    """(k,) texts"""
    compositions: np.ndarray
    volumes: np.ndarray


class Ranker:
    """Ranking of crystals that are given in blocks, of which it keeps a fraction; see :func:`rank`.

    :param merit: figure of merit, or its name
    :param filters: conditions on the crystals; none if not given
    :param min_stability: smallest probability of stability, 0 to 1; any if not given
    :raises FormatError: an unknown figure of merit, or a threshold that is not a probability
    """

    def __init__(
        self, merit: str | FigureOfMerit, filters: Filters | None = None, min_stability: float | None = None
    ) -> None:
        self.figure = figure_of_merit(merit) if isinstance(merit, str) else merit
        self.filters, self.min_stability = filters or Filters(), min_stability
        if min_stability is not None and not 0 <= min_stability <= 1:
            raise FormatError(f'min_stability: {min_stability} is not a probability; give a number from 0 to 1')
        self._blocks: list[_Scored] = []
        self._rows, self._model = 0, ''
        self._known = np.zeros(3, dtype=bool)
        self._has_stability = False
        self._missing: list[str] = []
        """ids of crystals that pass the filters and were not predicted"""

    def add(self, crystals: CrystalSet, predictions: Predictions, predicted: np.ndarray | None = None) -> None:
        """Add the next crystals.

        :param crystals: k crystals
        :param predictions: k rows, of the same crystals in the same order
        :param predicted: (k,) false for rows that were not predicted, which the filters must exclude; all if not given
        :raises FormatError: predictions of other crystals, or a missing property column
        """
        check_belongs(crystals, predictions, self._rows)
        predicted = np.ones(len(crystals), dtype=bool) if predicted is None else predicted
        score = self.figure.scores(predictions, crystals.properties)
        averages = np.stack([polycrystalline_average(getattr(predictions, part)) for part in PARTS], axis=1)
        reasons = _reasons(crystals, predictions, self.figure, self.filters, predicted, score, averages[:, 2])
        good = predicted & ~predictions.failed
        if self.min_stability is not None:
            _add_stability_reasons(reasons, predictions, good, self.min_stability)
        texts = np.array([join_reasons(items) for items in reasons], dtype=np.str_).reshape(-1)
        self._missing += crystals.ids[(texts == '') & ~predicted].tolist()
        self._known |= self.figure.known(predictions)
        self._has_stability |= bool(np.isfinite(predictions.stability[good]).any())
        self._model, self._rows = predictions.model_hash, self._rows + len(crystals)
        self._blocks.append(
            _Scored(
                crystals.ids,
                crystals.hashes,
                score,
                averages,
                predictions.average_std,
                predictions.flags,
                predictions.stability,
                texts,
                *composition_keys(crystals),
            )
        )

    def ranking(
        self, failures: Sequence[Failure] = (), take: Callable[[np.ndarray], CrystalSet] | None = None
    ) -> Ranking:
        """Return the ranking of all crystals that were added.

        :param failures: rows that could not be read
        :param take: returns the crystals of some rows, in their order, to find equal ones; None ranks every row
        :raises FormatError: predictions that lack what the figure of merit or the threshold needs, or a crystal without
            a prediction that passes the filters
        """
        self._check()
        rows = _Scored(*(np.concatenate(column) for column in zip(*self._blocks, strict=True)))
        self._blocks = []
        n, m = len(rows.ids), len(failures)
        order = _best_first(rows, np.flatnonzero(rows.reasons == ''))
        joined = np.full(n + m, -1, dtype=np.int64)
        if take is not None:
            joined[:n] = equal_among(CompositionKeys(rows.compositions, rows.volumes), rows.hashes, order, take)
        reasons = _with_equal(rows, joined[:n])
        order = order[joined[order] < 0]
        ranks = np.zeros(n + m, dtype=np.int64)
        ranks[order] = np.arange(1, len(order) + 1)
        code = ReasonCode.IMPORT_FAILED
        failed = [make_reason(code, failure=item.code, message=item.message).text for item in failures]
        nothing, ranked = np.full(m, np.nan), ranks[:n] > 0
        columns = {part: (rows.averages[:, k], rows.deviations[:, k]) for k, part in enumerate(PARTS)}
        return Ranking(
            ids=_texts(rows.ids, [failure.id for failure in failures]),
            hashes=_texts(rows.hashes, [''] * m),
            score=np.concatenate([np.where(ranked, rows.score, np.nan), nothing]),
            rank=ranks,
            reason=_texts(reasons, failed),
            **{part: np.concatenate([column, nothing]) for part, (column, _) in columns.items()},
            figure_of_merit=self.figure.name,
            settings=self._settings(),
            **{f'{part}_std': np.concatenate([column, nothing]) for part, (_, column) in columns.items()},
            flags=np.concatenate([rows.flags, np.zeros(m)]).astype(np.uint32),
            joined_to=joined,
            stability=np.concatenate([rows.stability, nothing]),
        )

    def _check(self) -> None:
        """Check what can only be known of all rows together."""
        self.figure.check_known(self._known)
        if self.min_stability is not None and self._known[0] and not self._has_stability:
            raise FormatError(
                'min_stability: these predictions give no probability of stability; predict with a calibrated model of '
                'preset force_constants, or leave the threshold out'
            )
        if self._missing:
            raise FormatError(
                f'{len(self._missing)} crystals pass the filters and have no prediction, first {self._missing[0]}; '
                'predict them, or apply the filters that were applied before the prediction'
            )

    def _settings(self) -> dict[str, Any]:
        threshold = {} if self.min_stability is None else {'min_stability': float(self.min_stability)}
        given = self.filters.model_dump(mode='json', exclude_defaults=True)
        return {'filters': given, 'model': self._model, **threshold}


def _best_first(rows: _Scored, included: np.ndarray) -> np.ndarray:
    """Return the included rows by descending score; equal scores are ordered by content hash, then by id."""
    order = included[np.argsort(-rows.score[included], kind='stable')]
    same = np.diff(rows.score[order]) == 0
    tied = np.zeros(len(order), dtype=bool)
    tied[1:] |= same
    tied[:-1] |= same
    some = order[tied]  # few, as a rule: texts are slow to sort
    order[tied] = some[np.lexsort((rows.ids[some], rows.hashes[some], -rows.score[some]))]
    return order


def _with_equal(rows: _Scored, joined: np.ndarray) -> np.ndarray:
    """Return the reasons, with one for each row that is joined to another."""
    equal = np.flatnonzero(joined >= 0)
    texts = [make_reason(ReasonCode.EQUAL_CRYSTAL, id=name).text for name in rows.ids[joined[equal]].tolist()]
    if not texts:
        return rows.reasons
    new = np.array(texts, dtype=np.str_)
    reasons = rows.reasons.astype(np.result_type(rows.reasons, new))
    reasons[equal] = new
    return reasons


def _add_stability_reasons(
    reasons: list[list[Reason]], predictions: Predictions, good: np.ndarray, min_stability: float
) -> None:
    """Add a reason to the rows whose probability of stability is below a threshold or missing."""
    probability = predictions.stability
    for row in np.flatnonzero(good & np.isnan(probability)):
        reasons[row].append(make_reason(ReasonCode.STABILITY_MISSING))
    for row in np.flatnonzero(good & (probability < min_stability)):
        values = {'bound': min_stability, 'probability': probability[row]}
        reasons[row].append(make_reason(ReasonCode.BELOW_STABILITY, **values))


def join_equal(
    crystals: CrystalSet, order: np.ndarray, keep_duplicates: bool = False
) -> tuple[np.ndarray, dict[int, Reason]]:
    """Return the column ``joined_to`` of a ranking, and the reason of each row that is joined.

    :param crystals: n crystals
    :param order: rows that can be ranked, best first
    :param keep_duplicates: join no rows
    """
    joined = np.full(len(crystals) + len(crystals.failures), -1, dtype=np.int64)
    if not keep_duplicates:
        joined[: len(crystals)] = equal_rows(crystals, order)
    rows = np.flatnonzero(joined >= 0).tolist()
    return joined, {row: make_reason(ReasonCode.EQUAL_CRYSTAL, id=crystals.ids[joined[row]]) for row in rows}


def _texts(first: np.ndarray, second: list[str]) -> np.ndarray:
    if not second:
        return first
    return np.concatenate([first, np.array(second, dtype=np.str_)])


def check_rows(crystals: int, predictions: int) -> None:
    """Check that there are as many predictions as crystals.

    :raises FormatError: another number
    """
    if crystals != predictions:
        raise FormatError(f'{predictions} predictions for {crystals} crystals; they belong to another set')


def check_belongs(crystals: CrystalSet, predictions: Predictions, first: int = 0) -> None:
    """Check that predictions are row by row those of these crystals.

    :param first: number of the first row, for the message
    :raises FormatError: another number of rows, or the first row that differs
    """
    check_rows(len(crystals), len(predictions))
    other = (crystals.ids != predictions.ids) | (crystals.hashes != predictions.hashes)
    if other.any():
        row = int(np.argmax(other))
        raise FormatError(
            f'row {first + row}: the crystal is {crystals.ids[row]!s} ({crystals.hashes[row]}), the prediction is of '
            f'{predictions.ids[row]!s} ({predictions.hashes[row]}); predict these crystals again'
        )


def _reasons(
    crystals: CrystalSet,
    predictions: Predictions,
    figure: FigureOfMerit,
    filters: Filters,
    predicted: np.ndarray,
    score: np.ndarray,
    total: np.ndarray,
) -> list[list[Reason]]:
    """Return all reasons that exclude each of n rows."""
    reasons = filters.reasons(crystals)
    missing = np.zeros(len(crystals), dtype=bool)
    for name in figure.columns:
        column = crystals.properties[name].astype(np.float64)
        missing |= ~(column >= 0)
        for row in np.flatnonzero(~(column >= 0)):
            code = ReasonCode.PROPERTY_MISSING if np.isnan(column[row]) else ReasonCode.PROPERTY_NEGATIVE
            if (reason := make_reason(code, column=name)) not in reasons[row]:
                reasons[row].append(reason)
    for row in np.flatnonzero(predictions.failed & predicted):
        again = predictions.errors[row] == NOT_PREDICTED_AGAIN
        code = ReasonCode.NOT_PREDICTED_AGAIN if again else ReasonCode.PREDICTION_FAILED
        reasons[row].append(make_reason(code, message=predictions.errors[row]))
    unseen = (predictions.flags >> FLAG_NAMES.index('unseen_element')) & 1
    for row in np.flatnonzero(unseen.astype(bool) & (not filters.unseen_elements)):
        reasons[row].append(make_reason(ReasonCode.UNSEEN_ELEMENT))
    for row in np.flatnonzero(total > MAX_TOTAL):
        reasons[row].append(make_reason(ReasonCode.SOFT_MODE, limit=MAX_TOTAL))
    for row in np.flatnonzero(~np.isfinite(score) & ~predictions.failed & ~missing):
        reasons[row].append(make_reason(ReasonCode.NO_VALUE, merit=figure.name))
    return reasons
