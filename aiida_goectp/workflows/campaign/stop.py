"""Request to stop a running campaign after the current round."""

from __future__ import annotations

from aiida import orm

__all__ = ('REQUESTED', 'STOP_EXTRA', 'request_stop', 'stop_requested')

STOP_EXTRA = 'goectp_stop_after_round'
"""extra of the process node that holds the request; it is no part of the provenance"""

REQUESTED = 'requested'
"""rule in the output ``stop`` of a campaign that was stopped on request"""


def request_stop(node: orm.ProcessNode) -> None:
    """Request that a campaign stops after the current round, with the outputs of a campaign that ended by a rule.

    :raises ValueError: the process is terminated
    """
    if node.is_terminated:
        raise ValueError(f'process {node.pk} is terminated and cannot be stopped; extend the campaign to continue it')
    node.base.extras.set(STOP_EXTRA, True)


def stop_requested(node: orm.ProcessNode) -> bool:
    """Return whether a stop was requested, by this process or another one: the extra is read from the database."""
    query = orm.QueryBuilder().append(orm.ProcessNode, filters={'id': node.pk}, project=f'extras.{STOP_EXTRA}')
    return bool(query.first(flat=True))
