"""``Ranking``: each crystal with its score and place, or why it has none, and the file ``ranking.npz``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.predictions import FLAG_NAMES, Predictions
from aiida_goectp.core.dielectric.tensors import polycrystalline_average
from aiida_goectp.core.formats.npz import FormatError, check_shape, read_table, write_npz
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.merit import FigureOfMerit, figure_of_merit

__all__ = ('MAX_TOTAL', 'Ranking', 'check_belongs', 'rank')

_KIND, _VERSION = 'ranking', 2
_OLDER = (1,)  # without standard deviations and flags

MAX_TOTAL = 1000.0
"""A larger ε_total stands for a soft mode, on the way to another phase, not for a usable dielectric."""

_MAX_TEXT = 200
_TEXTS = ('ids', 'hashes', 'reason')
_DEVIATIONS = ('electronic_std', 'ionic_std', 'total_std')
_NUMBERS = ('score', 'electronic', 'ionic', 'total', *_DEVIATIONS)


@dataclass(frozen=True, eq=False)
class Ranking:
    """One row for each crystal in the order of the crystal set, then one for each failure of the set.

    :param ids: (n,) as in the crystal set
    :param hashes: (n,) content hashes; empty for a row that never became a crystal
    :param score: (n,) figure of merit, NaN where it is out or cannot be computed
    :param rank: (n,) 1 for the best, 0 for a row that is out
    :param reason: (n,) why a row is out, several joined by semicolons; empty where it is in
    :param electronic: (n,) polycrystalline average, NaN where there is no prediction
    :param ionic: (n,) likewise
    :param total: (n,) likewise
    :param figure_of_merit: name in :data:`aiida_goectp.core.selection.merit.FIGURES_OF_MERIT`
    :param settings: filters and the hash of the model, plain JSON
    :param electronic_std: (n,) standard deviation of the average; NaN where the model states none
    :param ionic_std: (n,) likewise
    :param total_std: (n,) likewise, of the sum
    :param flags: (n,) bits of the prediction, named by :data:`aiida_goectp.core.dielectric.predictions.FLAG_NAMES`
    """

    ids: np.ndarray
    hashes: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    reason: np.ndarray
    electronic: np.ndarray
    ionic: np.ndarray
    total: np.ndarray
    figure_of_merit: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    electronic_std: np.ndarray = None  # type: ignore[assignment]
    ionic_std: np.ndarray = None  # type: ignore[assignment]
    total_std: np.ndarray = None  # type: ignore[assignment]
    flags: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        n, label = len(self.ids), 'ranking'
        for name in _DEVIATIONS:
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(n, np.nan))
        if self.flags is None:
            object.__setattr__(self, 'flags', np.zeros(n, dtype=np.uint32))
        for name in _TEXTS:
            check_shape(label, name, getattr(self, name), (n,), 'U')
        for name in _NUMBERS:
            check_shape(label, name, getattr(self, name), (n,), 'f')
        check_shape(label, 'rank', self.rank, (n,), 'iu')
        check_shape(label, 'flags', self.flags, (n,), 'iu')
        included = self.reason == ''
        ranked = self.rank[included]
        if not np.array_equal(np.sort(ranked), np.arange(1, len(ranked) + 1)) or np.any(self.rank[~included]):
            raise FormatError(
                f'{label}: ranks must be 1 to {len(ranked)} for the rows that are in, and 0 for the others'
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ranked_count(self) -> int:
        """Number of rows that are in."""
        return int(np.count_nonzero(self.rank))

    def top(self, n: int | None = None) -> np.ndarray:
        """Return the rows of the n best (all that are in if not given), best first; rows as in the crystal set."""
        rows = np.flatnonzero(self.rank)
        ordered = rows[np.argsort(self.rank[rows], kind='stable')]
        return ordered if n is None else ordered[: max(0, n)]

    def reason_counts(self) -> dict[str, int]:
        """Return how many rows each reason put out, most frequent first; a row with two reasons counts twice."""
        counts = Counter(reason.split(': ')[0] for text in self.reason.tolist() if text for reason in text.split('; '))
        return dict(counts.most_common())

    def save(self, target: str | Path | IO[bytes]) -> None:
        """Write ``ranking.npz``, format version 2; the same content gives the same bytes."""
        arrays = {name: getattr(self, name).astype(np.str_) for name in _TEXTS}
        arrays.update({name: getattr(self, name).astype('<f8') for name in _NUMBERS})
        arrays['rank'] = self.rank.astype('<i8')
        arrays['flags'] = self.flags.astype('<u4')
        arrays['figure_of_merit'] = np.array(self.figure_of_merit)
        arrays['settings'] = np.array(json.dumps(dict(self.settings), sort_keys=True))
        write_npz(target, _KIND, _VERSION, arrays)

    @classmethod
    def load(cls, source: str | Path | IO[bytes]) -> Ranking:
        """Read ``ranking.npz``, version 1 or 2.

        :raises FormatError: not such a file, another version, or arrays that do not fit together
        """
        return read_table(cls, source, _KIND, _VERSION, _OLDER, texts=('figure_of_merit',))


def rank(
    crystals: CrystalSet,
    predictions: Predictions,
    merit: str | FigureOfMerit = 'total',
    filters: Filters | None = None,
) -> Ranking:
    """Rank crystals by a figure of merit; ties go by content hash, then by id, so that the order is always the same.

    Out are the rows that a filter excludes, whose prediction failed, that lack a property which the figure of merit
    needs, whose ε_total lies beyond :data:`MAX_TOTAL`, or that hold an element which the model never saw in training
    (its tensor is a guess; ``Filters.unseen_elements`` admits them).

    :param crystals: n crystals
    :param predictions: n rows, for the same crystals in the same order
    :raises FormatError: predictions of other crystals, or a property column that is missing altogether
    """
    figure = figure_of_merit(merit) if isinstance(merit, str) else merit
    filters = filters or Filters()
    check_belongs(crystals, predictions)
    score = figure.evaluate(predictions, crystals.properties)
    electronic = polycrystalline_average(predictions.electronic)
    ionic = polycrystalline_average(predictions.ionic)
    total = polycrystalline_average(predictions.total)
    reasons = _reasons(crystals, predictions, figure, filters, score, total)
    included = np.flatnonzero(reasons == '')
    order = included[np.lexsort((crystals.ids[included], crystals.hashes[included], -score[included]))]
    ranks = np.zeros(len(crystals), dtype=np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    failures = crystals.failures
    nothing = np.full(len(failures), np.nan)
    failed = [_single(f'import failed ({failure.code}): {failure.message}') for failure in failures]
    return Ranking(
        ids=_texts(crystals.ids, [failure.id for failure in failures]),
        hashes=_texts(crystals.hashes, [''] * len(failures)),
        score=np.concatenate([np.where(reasons == '', score, np.nan), nothing]),
        rank=np.concatenate([ranks, np.zeros(len(failures), dtype=np.int64)]),
        reason=_texts(reasons, failed),
        electronic=np.concatenate([electronic, nothing]),
        ionic=np.concatenate([ionic, nothing]),
        total=np.concatenate([total, nothing]),
        figure_of_merit=figure.name,
        settings={'filters': filters.model_dump(mode='json', exclude_defaults=True), 'model': predictions.model_hash},
        **{name: np.concatenate([predictions.average_std[:, k], nothing]) for k, name in enumerate(_DEVIATIONS)},
        flags=np.concatenate([predictions.flags, np.zeros(len(failures))]).astype(np.uint32),
    )


def _texts(first: np.ndarray, second: list[str]) -> np.ndarray:
    return np.array([*first.tolist(), *second], dtype=np.str_).reshape(-1)


def _single(text: str) -> str:
    """Return one reason: no ``; ``, which joins several, and short, since the longest sets the width of the column."""
    text = text.replace('; ', ', ')
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + '…'


def check_belongs(crystals: CrystalSet, predictions: Predictions) -> None:
    """Refuse predictions that are not row by row those of these crystals.

    :raises FormatError: the first row that differs
    """
    if len(crystals) != len(predictions):
        raise FormatError(f'{len(predictions)} predictions for {len(crystals)} crystals; they belong to another set')
    other = (crystals.ids != predictions.ids) | (crystals.hashes != predictions.hashes)
    if other.any():
        row = int(np.argmax(other))
        raise FormatError(
            f'row {row}: the crystal is {crystals.ids[row]!s} ({crystals.hashes[row]}), the prediction is of '
            f'{predictions.ids[row]!s} ({predictions.hashes[row]}); predict these crystals anew'
        )


def _reasons(
    crystals: CrystalSet,
    predictions: Predictions,
    figure: FigureOfMerit,
    filters: Filters,
    score: np.ndarray,
    total: np.ndarray,
) -> np.ndarray:
    """Return (n,) all that puts a row out."""
    filtered = filters.apply(crystals)
    missing = np.zeros(len(crystals), dtype=bool)
    texts = [[text] if text else [] for text in filtered.tolist()]
    for name in figure.columns:
        column = crystals.properties[name].astype(np.float64)
        bad = ~(column >= 0)
        missing |= bad
        for row in np.flatnonzero(bad & ~np.array([f'{name} missing' in text for text in filtered], dtype=bool)):
            texts[row].append(f'{name} missing' if np.isnan(column[row]) else f'{name} negative')
    for row in np.flatnonzero(predictions.failed):
        texts[row].append(_single(f'prediction failed: {predictions.errors[row]}'))
    unseen = (predictions.flags >> FLAG_NAMES.index('unseen_element')) & 1
    for row in np.flatnonzero(unseen.astype(bool) & (not filters.unseen_elements)):
        texts[row].append('an element that the model never saw')
    for row in np.flatnonzero(total > MAX_TOTAL):
        texts[row].append(f'soft mode beyond {MAX_TOTAL:g}')
    for row in np.flatnonzero(~np.isfinite(score) & ~predictions.failed & ~missing):
        texts[row].append(f'{figure.name} has no value')
    return np.array(['; '.join(items) for items in texts], dtype=np.str_).reshape(-1)
