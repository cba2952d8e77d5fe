"""Rounds of the history, made of picks and their outcomes; the seed of a campaign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.tensors import polycrystalline_average
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.history import (
    FAILED,
    LABELLED,
    UNFINISHED,
    CandidateSummary,
    History,
    PickRecord,
    Round,
)
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.merit import figure_of_merit, label_rows
from aiida_goectp.core.selection.picking import PickSettings
from aiida_goectp.core.selection.picks import Picks
from aiida_goectp.core.selection.retraining import RetrainingDecision, RetrainingResult
from aiida_goectp.core.selection.stopping import StopRules

__all__ = ('Outcome', 'retrained_round', 'summarise_candidates', 'verified_round', 'with_seeds')


class Outcome(NamedTuple):
    """Outcome of a pick."""

    outcome: str
    """one of :data:`.history.OUTCOMES`"""
    failure: str = ''
    """why there is no label, or why it is refused"""
    core_hours: float = 0.0
    electronic: np.ndarray | None = None
    """(3, 3) electronic label, None without a label for training"""
    ionic: np.ndarray | None = None
    """(3, 3) ionic label"""
    inconclusive: bool = False
    """whether a failed calculation was interrupted, or all of its round failed, which says nothing about the crystal"""
    submitted: bool = True
    """whether a calculation was started; not for a reused result, a duplicate, or a crystal that the engine refused"""


def with_seeds(settings: PickSettings, seed: int) -> PickSettings:
    """Return the settings with the seed of the campaign for the random acquisition, unless they contain one."""
    if 'seed' in settings.acquisition.model_fields_set:
        return settings
    acquisition = settings.acquisition.model_copy(update={'seed': seed})
    return settings.model_copy(update={'acquisition': acquisition})


def summarise_candidates(picks: Picks, rules: StopRules) -> CandidateSummary:
    """Return the summary of the candidates that the stop rules need."""
    return CandidateSummary(candidates=picks.candidates, best=picks.best(rules.kappa))


def verified_round(
    history: History,
    picks: Picks,
    pool: CrystalSet,
    outcomes: Mapping[str, Outcome],
    dataset: Dataset,
    rules: StopRules,
    core_hours: float = 0.0,
    functionals: Sequence[str] = (),
) -> History:
    """Return the history with a new round of picks and their outcomes, without a decision on retraining.

    The figure of merit of a label is computed with its tensors and with the property columns of the pool, as the band
    gap by which the crystal was ranked. A pick with an inconclusive outcome is unfinished and can be picked again.
    The second time it has failed; otherwise a crystal whose calculation always ends like that would be picked for ever.

    :param outcomes: content hash in the pool → outcome of the pick; a missing pick is unfinished
    :param dataset: with the labels of the round
    :param rules: they define the numbers that are recorded: ``kappa`` of the candidates, length of the top
    :param core_hours: of the predictions in this round
    :param functionals: of the model, see :func:`.known_rows`
    :raises FormatError: a pick that was finished before
    """
    records = []
    inconclusive = {pick.hash for item in history.rounds for pick in item.picks if pick.inconclusive}
    for row in picks.rows.tolist():
        name = str(picks.hashes[row])
        found = outcomes.get(name, Outcome(UNFINISHED))
        if found.inconclusive:
            found = found._replace(outcome=FAILED if name in inconclusive else UNFINISHED)
        std = float(picks.std[row])
        records.append(
            PickRecord(
                id=str(picks.ids[row]),
                hash=name,
                mean=float(picks.mean[row]),
                std=std if np.isfinite(std) else None,
                margin=figure_of_merit(history.figure_of_merit).margin,
                stability=_number(picks.stability[row]),
                reason=str(picks.reason[row]),
                inconclusive=found.inconclusive,
                submitted=found.submitted,
                **_label(found, pool, row, history.figure_of_merit),
            )
        )
    filters = Filters.model_validate(picks.settings['filters'])
    known = KnownCrystals.of_dataset(dataset, history.figure_of_merit, pool, functionals=functionals)
    return history.with_round(
        Round(
            number=len(history.rounds) + 1,
            model_hash=str(picks.settings['model']),
            picks=tuple(records),
            core_hours=core_hours,
            outlook=summarise_candidates(picks, rules),
            top=known.filtered(filters, pool).top(rules.stable_top.k if rules.stable_top is not None else 10),
        )
    )


def _label(found: Outcome, pool: CrystalSet, row: int, merit: str) -> dict[str, Any]:
    """Return the fields of a record that are about the outcome."""
    fields: dict[str, Any] = {'outcome': found.outcome, 'failure': found.failure, 'core_hours': found.core_hours}
    if found.outcome not in LABELLED or found.electronic is None:
        return fields
    nothing = np.full((3, 3), np.nan)
    electronic, ionic = (nothing if part is None else np.asarray(part) for part in (found.electronic, found.ionic))
    figure = figure_of_merit(merit)
    if np.isfinite({'electronic': electronic, 'ionic': ionic, 'total': electronic + ionic}[figure.tensor]).all():
        properties = {name: pool.properties[name][row : row + 1] for name in figure.columns}
        fields['value'] = _number(figure.evaluate(label_rows(electronic[None], ionic[None]), properties)[0])
    fields['electronic'] = _number(polycrystalline_average(electronic))
    fields['ionic'] = _number(polycrystalline_average(ionic))
    return fields


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def retrained_round(
    history: History,
    decision: RetrainingDecision,
    result: RetrainingResult | None = None,
    new_model: str | None = None,
    core_hours: float = 0.0,
    left_out: Mapping[str, int] | None = None,
    trained_on: Mapping[str, int] | None = MappingProxyType({}),
) -> History:
    """Return the history with the decision on retraining in its last round.

    :param decision: whether a retraining was due
    :param result: of the training; None if none was due
    :param new_model: content hash of the trained model
    :param core_hours: of the training
    :param left_out: functional → number of labels that the training could not take
    :param trained_on: set of rows → number left out of the comparison, see :func:`.count_trained_on`; None if unknown
    """
    last = history.rounds[-1]
    if not decision.retrain or result is None:
        return history.with_round(last.model_copy(update={'retraining_reason': decision.reason}))
    metrics: dict[str, float | None] = dict(last.metrics)
    for name, item in result.comparisons.items():
        for field in ('rows', 'old', 'new', 'allowed'):
            metrics[f'{name}: {field}'] = _number(getattr(item, field))
    rest = ''.join(f'; {number} labels of {name} are left out' for name, number in (left_out or {}).items())
    if trained_on is None:
        rest += '; unknown whether the old model was trained on rows of the hold-out, which would favour it'
    for name, number in (trained_on or {}).items():
        if number:
            metrics[f'{name}: left out'] = number
            rest += f'; {number} rows of the {name} are left out, since the old model was trained on them'
    changes = {
        'retrained': True,
        'new_model_hash': new_model,
        'adopted': result.replace,
        'retraining_reason': f'{decision.reason}; {result.reason}{rest}',
        'core_hours': last.core_hours + core_hours,
        'metrics': metrics,
    }
    return history.with_round(last.model_copy(update=changes))
