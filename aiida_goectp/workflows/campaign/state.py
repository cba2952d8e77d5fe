"""Model, dataset and history in use at the end of a campaign."""

from __future__ import annotations

from typing import Any

from aiida import orm

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.core.selection.history import History

__all__ = ('campaign_state', 'last_history')

_HISTORIES = ('add_core_hours', 'record_retraining', 'record_round', 'begin_history')
"""calcfunctions that create a history"""
_DATASETS = {'begin_dataset': 'result', 'grow_dataset': 'dataset'}
"""calcfunctions that create a dataset, and their output"""


def campaign_state(node: orm.WorkChainNode) -> dict[str, orm.Data]:
    """Return ``model``, ``dataset`` and ``history`` in use when a campaign ended, as far as there are any.

    Each is an output of the campaign, or the input that it kept: an input is no output, so that the campaign is no
    ancestor of what uses the same node later. A campaign that was killed, or ended by an exception, has no outputs; its
    state is what its calculations created last.
    """
    outputs = {name: node.outputs[name] for name in ('model', 'dataset', 'history') if name in node.outputs}
    if not node.is_terminated:
        return outputs
    inputs = node.inputs
    kept = {name: inputs.extend[name] for name in ('dataset', 'history')} if 'extend' in inputs else {}
    if 'model' in inputs:
        kept['model'] = inputs.model
    return {**kept, **({} if node.is_finished else _created(node)), **outputs}


def _created(node: orm.WorkChainNode) -> dict[str, Any]:
    """Return the last dataset and history that a campaign created, and the last model that it adopted."""
    found: dict[str, Any] = {}
    for call in sorted(node.called, key=lambda call: call.ctime):
        name, outputs = call.process_label, call.outputs
        if name in _HISTORIES and 'result' in outputs:
            found['history'] = outputs.result
            if name == 'record_retraining' and read_history(outputs.result).rounds[-1].adopted:
                found['model'] = call.inputs.model
        elif (
            name in _DATASETS
            and _DATASETS[name] in outputs
            and not (name == 'begin_dataset' and 'extend' in node.inputs)
        ):
            found['dataset'] = outputs[_DATASETS[name]]
        elif name == 'RetrainWorkChain' and 'model' in outputs and 'model' not in node.inputs:
            found.setdefault('model', outputs.model)  # the first one, without a decision
    return found


def last_history(campaign: orm.WorkChainNode) -> History | None:
    """Return the current history of a campaign: the output, the last one written, or that of the extended campaign."""
    if 'history' in campaign.outputs:
        return read_history(campaign.outputs.history)
    created = _created(campaign).get('history')
    if created is not None:
        return read_history(created)
    return read_history(campaign.inputs.extend.history) if 'extend' in campaign.inputs else None
