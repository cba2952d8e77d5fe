"""Steps that may be done again after a worker has died in them, and a request to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import WorkChain

from aiida_goectp.workflows.dfpt.base import called_by_label

__all__ = ('STOP_EXTRA', 'SubmitOnceMixin', 'request_stop', 'stop_requested')

STOP_EXTRA = 'goectp_stop_after_round'
"""extra of a process by which it is asked to stop; a request, no result: what came of it stands in the outputs"""


def request_stop(node: orm.ProcessNode) -> None:
    """Ask a campaign to stop after the round that it is in; its outputs are those of a campaign that ended.

    :raises ValueError: it has ended already
    """
    if node.is_terminated:
        raise ValueError(f'process {node.pk} has ended already; extend it to go on, there is nothing to stop')
    node.base.extras.set(STOP_EXTRA, True)


def stop_requested(node: orm.ProcessNode) -> bool:
    """Return whether somebody asked for it, in this process or in another: the database is read anew."""
    query = orm.QueryBuilder().append(orm.ProcessNode, filters={'id': node.pk}, project=f'extras.{STOP_EXTRA}')
    return bool(query.first(flat=True))


class SubmitOnceMixin(WorkChain):
    """A work chain whose context is plain data, and which knows what it has called by the label of the call.

    A step in which a worker dies is done again from its beginning by the next one. So whatever a step calls has a label
    of its own, and what has been called under that label is taken instead.
    """

    def _once(self, label: str, function: Any, /, **inputs: Any) -> Any:
        """Call a calcfunction, or return the outputs of that call if it was made already.

        :raises ValueError: the function refuses its inputs
        """
        called = called_by_label(self.node).get(label)
        if called is None or not called.is_finished_ok:
            _, called = function.run_get_node(**inputs, metadata={'call_link_label': label})
        return called.outputs

    def _child(self, label: str, process: Any, inputs: Mapping[str, Any]) -> Any:
        """Submit a process, or return it if it was submitted already.

        :raises ValueError: the process refuses its inputs
        """
        begun = called_by_label(self.node).get(label)
        if begun is not None:
            return begun
        labelled = dict(inputs)
        labelled['metadata'] = {**labelled.get('metadata', {}), 'call_link_label': label}
        node = self.submit(process, **labelled)
        self.report(f'{label}: {node.process_label}<{node.pk}>')
        return node
