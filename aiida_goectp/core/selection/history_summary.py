"""What a history comes to: each round in numbers, the best that was found, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from aiida_goectp.core.dielectric.coverage import INTERVAL
from aiida_goectp.core.selection.history import History, PickRecord, Round

__all__ = ('VerifiedPick', 'best_verified', 'not_accepted', 'relative_error', 'summarise_rounds')


class VerifiedPick(NamedTuple):
    """A pick with a label, and the round that picked it."""

    round: int
    pick: PickRecord


def relative_error(pick: PickRecord) -> float | None:
    """Return (predicted − verified) / verified; None without a label, or of one that is zero."""
    return (pick.mean - pick.value) / pick.value if pick.value else None


def summarise_rounds(history: History) -> Iterator[dict[str, Any]]:
    """Yield for each round how many picks came to what, how good the predictions were, what the retraining gave.

    ``best`` is the highest verified value so far; ``error`` the mean |predicted − verified| / |verified| of the round;
    ``coverage`` the share of its labels within the stated 90 % interval; None where there is nothing to say.
    """
    best: VerifiedPick | None = None
    for item in history.rounds:
        labelled = [VerifiedPick(item.number, pick) for pick in item.picks if pick.value is not None]
        best = max([*([best] if best else []), *labelled], key=_value, default=None)
        yield {
            'round': item.number,
            'picks': len(item.picks),
            **{name: _count(item, name) for name in ('accepted', 'electronic-only', 'refused', 'failed', 'unfinished')},
            'best': None if best is None else best.pick.value,
            'best_id': None if best is None else best.pick.id,
            **_judged(item),
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


def _count(item: Round, outcome: str) -> int:
    return sum(pick.outcome == outcome for pick in item.picks)


def _judged(item: Round) -> dict[str, float | None]:
    """Return how good the predictions of the picks of a round were."""
    errors = [abs(error) for pick in item.picks if (error := relative_error(pick)) is not None]
    stated = [(pick, pick.std) for pick in item.picks if pick.value is not None and pick.std is not None]
    held = [abs(pick.mean - (pick.value or 0.0)) <= INTERVAL * std for pick, std in stated]
    return {
        'error': sum(errors) / len(errors) if errors else None,
        'coverage': sum(held) / len(held) if held else None,
    }


def best_verified(history: History, number: int | None = None) -> list[VerifiedPick]:
    """Return the picks with the highest verified values, best first; ties by content.

    :param number: how many at most, all if not given
    """
    found = [
        VerifiedPick(item.number, pick) for item in history.rounds for pick in item.picks if pick.value is not None
    ]
    return sorted(found, key=lambda one: (-_value(one), one.pick.hash))[:number]


def not_accepted(history: History) -> list[VerifiedPick]:
    """Return the picks without a label that can be used for the figure of merit, in the order of the rounds."""
    return [VerifiedPick(item.number, pick) for item in history.rounds for pick in item.picks if pick.value is None]
