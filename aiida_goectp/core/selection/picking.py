"""Selection of the next batch: filters, known crystals, acquisition, diversity; a reason for each row."""

from __future__ import annotations

import numpy as np
from pydantic import Field, field_validator, model_validator

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.names import GAP_COLUMN
from aiida_goectp.core.formats.settings import Settings, unknown_value
from aiida_goectp.core.selection.acquisition import AcquisitionSettings, State, acquire
from aiida_goectp.core.selection.diversity import DiversitySettings, StructureMatcher, take_batch
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.merit import FIGURES_OF_MERIT, FigureOfMerit, figure_of_merit
from aiida_goectp.core.selection.picks import Picks
from aiida_goectp.core.selection.ranking import Ranking, check_belongs, rank
from aiida_goectp.core.selection.reasons import Reason, ReasonCode, make_reason

__all__ = ('PickSettings', 'PruningSettings', 'pick', 'uses_stability')

_BOUNDED = ('greedy', 'upper_confidence_bound', 'cautious')
"""acquisition functions whose score is at most μ + margin σ, if κ is at most the margin"""


class PruningSettings(Settings):
    """Which crystals a new model predicts, see :mod:`aiida_goectp.core.selection.pruning`."""

    margin: float = Field(
        default=3.0, gt=0, description='standard deviations by which the last prediction may have been too low'
    )
    every: int = Field(default=4, ge=2, description='the first of this number of models predicts all crystals')


class PickSettings(Settings):
    """How a batch is picked."""

    batch_size: int = Field(default=20, ge=1, description='crystals picked in one round')
    figure_of_merit: str = Field(default='total', description='figure of merit to maximise')
    filters: Filters = Field(default_factory=Filters, description='conditions on the candidates')
    acquisition: AcquisitionSettings = Field(default_factory=AcquisitionSettings, description='order of the candidates')
    diversity: DiversitySettings = Field(default_factory=DiversitySettings, description='exclusion of duplicates')
    pruning: PruningSettings | None = Field(
        default=None, description='let most models predict only the crystals that could be picked; null: all crystals'
    )

    @model_validator(mode='after')
    def _has_a_bound(self) -> PickSettings:
        if self.pruning is None:
            return self
        if self.acquisition.name not in _BOUNDED:
            raise ValueError(
                f'pruning needs one of the acquisition functions {", ".join(_BOUNDED)}, whose scores have a bound; '
                f'found {self.acquisition.name!r}'
            )
        if self.acquisition.name == 'upper_confidence_bound' and self.acquisition.kappa > self.pruning.margin:
            raise ValueError(
                f'pruning.margin: {self.pruning.margin:g} is lower than acquisition.kappa '
                f'({self.acquisition.kappa:g}); give at least that'
            )
        return self

    @field_validator('figure_of_merit')
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in FIGURES_OF_MERIT:
            raise ValueError(unknown_value('figure_of_merit', name, FIGURES_OF_MERIT).removeprefix('figure_of_merit: '))
        return name


def uses_stability(settings: PickSettings) -> bool:
    """Return whether the scores depend on the probability of stability, if the model gives one.

    An unstable crystal has no static permittivity, but ε_∞: its label serves a figure of merit of ε_∞.
    """
    return settings.acquisition.weigh_stability and figure_of_merit(settings.figure_of_merit).tensor != 'electronic'


def pick(
    crystals: CrystalSet,
    predictions: Predictions,
    known: KnownCrystals,
    settings: PickSettings,
    *,
    round_number: int = 1,
    number: int | None = None,
    matcher: StructureMatcher | None = None,
) -> Picks:
    """Pick the next batch; the picks do not depend on the order of the rows.

    :param crystals: the pool, n crystals
    :param predictions: n rows, of the same crystals in the same order
    :param known: verified crystals, and those that failed permanently
    :param settings: how the batch is picked
    :param round_number: of the campaign, from 1; each round draws other random numbers
    :param number: number of picks; the batch size if not given
    :param matcher: of an earlier round, so that no crystal is analysed twice
    :raises FormatError: predictions of other crystals, or a required property or standard deviation that is missing
    """
    figure = figure_of_merit(settings.figure_of_merit)
    check_belongs(crystals, predictions)
    # all that follows is done in an order that depends on content only
    order = np.lexsort((crystals.ids, crystals.hashes))
    table = crystals.take(order, keep_failures=True)
    predicted = predictions.take(order)
    ranking = rank(table, predicted, figure, settings.filters, keep_duplicates=True)  # diversity excludes them
    candidates = _Candidates(table, ranking, settings, matcher or StructureMatcher(settings.diversity.volume_tolerance))
    candidates.exclude_known(known)
    candidates.score(figure, predicted, known, round_number)
    candidates.pick(settings.batch_size if number is None else number)
    back = np.concatenate([np.argsort(order), np.arange(len(order), len(ranking))]).astype(np.int64)
    columns = {name: column[back] for name, column in candidates.columns().items()}
    return Picks(
        **columns,
        figure_of_merit=figure.name,
        settings={
            **settings.model_dump(mode='json', exclude={'figure_of_merit', 'pruning'}),
            'model': predictions.model_hash,
            'round': int(round_number),
        },
    )


