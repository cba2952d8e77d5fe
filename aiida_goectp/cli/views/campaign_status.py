"""Status line of a campaign: round, stage, best value, cost, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_goectp.cli.views.training import training_line
from aiida_goectp.core.selection.history import History
from aiida_goectp.core.selection.history_summary import best_verified
from aiida_goectp.report.words import counted
from aiida_goectp.workflows.campaign.state import last_history
from aiida_goectp.workflows.campaign.stop import stop_requested
from aiida_goectp.workflows.dfpt.base import DfptWorkChain
from aiida_goectp.workflows.submit_once import called_by_label

__all__ = ('campaign_status',)

_NEXT_ROUND, _END = 'next round, or end', 'end'
_STEPS = {
    'predict': ('', 'pick'),
    'pick': ('picking', 'verify'),
    'pick_again': ('picking', 'verify'),
    'verify': ('', 'collect labels'),
    'labels': ('collecting labels', 'retrain, if due'),
    'grow': ('collecting labels', 'retrain, if due'),
    'record': ('collecting labels', 'retrain, if due'),
    'retrain': ('', _NEXT_ROUND),
    'record_retraining': ('round finished', _NEXT_ROUND),
    'rank_verified': ('finishing', _END),
    'conclude_campaign': ('finishing', _END),
    'add_core_hours': ('finishing', _END),
}
"""call label of a process, without round → stage while or after it runs, and what follows"""


def campaign_status(node: Any) -> list[str]:
    """Return the parts of the status line of a campaign."""
    called = called_by_label(node)
    history = last_history(node)
    finished = 0 if history is None else len(history.rounds)
    calculations = 0 if history is None else history.calculations
    hours = 0.0 if history is None else history.core_hours
    if node.is_terminated:
        position = [counted(finished, 'round')]
        hours = node.outputs.core_hours.value if 'core_hours' in node.outputs else hours
    else:
        verification = called.get(f'round_{finished + 1:02d}_verify')
        if verification is not None:
            calculations += sum(isinstance(child, orm.WorkChainNode) for child in verification.called)
            hours += DfptWorkChain.core_hours(verification)
        limit = node.inputs.stop_rules.get_dict().get('max_rounds', 10)
        position = [_round_text(_current_round(called, finished), limit), _stage(node, called)]
    parts = [f'"{node.label}"'] if node.label else []
    parts += [*position, _best_text(history), f'{counted(calculations, "calculation")}, {hours:.2f} core-hours']
    return [*parts, _next_text(node, called)]


def _round_text(number: int, limit: int | None) -> str:
    if number == 0:
        return 'before round 1'
    if limit is not None and number > limit:
        return 'after the last round'
    return f'round {number}' if limit is None else f'round {number} of at most {limit}'


def _last_label(called: Mapping[str, Any]) -> str:
    """Return the label of the last call."""
    return max(called, key=lambda label: called[label].ctime, default='')


def _current_round(called: Mapping[str, Any], finished: int) -> int:
    """Return the round of the last call."""
    label = _last_label(called)
    return int(label.split('_')[1]) if label.startswith('round_') else finished


def _current_step(called: Mapping[str, Any]) -> str:
    """Return the label of the last call, without round."""
    label = _last_label(called)
    return label.split('_', 2)[2] if label.startswith('round_') else label


def _stage(node: Any, called: Mapping[str, Any]) -> str:
    step, label = _current_step(called), _last_label(called)
    if step == 'predict':
        return f'predicting {len(node.inputs.pool)} crystals'
    if step == 'verify':
        children = [child for child in called[label].called if isinstance(child, orm.WorkChainNode)]
        running = sum(not child.is_terminated for child in children)
        number = len(called[label].inputs.selection)
        return f'verifying, {len(children) - running} of {number} finished, {running} running'
    if step == 'retrain':
        return _retraining_stage(node, called_by_label(called[label]))
    return _STEPS.get(step, ('starting', ''))[0]


def _retraining_stage(node: Any, called: Mapping[str, Any]) -> str:
    """Return the number of trained members, and the status of those in training."""
    if 'compare_models' in called:
        return 'comparing models'
    calls = called_by_label(called['train_committee']) if 'train_committee' in called else {}
    members = [call for label, call in sorted(calls.items()) if label.startswith('member_')]
    folds = node.inputs.retraining.get_dict().get('folds', 5)
    running = [training_line(member) for member in members if not member.is_terminated]
    line = f'training, {len(members) - len(running)} of {folds} members finished'
    return f'{line} ({"; ".join(running)})' if running else line


def _best_text(history: History | None) -> str:
    best = [] if history is None else best_verified(history, 1)
    if history is None or not best:
        return 'no verified value'
    return f'best {history.figure_of_merit} {best[0].pick.value:.4g} ({best[0].pick.id})'


def _next_text(node: Any, called: Mapping[str, Any]) -> str:
    if 'stop' in node.outputs:
        return f'stopped by {node.outputs.stop["rule"]}: {node.outputs.stop["reason"]}'
    if node.is_terminated:
        return f'print the log with `verdi process report {node.pk}`'
    if stop_requested(node):
        return 'next: stop after this round, as requested'
    step = _current_step(called)
    if _last_label(called).startswith('round_00_'):  # the training before the first round
        return 'next: predict the pool'
    if step in _STEPS:
        return f'next: {_STEPS[step][1]}'
    return f'next: {"predict the pool" if "model" in node.inputs else "train a model"}'
