"""Which crystals of a pool a new model has to predict: those that could be picked in one of the next rounds.

A campaign that prunes its pool predicts all crystals once, and with the next models only those that the last
prediction does not rule out: their figure of merit plus a number of standard deviations is not lower than the score of
the candidates that are likely to be picked before all crystals are predicted again.
"""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.acquisition import AcquisitionSettings, acquisition
from aiida_goectp.core.selection.diversity import StructureMatcher
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.merit import figure_of_merit
from aiida_goectp.core.selection.picking import PickSettings, uses_stability
from aiida_goectp.core.selection.picks import Picks
from aiida_goectp.core.selection.ranking import rank
from aiida_goectp.core.selection.stopping import Stop

__all__ = ('predict_all_first', 'rows_to_predict')

_RESERVE = 2
"""candidates that set the bound, in units of the possible picks: some are left out as near-duplicates"""


def rows_to_predict(
    crystals: CrystalSet,
    predictions: Predictions,
    known: KnownCrystals,
    settings: PickSettings,
    matcher: StructureMatcher | None = None,
) -> np.ndarray:
    """Return the rows of the crystals that a new model has to predict, ascending.

    Left out are known crystals and their copies, crystals that the filters exclude, and those below the bound. A
    crystal without value or without standard deviation is predicted, since nothing rules it out.

    :param crystals: the pool, n crystals
    :param predictions: n rows, of all crystals
    :param known: verified crystals, and those that failed permanently
    :param settings: with ``pruning``
    :param matcher: of earlier picks, so that no crystal is analysed twice
    :raises FormatError: settings without it, predictions of other crystals, or a required property that is missing
    """
    if settings.pruning is None:
        raise FormatError('picking.pruning: missing; all crystals are predicted')
    figure, n = figure_of_merit(settings.figure_of_merit), len(crystals)
    ranked = rank(crystals, predictions, figure, settings.filters, keep_duplicates=True).rank[:n] > 0
    wanted = settings.filters.passes(crystals) & ~np.isin(crystals.hashes, known.crystals.hashes)
    if settings.diversity.copies:
        matcher = matcher or StructureMatcher(settings.diversity.volume_tolerance)
        wanted[list(known.copies(crystals, np.flatnonzero(wanted).tolist(), matcher))] = False
    scores = figure.scores(predictions, crystals.properties)
    deviations = figure.deviation(predictions, crystals.properties)
    lowest = np.where(wanted & ranked, _bounding_scores(scores, deviations, settings.acquisition), -np.inf)
    if uses_stability(settings):
        usable = np.where(np.isnan(predictions.stability), 1.0, predictions.stability)
        lowest = np.where(lowest > 0, lowest * usable, lowest)
    count = _RESERVE * settings.batch_size * settings.pruning.every
    bound = np.sort(lowest)[-count] if count <= n else -np.inf
    highest = scores + settings.pruning.margin * deviations
    return np.flatnonzero(wanted & ~(highest < bound))


def _bounding_scores(mean: np.ndarray, std: np.ndarray, settings: AcquisitionSettings) -> np.ndarray:
    """Return the lowest score (n,) that each row can have as a candidate: μ − κσ for cautious, μ for the others.

    A row without a standard deviation is no candidate of a function that needs it: its score is −∞.

    :param mean: (n,) figure of merit
    :param std: (n,) its standard deviation, NaN if unknown
    """
    if not acquisition(settings.name).needs_std:
        return mean
    lowest = mean - settings.kappa * std if settings.name == 'cautious' else mean
    return np.where(np.isnan(std), -np.inf, lowest)


def predict_all_first(picks: Picks, number: int, stop: Stop | None) -> bool:
    """Return whether all crystals are to be predicted, and the batch to be picked again.

    That is so if the batch from a pruned pool is not full, or if its candidates would stop the campaign: crystals that
    were left out may be candidates. The final ranking needs predictions of all crystals in any case.

    :param picks: from a pruned pool
    :param number: size of the batch
    :param stop: rule that stops the campaign with these candidates
    """
    return stop is not None or len(picks.rows) < number
