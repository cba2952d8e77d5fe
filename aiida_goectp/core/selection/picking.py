"""Picking a batch: filters, nothing known already, acquisition, diversity; each row with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field, field_validator

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import Settings
from aiida_goectp.core.selection.acquisition import AcquisitionSettings, State, acquire
from aiida_goectp.core.selection.diversity import (
    DiversitySettings,
    StructureMatcher,
    choose,
    composition,
    scaled_features,
)
from aiida_goectp.core.selection.filters import GAP_COLUMN, Filters
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.merit import FIGURES_OF_MERIT, FigureOfMerit, figure_of_merit
from aiida_goectp.core.selection.picks import Picks
from aiida_goectp.core.selection.ranking import Ranking, check_belongs, rank

__all__ = ('PickSettings', 'pick')


class PickSettings(Settings):
    """How a batch is picked."""

    batch_size: int = Field(default=20, ge=1, description='candidates of one round')
    figure_of_merit: str = Field(default='total', description='what is looked for, more is better')
    filters: Filters = Field(default_factory=Filters, description='which crystals are candidates at all')
    acquisition: AcquisitionSettings = Field(default_factory=AcquisitionSettings, description='what comes first')
    diversity: DiversitySettings = Field(default_factory=DiversitySettings, description='what is too alike')

    @field_validator('figure_of_merit')
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FIGURES_OF_MERIT:
            raise ValueError(f'no figure of merit is named {name!r}; there are: {", ".join(FIGURES_OF_MERIT)}')
        return name


def pick(
    crystals: CrystalSet,
    predictions: Predictions,
    past: KnownCrystals,
    settings: PickSettings,
    *,
    features: np.ndarray | None = None,
    round_number: int = 1,
    number: int | None = None,
    likeness: StructureMatcher | None = None,
) -> Picks:
    """Pick the next batch; the same input gives the same picks, in whatever order the rows stand.

    :param crystals: the pool, n crystals
    :param predictions: n rows, of the same crystals in the same order
    :param past: what is verified, or failed for good
    :param features: (n, k) of the network, for diversity by features
    :param round_number: of the campaign, from 1; a new round draws new random numbers
    :param number: of picks, if not the batch size: what a budget still allows
    :param likeness: kept from the last round, so that no crystal is analysed twice
    :raises FormatError: predictions of other crystals; a property, deviations or features that are needed and missing
    """
    figure = figure_of_merit(settings.figure_of_merit)
    check_belongs(crystals, predictions)
    if features is not None and len(features) != len(crystals):
        raise FormatError(f'features: {len(features)} rows for {len(crystals)} crystals; give one row a crystal')
    # all that follows happens in an order that hangs on content alone
    order = np.lexsort((crystals.ids, crystals.hashes))
    table = crystals.take(order, keep_failures=True)
    predicted = predictions.take(order)
    ranking = rank(table, predicted, figure, settings.filters)
    work = _Pick(table, ranking, settings, likeness or StructureMatcher(settings.diversity.volume_tolerance))
    work.leave_out(past)
    work.score(figure, predicted, past, round_number)
    work.take(settings.batch_size if number is None else number, None if features is None else features[order])
    back = np.concatenate([np.argsort(order), np.arange(len(order), len(ranking))]).astype(np.int64)
    columns = {name: column[back] for name, column in work.columns().items()}
    return Picks(
        **columns,
        figure_of_merit=figure.name,
        settings={
            **settings.model_dump(mode='json', exclude={'figure_of_merit'}),
            'model': predictions.model_hash,
            'round': int(round_number),
        },
    )


class _Pick:
    """The rows of the ranking while they are looked at; those of failures stay at the end."""

    def __init__(
        self, crystals: CrystalSet, ranking: Ranking, settings: PickSettings, likeness: StructureMatcher
    ) -> None:
        self.crystals, self.ranking, self.settings, self.likeness = crystals, ranking, settings, likeness
        n, m = len(crystals), len(ranking)
        self.reasons: list[str] = ranking.reason.tolist()
        self.mean = ranking.score.copy()
        self.std, self.scores = np.full(m, np.nan), np.full(m, np.nan)
        self.places, self.picks = np.zeros(m, dtype=np.int64), np.zeros(m, dtype=np.int64)
        self.hashes: list[str] = crystals.hashes.tolist()
        self.open = np.array([not text for text in self.reasons[:n]], dtype=bool).reshape(-1)

    def leave_out(self, past: KnownCrystals) -> None:
        """Take out what is known, by content first, then by structure."""
        known = {str(name): row for row, name in enumerate(past.crystals.hashes)}
        for row, name in enumerate(self.hashes):
            if name in known:
                self._out(row, _known_text(past, known[name]))
        if not self.settings.diversity.copies:
            return
        by_formula: dict[Any, list[int]] = {}
        for row, crystal in enumerate(past.crystals):
            by_formula.setdefault(composition(crystal), []).append(row)
        for row in np.flatnonzero(self.open).tolist():
            crystal, content = self.crystals[row], self.hashes[row]
            for other in by_formula.get(composition(crystal), []):
                one = past.crystals[other]
                if self.likeness.same(crystal, content, one, str(past.crystals.hashes[other])):
                    self._out(row, f'copy: the same crystal as {one.id}, {_known_text(past, other)}')
                    break

    def score(self, figure: FigureOfMerit, predictions: Predictions, past: KnownCrystals, round_number: int) -> None:
        """Compute the acquisition of the candidates that are left, and their places."""
        n = len(self.crystals)
        mean = np.where(self.open, self.mean[:n], np.nan)
        self.std[:n] = figure.deviation(predictions, self.crystals.properties)
        gap = self.crystals.properties.get(GAP_COLUMN)
        gaps = np.full(n, np.nan) if gap is None or gap.dtype.kind == 'U' else gap.astype(np.float64)
        verified = past.verified
        state = State(
            hashes=self.crystals.hashes,
            verified=past.score[verified],
            objectives=np.stack([np.where(gaps >= 0, gaps, np.nan), self.ranking.total[:n]], axis=1),
            verified_objectives=past.objectives[verified],
            round=round_number,
        )
        self.scores[:n] = acquire(mean, np.where(self.open, self.std[:n], np.nan), state, self.settings.acquisition)
        name = self.settings.acquisition.name
        for row in np.flatnonzero(self.open & ~np.isfinite(self.scores[:n])).tolist():
            self._out(row, f'no value of {name}: its standard deviation or its gap is unknown')
        rows = np.flatnonzero(self.open)
        ids, hashes = self.crystals.ids[rows], self.crystals.hashes[rows]
        ordered = rows[np.lexsort((ids, hashes, -self.scores[rows]))]
        self.places[ordered] = np.arange(1, len(ordered) + 1)

    def take(self, number: int, features: np.ndarray | None) -> None:
        """Fill the batch, and say of each candidate why it is in or not."""
        if number < 0:
            raise FormatError(f'{number} picks: give zero or more')
        rows = np.flatnonzero(self.open)
        ordered = rows[np.argsort(self.places[rows], kind='stable')].tolist()
        scaled = None
        if features is not None and self.settings.diversity.features != 'off':
            scaled = np.full((len(self.crystals), np.shape(features)[-1]), np.nan)
            scaled[rows] = scaled_features(np.asarray(features)[rows], self.crystals.ids[rows])

        def near(row: int, other: int) -> bool:
            one, two = self.crystals[row], self.crystals[other]
            return self.likeness.alike(one, self.hashes[row], two, self.hashes[other])

        found = choose(ordered, number, self.settings.diversity, near, self.crystals.ids, scaled)
        taken = {row: place for place, row in enumerate(found.picks, start=1)}
        of = f'of {len(ordered)} by {self.settings.acquisition.name}'
        for row in ordered:
            where = f'place {self.places[row]} {of}'
            if row in taken:
                self.picks[row] = taken[row]
                self.reasons[row] = f'picked: {where}'
            else:
                self.reasons[row] = found.passed.get(row) or f'not picked: {where}'

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns of the table."""
        return {
            'ids': self.ranking.ids,
            'hashes': self.ranking.hashes,
            'mean': self.mean,
            'std': self.std,
            'score': self.scores,
            'place': self.places,
            'pick': self.picks,
            'reason': np.array(self.reasons, dtype=np.str_).reshape(-1),
        }

    def _out(self, row: int, reason: str) -> None:
        self.open[row], self.reasons[row], self.scores[row] = False, reason, np.nan


def _known_text(past: KnownCrystals, row: int) -> str:
    why = str(past.failure[row]).replace('; ', ', ')[:200]
    return f'failed for good: {why}' if why else 'verified'
