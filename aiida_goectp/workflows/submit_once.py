"""Calls that a work chain makes once, even if one of its steps is executed again.

AiiDA saves a work chain between two steps of its outline. If a daemon worker is killed within a step, another worker
executes that step again from its beginning. What the first worker has submitted is found by the label of its call.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from aiida.common.log import LOG_LEVEL_REPORT
from aiida.engine import Process

from aiida_goectp.core.formats.terminal import printable
from aiida_goectp.workflows.aiida_private import BrokerRestartMixin, NamedStepFailureMixin

__all__ = ('CalledOnceMixin', 'SubmitOnceMixin', 'called_by_label')

_CALLS = (LinkType.CALL_WORK, LinkType.CALL_CALC)


def called_by_label(node: orm.ProcessNode) -> dict[str, Any]:
    """Return the processes that a process has called, by the label of the call."""
    return {link.link_label: link.node for link in node.base.links.get_outgoing(link_type=_CALLS).all()}


class CalledOnceMixin(BrokerRestartMixin):
    """Work chain that submits a process under a label once, also in the steps of another package.

    The context must hold, by themselves or in lists, the processes of the steps that have ended, as with ``ToContext``.
    """

    def find_calls(self, label: str) -> list[Any]:
        """Return the processes that were called under a label, empty if there are none.

        Processes without a checkpoint that have not ended are left out: a worker was killed between storing and saving
        them, and no other can run them.
        """
        links = self.node.base.links.get_outgoing(link_type=_CALLS, link_label_filter=label).all()
        nodes = [link.node for link in links if link.link_label == label]  # the filter takes _ for any character
        if not self.runner.is_daemon_runner:  # runs the processes itself, without checkpoints
            return nodes
        # in this order: a process that ends meanwhile has its state set before its checkpoint is deleted
        return [node for node in nodes if node.checkpoint is not None or node.is_terminated]

    def submit(self, process: Any, inputs: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Submit a process, or return the one that a worker submitted in this step before it was killed.

        After a pause, aiida-core uses labels again; the context has the processes that had them before.
        """
        given = inputs if inputs is not None else kwargs
        label = (given.get('metadata') or {}).get('call_link_label')
        if label is not None:
            groups = [value if isinstance(value, list) else [value] for value in self.ctx.values()]
            known = {item.pk for group in groups for item in group if isinstance(item, orm.ProcessNode)}
            for node in self.find_calls(label):
                if node.pk not in known:
                    return node
        return super().submit(process, inputs, **kwargs)


class SubmitOnceMixin(CalledOnceMixin, NamedStepFailureMixin):
    """Work chain whose calls have labels, each of which is used for one call only.

    The context must hold plain data and stored nodes only, so that it is complete after a restart of the daemon.
    """

    def report(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log a message, made printable: it may contain ids and messages of programs, and terminals show it.

        As in aiida-core, PK, class and the step that reports precede it.
        """
        place = f'[{self.node.pk}|{type(self).__name__}|{inspect.stack()[1].function}]'
        self.logger.log(LOG_LEVEL_REPORT, f'{place}: {printable(msg)}', *args, **kwargs)

    def submit_once(self, label: str, process: type[Process], inputs: Mapping[str, Any]) -> Any:
        """Submit a process, or return the node of the one that was submitted under this label before.

        :param label: call link label
        :param inputs: inputs of the process
        :raises ValueError: an input is invalid
        """
        if calls := self.find_calls(label):
            return calls[0]
        metadata = {**inputs.get('metadata', {}), 'call_link_label': label}
        node = self.submit(process, {**inputs, 'metadata': metadata})
        self.report(f'{label}: {node.process_label}<{node.pk}>')
        return node

    def call_once(self, label: str, function: Any, /, **inputs: Any) -> Any:
        """Call a calcfunction, or return the outputs of the call that was made under this label before.

        :param label: call link label
        :param inputs: inputs of the calcfunction; those that are ``None`` are left out
        :return: outputs by name; a calcfunction that returns one node names it ``result``
        :raises ValueError: the calcfunction refuses its inputs
        """
        finished = [call for call in self.find_calls(label) if call.is_finished_ok]
        if finished:
            return finished[0].outputs
        given = {name: value for name, value in inputs.items() if value is not None}
        _, node = function.run_get_node(**given, metadata={'call_link_label': label})
        return node.outputs
