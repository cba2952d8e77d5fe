"""Where a campaign is, in one plain line, while it runs and afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiida import orm

from aiida_goectp.workflows.campaign.stop import stop_requested
from aiida_goectp.workflows.dfpt.base import DfptWorkChain
from aiida_goectp.workflows.submit_once import called_by_label

if TYPE_CHECKING:
    from aiida_goectp.core.selection.history import History

__all__ = ('campaign_words', 'is_campaign', 'last_history')

_HISTORIES = ('record_retraining', 'record_round', 'begin_history')
"""calcfunctions that give a history"""


def is_campaign(node: Any) -> bool:
    """Return whether a node is a campaign."""
    return isinstance(node, orm.WorkChainNode) and node.process_label == 'ActiveLearningWorkChain'


def last_history(node: Any) -> History | None:
    """Return the history as it is now: the output, else what was written last, else what is extended."""
    from aiida_goectp.calculations.campaign import read_history

    if 'history' in node.outputs:
        return read_history(node.outputs.history)
    written = [call for call in node.called if call.process_label in _HISTORIES and 'result' in call.outputs]
    if written:
        return read_history(max(written, key=lambda call: int(call.pk)).outputs.result)
    return read_history(node.inputs.extend.history) if 'extend' in node.inputs else None


def campaign_words(node: Any) -> list[str]:
    """Return round and stage, what was found, what was spent, and what comes next."""
    called = called_by_label(node)
    history = last_history(node)
    limit = node.inputs.stop_rules.get_dict().get('max_rounds', 10)
    done = 0 if history is None else len(history.rounds)
    calculations = 0 if history is None else history.calculations
    hours = 0.0 if history is None else history.core_hours
    if node.is_terminated:
        place = [_counted(done, 'round')]
        hours = node.outputs.core_hours.value if 'core_hours' in node.outputs else hours
    else:
        verification = called.get(f'round_{done + 1:02d}_verify')
        if verification is not None:
            calculations += sum(isinstance(child, orm.WorkChainNode) for child in verification.called)
            hours += DfptWorkChain.core_hours(verification)
        number = _round(called, done)
        place = [_place(number, limit), _stage(node, called)]
    words = [f'"{node.label}"'] if node.label else []
    words += [*place, _found(history), f'{_counted(calculations, "calculation")} and {hours:.2f} core-hours spent']
    return [*words, _next(node, called)]


def _counted(number: int, what: str) -> str:
    return f'{number} {what}' if number == 1 else f'{number} {what}s'


def _place(number: int, limit: int | None) -> str:
    if number == 0:
        return 'before round 1'
    if limit is not None and number > limit:
        return 'after the last round'
    return f'round {number}' if limit is None else f'round {number} of at most {limit}'


def _round(called: dict[str, Any], done: int) -> int:
    """Return the round that the last call belongs to."""
    label = _last(called)
    if label.startswith('round_'):
        return int(label.split('_')[1])
    return done


def _last(called: dict[str, Any]) -> str:
    """Return the label of what was called last."""
    return max(called, key=lambda label: int(called[label].pk), default='')


def _step(called: dict[str, Any]) -> str:
    """Return what was called last, without round and member."""
    label = _last(called)
    step = label.split('_', 2)[2] if label.startswith('round_') else label
    return 'train' if step.startswith('train_') else step


def _stage(node: Any, called: dict[str, Any]) -> str:
    step, label = _step(called), _last(called)
    if step == 'predict':
        return f'predicting {len(node.inputs.pool)} crystals'
    if step == 'verify':
        children = [child for child in called[label].called if isinstance(child, orm.WorkChainNode)]
        running = sum(not child.is_terminated for child in children)
        number = len(called[label].inputs.selection)
        return f'verifying, {len(children) - running} of {number} done, {running} running'
    if step in ('deal', 'settings', 'extract_members', 'train'):
        return _training(node, called, '_'.join(label.split('_')[:2]))
    words = {
        'pick': 'picking',
        'labels': 'taking labels',
        'grow': 'taking labels',
        'record': 'taking labels',
        'merge': 'comparing models',
        'compare': 'comparing models',
        'record_retraining': 'round done',
        'rank_verified': 'concluding',
        'conclude_campaign': 'concluding',
    }
    return words.get(step, 'beginning')


def _training(node: Any, called: dict[str, Any], prefix: str) -> str:
    """Return how many members are trained, and how far those are that train."""
    from aiida_goectp.cli.views.training import training_line

    members = [call for label, call in sorted(called.items()) if label.startswith(f'{prefix}_train_member_')]
    folds = node.inputs.retraining.get_dict().get('folds', 5)
    running = [training_line(member) for member in members if not member.is_terminated]
    line = f'training, {len(members) - len(running)} of {folds} members done'
    return f'{line} ({"; ".join(running)})' if running else line


def _found(history: History | None) -> str:
    from aiida_goectp.core.selection.history_summary import best_verified

    best = [] if history is None else best_verified(history, 1)
    if history is None or not best:
        return 'nothing verified yet'
    pick = best[0].pick
    return f'best {history.figure_of_merit} {pick.value:.4g} ({pick.id})'


def _next(node: Any, called: dict[str, Any]) -> str:
    if 'stop' in node.outputs:
        stop = node.outputs.stop
        return f'ended by {stop["rule"]}: {stop["reason"]}'
    if node.is_terminated:
        return f'next: `verdi process report {node.pk}` tells why'
    if stop_requested(node):
        return 'next: stops after this round, as asked'
    following = {
        'predict': 'pick',
        'pick': 'verify',
        'verify': 'learn from the labels',
        'labels': 'retraining if due',
        'grow': 'retraining if due',
        'record': 'retraining if due',
        'deal': 'compare the models',
        'settings': 'compare the models',
        'extract_members': 'compare the models',
        'train': 'compare the models' if _round(called, 0) else 'predict the pool',
        'record_retraining': 'next round, or the end',
        'merge': 'next round, or the end',
        'compare': 'next round, or the end',
        'rank_verified': 'the end',
        'conclude_campaign': 'the end',
    }
    return f'next: {following.get(_step(called), "predict the pool" if "model" in node.inputs else "train a model")}'
