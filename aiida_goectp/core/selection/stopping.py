"""When a campaign stops: rules, and which of them fired."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field, model_validator

from aiida_goectp.core.dielectric.coverage import INTERVAL
from aiida_goectp.core.formats.settings import Settings
from aiida_goectp.core.selection.history import CandidateSummary, History, PickRecord

__all__ = ('CalibratedError', 'StableTop', 'Stop', 'StopRules', 'Threshold', 'allowed_picks', 'should_stop')


class CalibratedError(Settings):
    """Stop when the model is right about its own picks, and knows how right."""

    error: float = Field(gt=0, description='largest mean |predicted − verified| / |verified| over the picks')
    coverage: float = Field(
        default=0.8, ge=0, le=1, description='least share of picks within their stated 90 % interval; 0 for any'
    )
    rounds: int = Field(default=2, ge=1, description='the picks of the last rounds are judged')
    min_labels: int = Field(default=5, ge=1, description='with fewer verified picks in these rounds nothing is judged')


class StableTop(Settings):
    """Stop when the best that are verified remain the same."""

    k: int = Field(default=10, ge=1, description='so many of the best')
    rounds: int = Field(default=3, ge=1, description='in a row that change nothing among the k best')


class Threshold(Settings):
    """Stop when no candidate is left that may reach a value."""

    value: float = Field(description='of the figure of merit')
    kappa: float = Field(default=1.0, ge=0, description='standard deviations that a candidate may exceed its mean by')


class StopRules(Settings):
    """The first rule that fires ends the campaign; the last candidate ends it in any case."""

    max_rounds: int | None = Field(default=10, ge=0, description='rounds that are done')
    max_calculations: int | None = Field(default=None, ge=0, description='picks sent to DFPT, failed ones included')
    max_core_hours: float | None = Field(default=None, ge=0, description='of all rounds and picks')
    calibrated_error: CalibratedError | None = Field(
        default=None, description='`error`, `coverage`, `rounds`, `min_labels`: the model is right about its own picks'
    )
    stable_top: StableTop | None = Field(
        default=None, description='`k`, `rounds`: the best that are verified remain the same'
    )
    threshold: Threshold | None = Field(
        default=None, description='`value`, `kappa`: no candidate is left that may reach the value'
    )

    @model_validator(mode='after')
    def _ends(self) -> StopRules:
        if self.max_rounds is None and self.max_calculations is None and self.max_core_hours is None:
            raise ValueError('nothing bounds the campaign; give max_rounds, max_calculations or max_core_hours')
        return self

    @property
    def kappa(self) -> float:
        """Standard deviations that :attr:`.Outlook.best` is to be computed with."""
        return self.threshold.kappa if self.threshold is not None else 0.0


class Stop(NamedTuple):
    """The rule that fired."""

    rule: str
    """name of the field of :class:`StopRules`, or ``no_candidates``"""
    reason: str
    """in words, with the numbers"""


def should_stop(history: History, rules: StopRules, outlook: CandidateSummary | None = None) -> Stop | None:
    """Return the first rule that fires, None if the campaign goes on.

    Asked between rounds: before a round is started, and again when its candidates are known.

    :param outlook: what the present model says of what is left; without it, candidates are not judged
    """
    return (
        _budget(history, rules)
        or _calibrated_error(history, rules.calibrated_error)
        or _stable_top(history, rules.stable_top)
        or _candidates(history, rules.threshold, outlook)
    )


def allowed_picks(history: History, rules: StopRules, batch_size: int) -> int:
    """Return how many of a batch the number of calculations still allows."""
    if rules.max_calculations is None:
        return batch_size
    return max(0, min(batch_size, rules.max_calculations - history.calculations))


def _budget(history: History, rules: StopRules) -> Stop | None:
    done = len(history.rounds)
    if rules.max_rounds is not None and done >= rules.max_rounds:
        return Stop('max_rounds', f'{done} rounds are done, {rules.max_rounds} were allowed')
    spent = history.calculations
    if rules.max_calculations is not None and spent >= rules.max_calculations:
        return Stop('max_calculations', f'{spent} calculations are done, {rules.max_calculations} were allowed')
    hours = history.core_hours
    if rules.max_core_hours is not None and hours >= rules.max_core_hours:
        return Stop('max_core_hours', f'{hours:.4g} core-hours are spent, {rules.max_core_hours:g} were allowed')
    return None


def _calibrated_error(history: History, rule: CalibratedError | None) -> Stop | None:
    if rule is None or len(history.rounds) < rule.rounds:
        return None
    picks = [pick for item in history.rounds[-rule.rounds :] for pick in item.picks if pick.value is not None]
    errors = [error for pick in picks if (error := _relative(pick)) is not None]
    if len(errors) < rule.min_labels:
        return None
    error = sum(errors) / len(errors)
    held = [abs(pick.mean - (pick.value or 0.0)) <= INTERVAL * pick.std for pick in picks if pick.std is not None]
    # who states no interval cannot be calibrated, unless nobody asked for it
    coverage = sum(held) / len(picks)
    if error > rule.error or coverage < rule.coverage:
        return None
    said = f', and {coverage:.0%} of them lay in their 90 % intervals' if held else ''
    return Stop(
        'calibrated_error',
        f'over the {len(errors)} verified picks of the last {rule.rounds} rounds the mean relative error is '
        f'{error:.3g}, at most {rule.error:g} was asked for{said}',
    )


def _relative(pick: PickRecord) -> float | None:
    return abs(pick.mean - pick.value) / abs(pick.value) if pick.value else None


def _stable_top(history: History, rule: StableTop | None) -> Stop | None:
    if rule is None or len(history.rounds) <= rule.rounds:
        return None
    tops = [item.top[: rule.k] for item in history.rounds[-rule.rounds - 1 :]]
    if len(tops[-1]) < rule.k or any(set(top) != set(tops[-1]) for top in tops):
        return None
    return Stop('stable_top', f'the {rule.k} best that are verified have not changed in {rule.rounds} rounds')


def _candidates(history: History, rule: Threshold | None, outlook: CandidateSummary | None) -> Stop | None:
    if outlook is None:
        return None
    if not outlook.candidates:
        return Stop('no_candidates', 'no candidate is left')
    if rule is None or outlook.best is None or outlook.best >= rule.value:
        return None
    most = f'μ + {rule.kappa:g}σ' if rule.kappa else 'μ'
    return Stop(
        'threshold',
        f'none of the {outlook.candidates} candidates left may reach {history.figure_of_merit} = {rule.value:g}: the '
        f'best has {most} = {outlook.best:.4g}',
    )
