"""Summary of a history for reports: each round in numbers, the best picks, the failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aiida_goectp.core.selection.history import OUTCOMES, History, PickRecord, Round

__all__ = ('VerifiedPick', 'best_verified', 'not_accepted', 'summarise_rounds')


class VerifiedPick(NamedTuple):
    """A pick, and the round that picked it."""

    round: int
    pick: PickRecord


def summarise_rounds(history: History) -> Iterator[dict[str, Any]]:
    """Yield for each round the number of picks by outcome, the accuracy of the predictions, and the retraining.

    ``best`` is the highest verified value so far, ``error`` the mean |predicted − verified| / |verified| of the round,
    ``coverage`` the fraction of its labels within the 90 % interval of the prediction; None without labels.
    ``stability`` is the mean predicted probability of stability of its picks; None if the model gives none.
    """
    best: VerifiedPick | None = None
    for item in history.rounds:
        labelled = [VerifiedPick(item.number, pick) for pick in item.picks if pick.value is not None]
        best = max([*([best] if best else []), *labelled], key=_value, default=None)
        yield {
            'round': item.number,
            'picks': len(item.picks),
            **{outcome: sum(pick.outcome == outcome for pick in item.picks) for outcome in OUTCOMES},
            'best': None if best is None else best.pick.value,
            'best_id': None if best is None else best.pick.id,
            **_accuracy(item),
            'stability': _mean([pick.stability for pick in item.picks if pick.stability is not None]),
            'candidates': None if item.outlook is None else item.outlook.candidates,
            'model': item.model_hash,
            'retrained': item.retrained,
            'adopted': item.adopted,
            'why': item.retraining_reason,
            'metrics': dict(item.metrics),
            'core_hours': item.core_hours + sum(pick.core_hours for pick in item.picks),
        }


def _value(one: VerifiedPick) -> float:
    return one.pick.value if one.pick.value is not None else float('-inf')


def _accuracy(item: Round) -> dict[str, float | None]:
    """Return mean relative error and coverage of the predictions of a round."""
    errors = [abs(error) for pick in item.picks if (error := pick.relative_error) is not None]
    covered = [within for pick in item.picks if (within := pick.within_interval) is not None]
    return {
        'error': _mean(errors),
        'coverage': _mean(covered),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def best_verified(history: History, number: int | None = None) -> list[VerifiedPick]:
    """Return the picks with the highest verified values, best first; equal values are ordered by content hash.

    :param number: maximum number of picks, all if not given
    """
    found = [
        VerifiedPick(item.number, pick) for item in history.rounds for pick in item.picks if pick.value is not None
    ]
    return sorted(found, key=lambda one: (-_value(one), one.pick.hash))[:number]


def not_accepted(history: History) -> list[VerifiedPick]:
    """Return the picks without a value of the figure of merit, in the order of the rounds."""
    return [VerifiedPick(item.number, pick) for item in history.rounds for pick in item.picks if pick.value is None]
