"""Plan of a campaign as text."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from aiida import orm

from aiida_goectp.cli.campaign.plan import Plan, candidates
from aiida_goectp.cli.cells import remark_on_cells
from aiida_goectp.core.formats.functionals import trained_as
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.selection import PickSettings, RetrainingPolicy, StopRules
from aiida_goectp.core.selection.picking import uses_stability

__all__ = ('plan_items', 'plan_text')

_MAX_ARGUMENT = 60
"""characters of an argument of the engine"""
_MAX_CELLS = 50
"""candidates whose cells are compared with their primitive ones"""


def plan_text(plan: Plan) -> str:
    """Return candidates, budget, trainings and stop rules of a plan, one line each."""
    return '\n'.join(f'  {name:<12} {text}' for name, text in plan_items(plan).items())


def plan_items(plan: Plan) -> dict[str, str]:
    """Return candidates, budget, trainings and stop rules of a plan by name."""
    builder = plan.builder
    picking = read_settings(PickSettings, builder.picking.get_dict(), 'picking')
    rules = read_settings(StopRules, builder.stop_rules.get_dict(), 'stop_rules')
    policy = read_settings(RetrainingPolicy, builder.retraining.get_dict(), 'retraining')
    epochs = TrainSettings(**builder.train['goectp']['settings'].get_dict()).epochs
    passes, known = candidates(builder)
    left = int((passes & ~known).sum())
    get = builder.dataset.base.attributes.get
    split = f'split {builder.split.value}' if builder.split is not None else 'new split by formula'
    labels = f', {len(builder.labels)} further labels (node {builder.labels.pk})' if builder.labels is not None else ''
    if 'model' in plan.found:
        card = plan.found['model'].node.card
        model = f'{card.name} ({plan.found["model"].origin}){_other_functional(card.functional, get("functionals"))}'
        if warning := plan.warning:
            model += f'; warning: {warning}'
    else:
        model = f'trained on the dataset, {policy.folds} members, {epochs} epochs'
    arguments = ', '.join(f'{name} {_argument(value)}' for name, value in sorted(dict(builder.dfpt).items()))
    return {
        'pool': f'{len(builder.pool)} crystals ({plan.found["pool"].origin}), {int(passes.sum())} pass the filters, '
        f'{int((passes & known).sum())} of these known, {left} candidates{_cells(builder, passes & ~known)}',
        'objective': f'{picking.figure_of_merit}, acquisition {picking.acquisition.name}{_weight(plan, picking)}',
        'dataset': f'{len(builder.dataset)} rows ({plan.found["dataset"].origin}), {get("trainable")} trainable, '
        f'{", ".join(get("functionals"))}, {split}{labels}',
        'model': model,
        'DFPT': f'{builder.engine.value}, {arguments or "no arguments"}, {builder.max_concurrent.value} at a time',
        'budget': _budget(rules, picking.batch_size, left),
        'retraining': _retraining(policy, epochs),
        'stop rules': ', '.join(f'{key} {_value(rule)}' for key, rule in rules.model_dump(exclude_none=True).items()),
    }


def _cells(builder: Any, candidate: np.ndarray) -> str:
    """Return a remark about the cells of the first candidates, empty if they are primitive."""
    pool = builder.pool.crystals
    remark = remark_on_cells(pool[row] for row in np.flatnonzero(candidate)[:_MAX_CELLS].tolist())
    return f'; {remark}' if remark else ''


def _other_functional(predicted: str, found: Collection[str]) -> str:
    """Return a warning if no label has a functional of the model; empty otherwise.

    Such a model is valid to start with: it is fine-tuned on the labels.
    """
    if trained_as(found, re.split(r', (?![^()]*\))', predicted)):  # not at commas between values of U
        return ''
    return f'; warning: it predicts {predicted}, the labels are of {", ".join(found)}'


def _weight(plan: Plan, picking: PickSettings) -> str:
    """Return whether the model to start with gives probabilities that weight the scores."""
    model = plan.found['model'].node.card if 'model' in plan.found else None
    weighted = model is not None and model.gives_stability and uses_stability(picking)
    return ', weighted by the probability of stability' if weighted else ''


def _argument(value: Any) -> str:
    """Return an argument of the engine in one line."""
    if isinstance(value, orm.AbstractCode):
        return str(value.full_label)
    plain = value.value if hasattr(value, 'value') else getattr(value, 'get_dict', lambda: value)()
    text = str(plain)
    return text if len(text) <= _MAX_ARGUMENT else f'{text[: _MAX_ARGUMENT - 1]}…'


def _budget(rules: StopRules, batch: int, left: int) -> str:
    """Return the maximum number of calculations, and the core-hours."""
    bounds = [left]
    if rules.max_rounds is not None:
        bounds.append(rules.max_rounds * batch)
    if rules.max_calculations is not None:
        bounds.append(rules.max_calculations)
    text = f'at most {min(bounds)} calculations in rounds of {batch}'
    return text if rules.max_core_hours is None else f'{text}, and {rules.max_core_hours:g} core-hours'


def _retraining(policy: RetrainingPolicy, epochs: int) -> str:
    when = []
    if policy.every_labels is not None:
        when.append(f'after {policy.every_labels} new labels')
    if policy.every_rounds is not None:
        when.append('after each round' if policy.every_rounds == 1 else f'every {policy.every_rounds} rounds')
    if not when:
        return 'never'
    mode = 'fine-tuning' if policy.mode == 'fine-tune' else 'from scratch'
    return f'{" or ".join(when)}, {mode}, {policy.folds} members, {epochs} epochs'


def _value(rule: Any) -> str:
    if isinstance(rule, Mapping):
        return '(' + ', '.join(f'{key} {_value(item)}' for key, item in rule.items()) + ')'
    return f'{rule:g}'
