"""Ranking of crystals by a figure of merit, and its file ``ranking.npz``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.predictions import FLAG_NAMES, Predictions, flag_texts
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.formats.dataframe import make_frame
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.table import FILLED, Column, FloatColumn, JsonObject, Table, Text, TextColumn
from aiida_goectp.core.selection.equal_crystals import equal_rows
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.merit import FigureOfMerit, figure_of_merit
from aiida_goectp.core.selection.reasons import Reason, ReasonCode, count_reasons, join_reasons, make_reason

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ('MAX_TOTAL', 'Ranking', 'check_belongs', 'join_equal', 'rank')

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
        return count_reasons(self.reason)


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
    figure = figure_of_merit(merit) if isinstance(merit, str) else merit
    filters = filters or Filters()
    check_belongs(crystals, predictions)
    predicted = np.ones(len(crystals), dtype=bool) if predicted is None else predicted
    score = figure.evaluate(predictions, crystals.properties)
    averages = {part: polycrystalline_average(getattr(predictions, part)) for part in PARTS}
    reasons = _reasons(crystals, predictions, figure, filters, predicted, score, averages['total'], min_stability)
    passes = np.array([not items for items in reasons], dtype=bool).reshape(-1)
    _check_predicted(crystals, passes & ~predicted)
    included = np.flatnonzero(passes)
    order = included[np.lexsort((crystals.ids[included], crystals.hashes[included], -score[included]))]
    joined, equal = join_equal(crystals, order, keep_duplicates)
    reasons = [[equal[row]] if row in equal else items for row, items in enumerate(reasons)]
    order, passes = order[joined[order] < 0], passes & (joined[: len(crystals)] < 0)
    ranks = np.zeros(len(crystals) + len(crystals.failures), dtype=np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    failures, nothing = crystals.failures, np.full(len(crystals.failures), np.nan)
    failed = [make_reason(ReasonCode.IMPORT_FAILED, failure=item.code, message=item.message) for item in failures]
    return Ranking(
        ids=_texts(crystals.ids, [failure.id for failure in failures]),
        hashes=_texts(crystals.hashes, [''] * len(failures)),
        score=np.concatenate([np.where(passes, score, np.nan), nothing]),
        rank=ranks,
        reason=np.array([join_reasons(items) for items in [*reasons, *([one] for one in failed)]], dtype=np.str_),
        **{part: np.concatenate([column, nothing]) for part, column in averages.items()},
        figure_of_merit=figure.name,
        settings=_settings(filters, predictions, min_stability),
        **{f'{part}_std': np.concatenate([predictions.average_std[:, k], nothing]) for k, part in enumerate(PARTS)},
        flags=np.concatenate([predictions.flags, np.zeros(len(failures))]).astype(np.uint32),
        joined_to=joined,
        stability=np.concatenate([predictions.stability, nothing]),
    )


def _settings(filters: Filters, predictions: Predictions, min_stability: float | None) -> dict[str, Any]:
    threshold = {} if min_stability is None else {'min_stability': float(min_stability)}
    given = filters.model_dump(mode='json', exclude_defaults=True)
    return {'filters': given, 'model': predictions.model_hash, **threshold}


def _add_stability_reasons(
    reasons: list[list[Reason]], predictions: Predictions, predicted: np.ndarray, min_stability: float
) -> None:
    """Add a reason to the rows whose probability of stability is below a threshold or missing.

    :raises FormatError: a threshold that is not a probability, or predictions without any probability
    """
    if not 0 <= min_stability <= 1:
        raise FormatError(f'min_stability: {min_stability} is not a probability; give a number from 0 to 1')
    good, probability = predicted & ~predictions.failed, predictions.stability
    if good.any() and not np.isfinite(probability[good]).any():
        raise FormatError(
            'min_stability: these predictions give no probability of stability; predict with a calibrated model of '
            'preset force_constants, or leave the threshold out'
        )
    for row in np.flatnonzero(good & np.isnan(probability)):
        reasons[row].append(make_reason(ReasonCode.STABILITY_MISSING))
    for row in np.flatnonzero(good & (probability < min_stability)):
        values = {'bound': min_stability, 'probability': probability[row]}
        reasons[row].append(make_reason(ReasonCode.BELOW_STABILITY, **values))


def _check_predicted(crystals: CrystalSet, missing: np.ndarray) -> None:
    if missing.any():
        raise FormatError(
            f'{missing.sum()} crystals pass the filters and have no prediction, first {crystals.ids[missing][0]}; '
            'predict them, or apply the filters that were applied before the prediction'
        )


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
    return np.array([*first.tolist(), *second], dtype=np.str_).reshape(-1)


def check_belongs(crystals: CrystalSet, predictions: Predictions) -> None:
    """Check that predictions are row by row those of these crystals.

    :raises FormatError: another number of rows, or the first row that differs
    """
    if len(crystals) != len(predictions):
        raise FormatError(f'{len(predictions)} predictions for {len(crystals)} crystals; they belong to another set')
    other = (crystals.ids != predictions.ids) | (crystals.hashes != predictions.hashes)
    if other.any():
        row = int(np.argmax(other))
        raise FormatError(
            f'row {row}: the crystal is {crystals.ids[row]!s} ({crystals.hashes[row]}), the prediction is of '
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
    min_stability: float | None,
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
        reasons[row].append(make_reason(ReasonCode.PREDICTION_FAILED, message=predictions.errors[row]))
    unseen = (predictions.flags >> FLAG_NAMES.index('unseen_element')) & 1
    for row in np.flatnonzero(unseen.astype(bool) & (not filters.unseen_elements)):
        reasons[row].append(make_reason(ReasonCode.UNSEEN_ELEMENT))
    for row in np.flatnonzero(total > MAX_TOTAL):
        reasons[row].append(make_reason(ReasonCode.SOFT_MODE, limit=MAX_TOTAL))
    for row in np.flatnonzero(~np.isfinite(score) & ~predictions.failed & ~missing):
        reasons[row].append(make_reason(ReasonCode.NO_VALUE, merit=figure.name))
    if min_stability is not None:
        _add_stability_reasons(reasons, predictions, predicted, min_stability)
    return reasons
