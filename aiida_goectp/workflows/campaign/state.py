"""Model, dataset and history in use at the end of a campaign."""

from __future__ import annotations

from aiida import orm

__all__ = ('campaign_state',)


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
