"""Stop rules of a campaign."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field, model_validator

from aiida_goectp.core.formats.settings import Settings
from aiida_goectp.core.selection.history import CandidateSummary, History

__all__ = ('CalibratedError', 'StableTop', 'Stop', 'StopRules', 'Threshold', 'allowed_picks', 'should_stop')


class CalibratedError(Settings):
    """Stop when the predictions of the picks are accurate and calibrated."""

    error: float = Field(gt=0, description='largest mean |predicted − verified| / |verified| of the picks')
    coverage: float = Field(
        default=0.8, ge=0, le=1, description='smallest fraction of picks within their stated 90 % interval; 0 for any'
    )
    rounds: int = Field(default=2, ge=1, description='number of last rounds whose picks are evaluated')
    min_labels: int = Field(default=5, ge=1, description='smallest number of verified picks in these rounds')


class StableTop(Settings):
    """Stop when the set of the best verified crystals remains the same."""

    k: int = Field(default=10, ge=1, description='number of best crystals')
    rounds: int = Field(default=3, ge=1, description='number of consecutive rounds with labels and without a change')


class Threshold(Settings):
    """Stop when no candidate is predicted to reach a value."""

    value: float = Field(description='figure of merit')
    kappa: float = Field(default=1.0, ge=0, description='standard deviations added to the mean of a candidate')


class StopRules(Settings):
    """Stop rules; the first that is met ends the campaign, as does the lack of candidates."""

    max_rounds: int | None = Field(default=10, ge=0, description='maximum number of rounds')
    max_calculations: int | None = Field(
        default=None, ge=0, description='maximum number of DFPT calculations; failed ones count, reused results do not'
    )
    max_core_hours: float | None = Field(default=None, ge=0, description='maximum core-hours of all rounds and picks')
    calibrated_error: CalibratedError | None = Field(
        default=None,
        description='`error`, `coverage`, `rounds`, `min_labels`: predictions of the picks are accurate and calibrated',
    )
    stable_top: StableTop | None = Field(
        default=None, description='`k`, `rounds`: the set of the best verified crystals remains the same'
    )
    threshold: Threshold | None = Field(
        default=None, description='`value`, `kappa`: no candidate is predicted to reach the value'
    )

    @model_validator(mode='after')
    def _check_budget(self) -> StopRules:
        if self.max_rounds is None and self.max_calculations is None and self.max_core_hours is None:
            raise ValueError('no budget is set; give max_rounds, max_calculations or max_core_hours')
        return self

    @property
    def kappa(self) -> float:
        """Standard deviations in :attr:`.CandidateSummary.best`."""
        return self.threshold.kappa if self.threshold is not None else 0.0


class Stop(NamedTuple):
    """The rule that ends a campaign."""

    rule: str
    """name of a field of :class:`StopRules`, or ``no_candidates``"""
    reason: str
    """text with the numbers"""


def should_stop(
    history: History, rules: StopRules, candidates: CandidateSummary | None = None, *, spent: float = 0.0
) -> Stop | None:
    """Return the first rule that is met, None if no rule is.

    To be called before a round is started, after its predictions, and again when its candidates are known.

    :param candidates: those that are left; without them, the rules on candidates are not evaluated
    :param spent: core-hours that the history does not contain yet, as those of the predictions of this round
    """
    return (
        _budget(history, rules, spent)
        or _calibrated_error(history, rules.calibrated_error)
        or _stable_top(history, rules.stable_top)
        or _candidates(history, rules.threshold, candidates)
    )


def allowed_picks(history: History, rules: StopRules, batch_size: int) -> int:
    """Return the batch size, limited by the number of calculations that are left."""
    if rules.max_calculations is None:
        return batch_size
    return max(0, min(batch_size, rules.max_calculations - history.calculations))


def _budget(history: History, rules: StopRules, spent: float) -> Stop | None:
    rounds, calculations, hours = len(history.rounds), history.calculations, history.core_hours + spent
    if rules.max_rounds is not None and rounds >= rules.max_rounds:
        return Stop('max_rounds', f'{rounds} rounds are done, {rules.max_rounds} were allowed')
    if rules.max_calculations is not None and calculations >= rules.max_calculations:
        return Stop('max_calculations', f'{calculations} calculations are done, {rules.max_calculations} were allowed')
    if rules.max_core_hours is not None and hours >= rules.max_core_hours:
        return Stop('max_core_hours', f'{hours:.4g} core-hours are spent, {rules.max_core_hours:g} were allowed')
    return None


def _calibrated_error(history: History, rule: CalibratedError | None) -> Stop | None:
    if rule is None or len(history.rounds) < rule.rounds:
        return None
    picks = [pick for item in history.rounds[-rule.rounds :] for pick in item.picks if pick.value is not None]
    errors = [abs(error) for pick in picks if (error := pick.relative_error) is not None]
    if len(errors) < rule.min_labels:
        return None
    error = sum(errors) / len(errors)
    # a pick without a standard deviation counts as outside of its interval
    within = [pick.within_interval for pick in picks]
    coverage = within.count(True) / len(picks)
    if error > rule.error or coverage < rule.coverage:
        return None
    covered = '' if set(within) == {None} else f'; {coverage:.0%} of them are within their 90 % intervals'
    return Stop(
        'calibrated_error',
        f'the mean relative error of the {len(errors)} verified picks of the last {rule.rounds} rounds is '
        f'{error:.3g}, at most {rule.error:g} is required{covered}',
    )


def _stable_top(history: History, rule: StableTop | None) -> Stop | None:
    if rule is None:
        return None
    verified = [item for item in history.rounds if any(pick.value is not None for pick in item.picks)]
    if len(verified) <= rule.rounds:
        return None
    tops = [item.top[: rule.k] for item in verified[-rule.rounds - 1 :]]
    if len(tops[-1]) < rule.k or any(set(top) != set(tops[-1]) for top in tops):
        return None
    return Stop(
        'stable_top', f'the {rule.k} best verified crystals have not changed in {rule.rounds} rounds with labels'
    )


def _candidates(history: History, rule: Threshold | None, candidates: CandidateSummary | None) -> Stop | None:
    if candidates is None:
        return None
    if not candidates.candidates:
        return Stop('no_candidates', 'no candidate is left')
    if rule is None or candidates.best is None or candidates.best >= rule.value:
        return None
    most = f'μ + {rule.kappa:g}σ' if rule.kappa else 'μ'
    return Stop(
        'threshold',
        f'none of the {candidates.candidates} candidates left is predicted to reach {history.figure_of_merit} = '
        f'{rule.value:g}: the highest {most} is {candidates.best:.4g}',
    )
