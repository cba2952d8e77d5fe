"""Retraining: when, from which weights, and whether the new model replaces the old."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import Settings
from aiida_goectp.core.selection.diversity import composition
from aiida_goectp.core.selection.history import History

__all__ = (
    'FOLDS',
    'FROM_LABELS',
    'HOLD_OUT',
    'Comparison',
    'RetrainingDecision',
    'RetrainingPolicy',
    'RetrainingResult',
    'assign_folds',
    'compare_models',
    'decide_retraining',
)

HOLD_OUT, FOLDS = 'hold-out', 'new labels'
"""names of the sets of rows on which models are compared"""


class RetrainingPolicy(Settings):
    """When to retrain, how, and what a new model must prove."""

    mode: Literal['fine-tune', 'scratch'] = Field(
        default='fine-tune', description='go on from the weights in use, or from random ones'
    )
    every_rounds: int | None = Field(default=1, ge=1, description='null: the number of rounds does not matter')
    every_labels: int | None = Field(
        default=None, ge=1, description='as soon as there are that many new labels; null: their number does not matter'
    )
    scratch_every: int | None = Field(
        default=None, ge=1, description='of fine-tuned models, each that many-th is trained from scratch instead'
    )
    tolerance: float = Field(
        default=0.02, ge=0, description='by which share the mean error may be larger and yet count as not worse'
    )
    standard_errors: float = Field(
        default=2.0, ge=0, description='by how many standard errors of the mean difference it may be larger'
    )
    folds: int = Field(default=5, ge=2, description='into which the new labels are dealt for the comparison')


FROM_LABELS = RetrainingPolicy(mode='scratch')
"""of a campaign whose models know nothing but its labels"""


class RetrainingDecision(NamedTuple):
    """Whether to retrain now."""

    retrain: bool
    mode: Literal['fine-tune', 'scratch']
    reason: str


def decide_retraining(history: History, policy: RetrainingPolicy) -> RetrainingDecision:
    """Return whether the round that was verified last is followed by a retraining.

    Rounds and labels count from the last retraining, adopted or not: a model that failed once is not trained on the
    same labels again. Without a new label there is nothing to learn.
    """
    past = [place for place, item in enumerate(history.rounds) if item.retrained]
    since = history.rounds[past[-1] + 1 :] if past else history.rounds
    rounds, labels = len(since), sum(item.labels for item in since)
    mode = policy.mode
    if policy.scratch_every is not None and (len(past) + 1) % policy.scratch_every == 0:
        mode = 'scratch'
    if not labels:
        return RetrainingDecision(False, mode, 'no new label since the last training')
    if policy.every_labels is not None and labels >= policy.every_labels:
        return RetrainingDecision(True, mode, f'{labels} new labels, {policy.every_labels} are enough')
    if policy.every_rounds is not None and rounds >= policy.every_rounds:
        return RetrainingDecision(
            True, mode, f'{rounds} {_rounds(rounds)} with {labels} new labels since the last training'
        )
    waits = []
    if policy.every_labels is not None:
        waits.append(f'{policy.every_labels} labels')
    if policy.every_rounds is not None:
        waits.append(f'{policy.every_rounds} {_rounds(policy.every_rounds)}')
    return RetrainingDecision(
        False, mode, f'{labels} new labels in {rounds} {_rounds(rounds)}; retraining waits for {_either(waits)}'
    )


def _rounds(number: int) -> str:
    return 'round' if number == 1 else 'rounds'


def _either(waits: list[str]) -> str:
    return ' or '.join(waits) or 'nothing: the policy never retrains'


class Comparison(NamedTuple):
    """Errors of two models on the same rows."""

    rows: int
    old: float
    """mean error"""
    new: float
    allowed: float
    """largest mean error of the new model that counts as not worse"""
    worse: bool
    lost: int
    """rows that the old model predicts and the new one cannot"""


class RetrainingResult(NamedTuple):
    """Whether the new model replaces the old."""

    replace: bool
    reason: str
    comparisons: Mapping[str, Comparison]


def compare_models(
    old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray] | None, policy: RetrainingPolicy, failure: str = ''
) -> RetrainingResult:
    """Say whether a new model replaces the old: it must not be worse on any set of rows.

    Not worse is a mean error of at most the old one plus the larger of ``tolerance`` times the old one and
    ``standard_errors`` standard errors of the mean of the differences, row by row. A row that the old model predicts
    and the new one does not makes it worse; rows that the old one cannot predict are left out.

    :param old: name of the set (``hold-out``, ``new labels``) → (n,) absolute errors, NaN where there is no
        prediction. The new labels are those of the old model before it saw them
    :param new: the same of the new model; for the new labels, of models that were trained without the fold of the row.
        None if the training failed
    :param failure: why the training failed, in words
    :raises FormatError: sets of different names or lengths, or nothing to compare by
    """
    if new is None:
        return RetrainingResult(
            False, f'the old model stays: the retraining failed{f" ({failure})" if failure else ""}', {}
        )
    if set(old) != set(new) or not old:
        raise FormatError(
            f'comparison of models: errors on {_names(old)} against {_names(new)}; give both models the same sets, '
            'one at least'
        )
    found = {name: _compare(name, old[name], new[name], policy) for name in sorted(old)}
    if not any(item.rows for item in found.values()):
        raise FormatError('comparison of models: no row that the old model predicts; give labelled rows to compare by')
    worse = [name for name, item in found.items() if item.worse]
    if worse:
        said = '; '.join(f'worse on the {_said(name, found[name])}' for name in worse)
        return RetrainingResult(False, f'the old model stays: the new one is {said}', found)
    said = '; '.join(_said(name, item) for name, item in found.items() if item.rows)
    return RetrainingResult(True, f'the new model replaces the old, not being worse: {said}', found)


def _names(sets: Mapping[str, np.ndarray]) -> str:
    return ', '.join(sorted(sets)) or 'nothing'


def _compare(name: str, old: np.ndarray, new: np.ndarray, policy: RetrainingPolicy) -> Comparison:
    before, after = np.asarray(old, dtype=np.float64), np.asarray(new, dtype=np.float64)
    if before.ndim != 1 or before.shape != after.shape:
        raise FormatError(f'comparison of models: {name} has {before.shape} old and {after.shape} new errors')
    if (before < 0).any() or (after < 0).any():
        raise FormatError(f'comparison of models: {name} has a negative error; give absolute ones')
    known = np.isfinite(before)
    lost = int(np.count_nonzero(known & ~np.isfinite(after)))
    both = known & np.isfinite(after)
    if not both.any():
        return Comparison(int(known.sum()), float('nan'), float('nan'), float('nan'), lost > 0, lost)
    difference = after[both] - before[both]
    mean, count = float(before[both].mean()), int(both.sum())
    noise = float(difference.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    allowed = mean + max(policy.tolerance * mean, policy.standard_errors * noise)
    return Comparison(
        count, mean, float(after[both].mean()), allowed, lost > 0 or float(difference.mean()) > allowed - mean, lost
    )


def _said(name: str, item: Comparison) -> str:
    lost = f', {item.lost} rows without prediction' if item.lost else ''
    return f'{name}: mean error {item.new:.4g} after {item.old:.4g} (up to {item.allowed:.4g}, {item.rows} rows{lost})'


def assign_folds(crystals: CrystalSet, count: int, seed: int = 0) -> np.ndarray:
    """Return the fold of each crystal (n,), from 0; all crystals of one reduced formula are in one fold.

    It hangs on the crystals and the seed, not on the order of the rows. Large formulas are dealt first, each to the
    fold that holds fewest; with fewer formulas than folds, some folds stay empty.

    :raises FormatError: fewer than two folds, or a negative seed
    """
    if count < 2:
        raise FormatError(f'{count} folds: give two or more')
    if seed < 0:
        raise FormatError(f'seed {seed}: give zero or more')
    formulas = [composition(crystal) for crystal in crystals]
    distinct = sorted(set(formulas))
    chance = dict(zip(distinct, np.random.default_rng(seed).random(len(distinct)).tolist(), strict=True))
    sizes = Counter(formulas)
    filled, folds = [0] * count, {}
    for name in sorted(distinct, key=lambda name: (-sizes[name], chance[name])):
        folds[name] = filled.index(min(filled))
        filled[folds[name]] += sizes[name]
    return np.array([folds[name] for name in formulas], dtype=np.int64)