class _Candidates:
    """Columns of the picks while a batch is picked: n rows of crystals, then those of import failures."""

    def __init__(
        self, crystals: CrystalSet, ranking: Ranking, settings: PickSettings, matcher: StructureMatcher
    ) -> None:
        self.crystals, self.ranking, self.settings, self.matcher = crystals, ranking, settings, matcher
        n, m = len(crystals), len(ranking)
        self.reasons: list[str] = ranking.reason.tolist()
        self.mean = ranking.score.copy()
        self.std, self.scores, self.stability = np.full(m, np.nan), np.full(m, np.nan), np.full(m, np.nan)
        self.places, self.picks = np.zeros(m, dtype=np.int64), np.zeros(m, dtype=np.int64)
        self.hashes: list[str] = crystals.hashes.tolist()
        self.is_candidate = np.array([not text for text in self.reasons[:n]], dtype=bool).reshape(-1)

    def exclude_known(self, known: KnownCrystals) -> None:
        """Exclude known crystals, by content hash first, then by structure matching."""
        rows = {str(name): row for row, name in enumerate(known.crystals.hashes)}
        for row, name in enumerate(self.hashes):
            if name in rows:
                self._exclude(row, _known_reason(known, rows[name]))
        if not self.settings.diversity.copies:
            return
        copies = known.copies(self.crystals, np.flatnonzero(self.is_candidate).tolist(), self.matcher)
        for row, other in copies.items():
            outcome = _known_reason(known, other).text
            self._exclude(row, make_reason(ReasonCode.COPY, id=known.crystals.ids[other], outcome=outcome))

    def score(self, figure: FigureOfMerit, predictions: Predictions, known: KnownCrystals, round_number: int) -> None:
        """Compute the acquisition score of the remaining candidates, and their order."""
        n = len(self.crystals)
        mean = np.where(self.is_candidate, self.mean[:n], np.nan)
        self.stability[:n] = predictions.stability
        self.std[:n] = figure.deviation(predictions, self.crystals.properties)
        gap = self.crystals.properties.get(GAP_COLUMN)
        gaps = np.full(n, np.nan) if gap is None or gap.dtype.kind == 'U' else gap.astype(np.float64)
        verified, known = known.verified, known.filtered(self.settings.filters, self.crystals)
        state = State(
            hashes=self.crystals.hashes,
            verified=known.score[verified],
            objectives=np.stack([np.where(gaps >= 0, gaps, np.nan), self.ranking.total[:n]], axis=1),
            verified_objectives=known.objectives[verified],
            round=round_number,
            usable=self._usable(predictions),
        )
        acquisition = self.settings.acquisition
        self.scores[:n] = acquire(mean, np.where(self.is_candidate, self.std[:n], np.nan), state, acquisition)
        for row in np.flatnonzero(self.is_candidate & ~np.isfinite(self.scores[:n])).tolist():
            self._exclude(row, make_reason(ReasonCode.NO_SCORE, acquisition=acquisition.name))
        rows = np.flatnonzero(self.is_candidate)
        ids, hashes = self.crystals.ids[rows], self.crystals.hashes[rows]
        ordered = rows[np.lexsort((ids, hashes, -self.scores[rows]))]
        self.places[ordered] = np.arange(1, len(ordered) + 1)

    def _usable(self, predictions: Predictions) -> np.ndarray | None:
        """Return the probability (n,) that the label of each crystal will be usable, one where it is unknown.

        None if the settings do not use it.
        """
        if not uses_stability(self.settings):
            return None
        return np.where(np.isnan(predictions.stability), 1.0, predictions.stability)

    def pick(self, number: int) -> None:
        """Pick the batch, and set the reason of each candidate.

        :raises FormatError: a negative number
        """
        if number < 0:
            raise FormatError(f'number of picks: {number}; give zero or more')
        rows = np.flatnonzero(self.is_candidate)
        ordered = rows[np.argsort(self.places[rows], kind='stable')].tolist()

        diversity = self.settings.diversity

        def near_duplicates(row: int, other: int) -> bool:
            if self.hashes[row] == self.hashes[other]:  # outcomes are recorded by hash
                return True
            pair = self.crystals[row], self.hashes[row], self.crystals[other], self.hashes[other]
            # two relaxations of one crystal, of which the second is not picked once the first is verified
            copies = diversity.copies and self.matcher.same(*pair)
            return copies or (diversity.structures and self.matcher.near_duplicates(*pair))

        batch = take_batch(ordered, number, near_duplicates)
        self.picks[batch.picks] = np.arange(1, len(batch.picks) + 1)
        for row in ordered:
            if row in batch.skipped:
                reason = make_reason(ReasonCode.NEAR_DUPLICATE, id=self.crystals.ids[batch.skipped[row]])
            else:
                reason = make_reason(
                    ReasonCode.PICKED if self.picks[row] else ReasonCode.NOT_PICKED,
                    place=self.places[row],
                    candidates=len(ordered),
                    acquisition=self.settings.acquisition.name,
                )
            self.reasons[row] = reason.text

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns of the picks."""
        return {
            'ids': self.ranking.ids,
            'hashes': self.ranking.hashes,
            'mean': self.mean,
            'std': self.std,
            'score': self.scores,
            'stability': self.stability,
            'place': self.places,
            'pick': self.picks,
            'reason': np.array(self.reasons, dtype=np.str_).reshape(-1),
        }

    def _exclude(self, row: int, reason: Reason) -> None:
        self.is_candidate[row], self.reasons[row], self.scores[row] = False, reason.text, np.nan


def _known_reason(known: KnownCrystals, row: int) -> Reason:
    """Return why a known crystal is not picked again."""
    if known.verified[row]:
        return make_reason(ReasonCode.VERIFIED)
    return make_reason(ReasonCode.FAILED_PERMANENTLY, message=known.failure[row])
