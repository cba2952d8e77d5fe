"""The computed responses behind nodes of many kinds, each with the verdict on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click
from aiida import orm

from aiida_goectp.data.dielectric import DielectricData

__all__ = ('judged_responses',)


def judged_responses(nodes: Iterable[Any]) -> list[tuple[DielectricData, orm.Dict]]:
    """Return response and verdict of each node, no response twice, in the order given.

    Of a response on its own the newest verdict is taken; one that was never judged is judged now. Of a process, all
    that was judged within it, what was refused included.

    :param nodes: dielectric responses, or processes
    :raises click.UsageError: a node of another kind, or a process in which nothing was judged
    """
    found: dict[str, tuple[DielectricData, orm.Dict]] = {}
    for node in nodes:
        if isinstance(node, DielectricData):
            pairs = [(node, _verdict(node))]
        elif isinstance(node, orm.ProcessNode):
            pairs = list(_within(node))
        else:
            raise click.UsageError(f'node {node.pk} is neither a dielectric response nor a process that computed one')
        if not pairs:
            raise click.UsageError(f'{node.process_label}<{node.pk}> computed no dielectric response')
        for response, quality in pairs:
            found[response.uuid] = (response, quality)
    return list(found.values())


def _within(process: orm.ProcessNode) -> Iterator[tuple[DielectricData, orm.Dict]]:
    for child in sorted([*process.called_descendants, process], key=lambda child: child.pk or 0):
        if child.process_label == 'evaluate_gates' and 'result' in child.outputs:
            yield child.inputs.dielectric, child.outputs.result


def _verdict(node: DielectricData) -> orm.Dict:
    from aiida_goectp.workflows.dfpt.gates import evaluate_gates

    links = node.base.links.get_outgoing(node_class=orm.CalcFunctionNode, link_label_filter='dielectric').all_nodes()
    judges = [child for child in links if child.process_label == 'evaluate_gates' and 'result' in child.outputs]
    if judges:
        return max(judges, key=lambda child: child.pk or 0).outputs.result
    return evaluate_gates(node)
