"""What a campaign would do, in words, before it does anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida_goectp.cli.campaign.plan import Plan, candidates

if TYPE_CHECKING:
    from aiida_goectp.core.selection.retraining import RetrainingPolicy
    from aiida_goectp.core.selection.stopping import StopRules

__all__ = ('plan_text', 'rules_text')


def plan_text(plan: Plan) -> str:
    """Return what would run: pool and candidates, budget, trainings, rules."""
    from aiida_goectp.core.learning.settings import TrainSettings
    from aiida_goectp.core.selection import PickSettings, RetrainingPolicy, StopRules, read_settings

    builder = plan.builder
    picking = read_settings(PickSettings, builder.picking.get_dict(), 'picking')
    rules = read_settings(StopRules, builder.stop_rules.get_dict(), 'stop_rules')
    policy = read_settings(RetrainingPolicy, builder.retraining.get_dict(), 'retraining')
    passes, known = candidates(builder)
    left = int((passes & ~known).sum())
    dataset = builder.dataset
    functionals = dataset.base.attributes.get('functionals')
    split = f'split {builder.split.value}' if builder.split is not None else 'a split by formula is made'
    arguments = ', '.join(f'{name} {_said(value)}' for name, value in sorted(dict(builder.dfpt).items()))
    epochs = TrainSettings(**builder.train['goectp']['settings'].get_dict()).epochs
    lines = {
        'pool': f'{len(builder.pool)} crystals ({plan.found["pool"].origin}), {int(passes.sum())} pass the filters, '
        f'{int((passes & known).sum())} of these are known: {left} candidates',
        'looks for': f'{picking.figure_of_merit}, by {picking.acquisition.name}',
        'dataset': f'{len(dataset)} rows ({plan.found["dataset"].origin}), '
        f'{dataset.base.attributes.get("trainable")} to learn from, of {", ".join(functionals)}, {split}',
        'begins with': _model(plan, policy.folds, epochs),
        'DFPT': f'{builder.engine.value}, {arguments or "no arguments"}; {builder.max_concurrent.value} at a time',
        'budget': _budget(rules, picking.batch_size, left),
        'retrains': _retraining(policy, epochs),
        'stops by': rules_text(rules),
    }
    return '\n'.join(f'  {name:<12} {text}' for name, text in lines.items())


def _said(value: Any) -> str:
    """Return an argument of the engine on one line."""
    from aiida import orm

    if isinstance(value, orm.AbstractCode):
        return str(value.full_label)
    plain = value.value if hasattr(value, 'value') else getattr(value, 'get_dict', lambda: value)()
    text = str(plain)
    return text if len(text) <= 60 else f'{text[:59]}…'


def _model(plan: Plan, folds: int, epochs: int) -> str:
    if 'model' in plan.found:
        return f'{plan.found["model"].node.card.name} ({plan.found["model"].origin})'
    return f'a training on the dataset: {folds} members of {epochs} epochs'


def _budget(rules: StopRules, batch: int, left: int) -> str:
    """Return how many calculations there can be at most, and what else bounds them."""
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
        when.append(f'as soon as there are {policy.every_labels} new labels')
    if policy.every_rounds is not None:
        when.append('after each round' if policy.every_rounds == 1 else f'every {policy.every_rounds} rounds')
    if not when:
        return 'never'
    how = 'fine-tunes' if policy.mode == 'fine-tune' else 'trains from scratch'
    return f'{" or ".join(when)}; {how} {policy.folds} members of {epochs} epochs'


def rules_text(rules: StopRules) -> str:
    """Return the rules that are set."""
    given = rules.model_dump(exclude_none=True)
    return ', '.join(f'{name} {_numbers(value)}' for name, value in given.items())


def _numbers(value: Any) -> str:
    if isinstance(value, Mapping):
        return '(' + ', '.join(f'{name} {_numbers(item)}' for name, item in value.items()) + ')'
    return f'{value:g}'
