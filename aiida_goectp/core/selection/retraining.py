"""Retraining: when it is due, from which weights, and whether the new model replaces the old one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import Settings
from aiida_goectp.core.selection.history import History

__all__ = (
    'FOLDS',
    'FROM_LABELS',
    'HOLD_OUT',
    'Comparison',
    'DecisionCode',
    'RetrainingDecision',
    'RetrainingPolicy',
    'RetrainingResult',
    'compare_models',
    'decide_retraining',
)

HOLD_OUT, FOLDS = 'hold-out', 'new labels'
"""names of the sets of rows on which models are compared"""


class RetrainingPolicy(Settings):
    """When and how to retrain, and how much worse a new model may be."""

    mode: Literal['fine-tune', 'scratch'] = Field(
        default='fine-tune', description='start from the weights in use, or from random ones'
    )
    every_rounds: int | None = Field(default=1, ge=1, description='retrain after this number of rounds; null: never')
    every_labels: int | None = Field(
        default=None, ge=1, description='retrain as soon as there are this many new labels; null: never'
    )
    scratch_every: int | None = Field(
        default=None, ge=1, description='in fine-tune mode, train every n-th model from scratch'
    )
    tolerance: float = Field(
        default=0.02, ge=0, description='relative increase of the mean error that counts as not worse'
    )
    standard_errors: float = Field(
        default=2.0, ge=0, description='increase in standard errors of the mean difference that counts as not worse'
    )
    folds: int = Field(default=5, ge=2, description='number of folds of the new labels, and of committee members')


FROM_LABELS = RetrainingPolicy(mode='scratch')
"""policy of a campaign without a starting model"""


class DecisionCode(Enum):
    """Why a retraining is due or not."""

    NO_NEW_LABEL = 'no_new_label'
    NO_NEW_ROW = 'no_new_row'
    """the labels add nothing to the rows of the training"""
    ENOUGH_LABELS = 'enough_labels'
    ENOUGH_ROUNDS = 'enough_rounds'
    WAITING = 'waiting'
    NO_TRAINING = 'no_training'
    """the campaign has no inputs of a training"""


class RetrainingDecision(NamedTuple):
    """Whether a retraining is due."""

    code: DecisionCode
    policy: RetrainingPolicy
    mode: Literal['fine-tune', 'scratch']
    labels: int
    """new labels since the last training"""
    rounds: int
    """rounds since the last training"""

    @property
    def retrain(self) -> bool:
        """Whether to retrain now."""
        return self.code in (DecisionCode.ENOUGH_LABELS, DecisionCode.ENOUGH_ROUNDS)

    @property
    def reason(self) -> str:
        """Text of code and numbers."""
        rounds = _rounds(self.rounds)
        if self.code is DecisionCode.NO_NEW_LABEL:
            return 'no new label since the last training'
        if self.code is DecisionCode.NO_NEW_ROW:
            return (
                f'{self.labels} new labels in {rounds}, none of which enters the training: crystals or formulas of the '
                'hold-out, refused responses, or another functional'
            )
        if self.code is DecisionCode.NO_TRAINING:
            return 'no inputs of a training were given'
        if self.code is DecisionCode.ENOUGH_LABELS:
            return f'{self.labels} new labels, {self.policy.every_labels} are enough'
        if self.code is DecisionCode.ENOUGH_ROUNDS:
            return f'{rounds} with {self.labels} new labels since the last training'
        limits = []
        if self.policy.every_labels is not None:
            limits.append(f'{self.policy.every_labels} labels')
        if self.policy.every_rounds is not None:
            limits.append(_rounds(self.policy.every_rounds))
        due = f'retraining is due after {" or ".join(limits)}' if limits else 'the policy disables retraining'
        return f'{self.labels} new labels in {rounds}; {due}'


def decide_retraining(history: History, policy: RetrainingPolicy, new_labels: int | None = None) -> RetrainingDecision:
    """Return whether a retraining follows the last round.

    Rounds and labels count from the last retraining, adopted or not: a training is not repeated with the same labels.
    Without a new label, or if no new label enters the training, it is not due.

    :param new_labels: number of training rows with a label that the last training lacked, see
        :func:`.folds.count_new_labels`; None if it is not known
    """
    trained = [place for place, item in enumerate(history.rounds) if item.retrained]
    since = history.rounds[trained[-1] + 1 :] if trained else history.rounds
    rounds, labels = len(since), sum(item.labels for item in since)
    mode = policy.mode
    if policy.scratch_every is not None and (len(trained) + 1) % policy.scratch_every == 0:
        mode = 'scratch'
    if not labels:
        code = DecisionCode.NO_NEW_LABEL
    elif new_labels == 0:
        code = DecisionCode.NO_NEW_ROW
    elif policy.every_labels is not None and labels >= policy.every_labels:
        code = DecisionCode.ENOUGH_LABELS
    elif policy.every_rounds is not None and rounds >= policy.every_rounds:
        code = DecisionCode.ENOUGH_ROUNDS
    else:
        code = DecisionCode.WAITING
    return RetrainingDecision(code, policy, mode, labels, rounds)


def _rounds(number: int) -> str:
    return f'{number} round' if number == 1 else f'{number} rounds'


class Comparison(NamedTuple):
    """Errors of two models on the same rows."""

    rows: int
    old: float
    """mean error of the old model"""
    new: float
    """mean error of the new model"""
    allowed: float
    """largest mean error of the new model that counts as not worse; NaN if there are too few rows to decide"""
    worse: bool
    lost: int
    """rows with a prediction of the old model and without one of the new model"""

    @property
    def text(self) -> str:
        """The numbers as text."""
        lost = f', {self.lost} rows without prediction' if self.lost else ''
        if self.rows == 1 and math.isnan(self.allowed):
            return f'error {self.new:.4g} after {self.old:.4g} (1 row, too few to decide{lost})'
        return f'mean error {self.new:.4g} after {self.old:.4g} (up to {self.allowed:.4g}, {self.rows} rows{lost})'


class RetrainingResult(NamedTuple):
    """Whether the new model replaces the old one."""

    replace: bool
    comparisons: Mapping[str, Comparison]
    """by set of rows; empty if the training failed"""
    failure: str = ''
    """why the training failed"""

    @property
    def reason(self) -> str:
        """Text of the comparisons, or of the failure."""
        if not self.replace and self.comparisons and not any(item.worse for item in self.comparisons.values()):
            sets = [f'{name}: {item.text}' for name, item in self.comparisons.items() if item.rows]
            return '; '.join(['the old model stays: no set of rows can decide', *sets])
        if not self.comparisons:
            return f'the old model stays: the retraining failed{f" ({self.failure})" if self.failure else ""}'
        if self.replace:
            sets = [f'{name}: {item.text}' for name, item in self.comparisons.items() if item.rows]
            return f'the new model replaces the old one and is not worse: {"; ".join(sets)}'
        sets = [f'worse on the {name}: {item.text}' for name, item in self.comparisons.items() if item.worse]
        return f'the old model stays: the new one is {"; ".join(sets)}'


def compare_models(
    old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray] | None, policy: RetrainingPolicy, failure: str = ''
) -> RetrainingResult:
    """Return whether a new model replaces the old one: not worse on a set of rows that decides, and worse on none.

    Not worse is a mean error of at most that of the old model plus the larger of ``tolerance`` times that error and
    ``standard_errors`` standard errors of the mean of the differences, row by row. A single row has no standard error:
    unless ``standard_errors`` is zero, its error does not decide. If no set decides, also because all are empty, the
    old model stays: later labels are added to the new ones, until there are two. A row with a prediction of the old
    model and without one of the new model makes the new one worse; rows without a prediction of the old model do not
    count.

    :param old: name of the set (:data:`HOLD_OUT`, :data:`FOLDS`) → (n,) absolute errors of the old model, NaN without
        a prediction; on new labels, the mean of those of its members before they were trained on them
    :param new: the same of the new model; on new labels, of the member that was trained without the fold of the row.
        None if the training failed
    :param failure: why the training failed
    :raises FormatError: sets of different names or lengths, or rows none of which has a prediction of the old model
    """
    if new is None:
        return RetrainingResult(False, {}, failure)
    if set(old) != set(new) or not old:
        raise FormatError(
            f'comparison of models: errors on {_names(old)} and on {_names(new)}; give both models the same sets, '
            'at least one'
        )
    found = {name: _compare(name, old[name], new[name], policy) for name in sorted(old)}
    if any(len(errors) for errors in old.values()) and not any(item.rows for item in found.values()):
        raise FormatError('comparison of models: no row with a prediction of the old model; give labelled rows')
    decided = any(item.rows and not math.isnan(item.allowed) for item in found.values())
    return RetrainingResult(decided and not any(item.worse for item in found.values()), found)


def _names(sets: Mapping[str, np.ndarray]) -> str:
    return ', '.join(sorted(sets)) or 'nothing'


def _compare(name: str, old: np.ndarray, new: np.ndarray, policy: RetrainingPolicy) -> Comparison:
    before, after = np.asarray(old, dtype=np.float64), np.asarray(new, dtype=np.float64)
    if before.ndim != 1 or before.shape != after.shape:
        raise FormatError(f'comparison of models: {name} has {before.shape} old and {after.shape} new errors')
    if (before < 0).any() or (after < 0).any():
        raise FormatError(f'comparison of models: {name} has a negative error; give absolute errors')
    known = np.isfinite(before)
    lost = int(np.count_nonzero(known & ~np.isfinite(after)))
    both = known & np.isfinite(after)
    if not both.any():
        return Comparison(int(known.sum()), float('nan'), float('nan'), float('nan'), lost > 0, lost)
    difference = after[both] - before[both]
    mean, count = float(before[both].mean()), int(both.sum())
    noise = 0.0
    if policy.standard_errors:
        noise = float(difference.std(ddof=1) / np.sqrt(count)) if count > 1 else float('nan')
    allowed = mean + float(np.maximum(policy.tolerance * mean, policy.standard_errors * noise))  # NaN if one is
    return Comparison(
        count, mean, float(after[both].mean()), allowed, lost > 0 or float(difference.mean()) > allowed - mean, lost
    )
