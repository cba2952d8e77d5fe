"""Model, dataset and history in use at the end of a campaign."""

from __future__ import annotations

from aiida import orm

from aiida_goectp.calculations.campaign import read_history
from aiida_goectp.core.selection.history import History

__all__ = ('campaign_state', 'last_history')

_HISTORIES = ('add_core_hours', 'record_retraining', 'record_round', 'begin_history')
"""calcfunctions that create a history"""


def campaign_state(node: orm.WorkChainNode) -> dict[str, orm.Data]:
    """Return ``model``, ``dataset`` and ``history`` in use when a campaign ended, as far as there are any.

    Each is an output of the campaign, or the input that it kept: an input is no output, so that the campaign is no
    ancestor of what uses the same node later.
    """
    state = {name: node.outputs[name] for name in ('model', 'dataset', 'history') if name in node.outputs}
    if not node.is_finished:  # running, killed, or excepted before outputs were attached
        return state
    inputs = node.inputs
    kept = {name: inputs.extend[name] for name in ('dataset', 'history')} if 'extend' in inputs else {}
    if 'model' in inputs:
        kept['model'] = inputs.model
    return {**kept, **state}


def last_history(campaign: orm.WorkChainNode) -> History | None:
    """Return the current history of a campaign: the output, the last one written, or that of the extended campaign."""
    if 'history' in campaign.outputs:
        return read_history(campaign.outputs.history)
    written = [call for call in campaign.called if call.process_label in _HISTORIES and 'result' in call.outputs]
    if written:
        return read_history(max(written, key=lambda call: call.ctime).outputs.result)
    return read_history(campaign.inputs.extend.history) if 'extend' in campaign.inputs else None
