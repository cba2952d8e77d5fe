"""Queries for stored nodes: the latest of a kind, and the responses and gate results that a process created."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from aiida import orm
from aiida.plugins import DataFactory, WorkflowFactory

from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.dfpt.gates import evaluate_gates

__all__ = (
    'active_processes',
    'gate_results',
    'goectp_codes',
    'is_campaign',
    'latest_campaigns',
    'latest_import',
    'latest_node',
    'latest_screen',
    'responses_with_gates',
    'usable_labels',
)

_CAMPAIGN = 'ActiveLearningWorkChain'
_ACTIVE = {'attributes.process_state': {'in': ['created', 'running', 'waiting']}}
"""filter of processes that have not ended"""


def latest_node(entry_point: str) -> Any:
    """Return the node of a data type that was stored last, None without any.

    :param entry_point: of the data type, e.g. ``goectp.crystals``
    """
    cls = DataFactory(entry_point)
    return orm.QueryBuilder().append(cls).order_by({cls: {'ctime': 'desc'}}).limit(1).first(flat=True)


def latest_import() -> CrystalsData | None:
    """Return the crystals that were imported last, None without any.

    Crystals that a process selected from others are left out, and those that a command stored as its own input, which
    are labelled with its name, such as ``aiida-goectp predict``. Crystals without creator are stored in Python.
    """
    query = orm.QueryBuilder().append(CrystalsData, filters={'label': {'!like': 'aiida-goectp %'}})
    query.order_by({CrystalsData: {'ctime': 'desc'}})
    return next((node for (node,) in query.iterall() if _is_imported(node)), None)


def _is_imported(node: CrystalsData) -> bool:
    creator: Any = node.creator
    return creator is None or (creator.caller is None and 'crystals' not in creator.inputs)


def latest_screen() -> orm.ProcessNode:
    """Return the last screen with a selection.

    :raises click.UsageError: no screen has a selection
    """
    screen: Any = WorkflowFactory('goectp.screen')
    query = orm.QueryBuilder().append(screen, tag='screen', project='*')
    query.append(orm.List, with_incoming='screen', edge_filters={'label': 'selection'})
    node: orm.ProcessNode | None = query.order_by({'screen': {'ctime': 'desc'}}).limit(1).first(flat=True)
    if node is None:
        raise click.UsageError('no screen with a selection is stored; run `aiida-goectp screen` first')
    return node


def is_campaign(node: Any) -> bool:
    """Return whether a node is a campaign."""
    return isinstance(node, orm.WorkChainNode) and node.process_label == _CAMPAIGN


def latest_campaigns(number: int) -> list[orm.WorkChainNode]:
    """Return the latest campaigns, newest first."""
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters={'attributes.process_label': _CAMPAIGN})
    found: list[orm.WorkChainNode] = query.order_by({orm.WorkChainNode: {'ctime': 'desc'}}).limit(number).all(flat=True)
    return found


def active_processes(top: orm.ProcessNode | None = None) -> list[orm.ProcessNode]:
    """Return the processes that have not ended, oldest first.

    :param top: an active process: itself and those below it only, as far as all between them are active
    """
    query = orm.QueryBuilder().append(orm.ProcessNode, filters=_ACTIVE, tag='process')
    found: list[orm.ProcessNode] = query.order_by({'process': {'id': 'asc'}}).all(flat=True)
    if top is None:
        return found
    query = orm.QueryBuilder().append(orm.ProcessNode, filters=_ACTIVE, tag='caller', project='id')
    query.append(orm.ProcessNode, filters=_ACTIVE, with_incoming='caller', project='id')
    callers: dict[int | None, int] = {called: caller for caller, called in query.iterall()}

    def is_below(pk: int | None) -> bool:
        while pk is not None and pk != top.pk:
            pk = callers.get(pk)
        return pk is not None

    return [process for process in found if is_below(process.pk)]


def gate_results(response: DielectricData) -> list[orm.Dict]:
    """Return the gate results of a response, oldest first."""
    links = response.base.links.get_outgoing(node_class=orm.CalcFunctionNode, link_label_filter='dielectric')
    calls = sorted((node for node in links.all_nodes() if _evaluated_gates(node)), key=lambda node: node.ctime)
    return [call.outputs.result for call in calls]


def responses_with_gates(nodes: Iterable[Any]) -> list[tuple[DielectricData, orm.Dict]]:
    """Return responses with their gate results, each response once, in the order given.

    A response that is given itself has its newest gate result; without one, the gates are evaluated. A process has
    all responses that were evaluated within it, refused ones included.

    :param nodes: dielectric responses, or processes
    :raises click.UsageError: a node of another type, or a process without evaluated response
    """
    found: dict[str, tuple[DielectricData, orm.Dict]] = {}
    for node in nodes:
        if isinstance(node, DielectricData):
            results = gate_results(node)
            pairs = [(node, results[-1] if results else evaluate_gates(node))]
        elif isinstance(node, orm.ProcessNode):
            calls = sorted(filter(_evaluated_gates, [*node.called_descendants, node]), key=lambda call: call.ctime)
            pairs = [(call.inputs.dielectric, call.outputs.result) for call in calls]
        else:
            raise click.UsageError(
                f'node {node.pk} has the type {type(node).__name__}; give responses or the processes that computed them'
            )
        if not pairs:
            raise click.UsageError(f'{node.process_label}<{node.pk}> computed no dielectric response')
        for response, result in pairs:
            found[response.uuid] = (response, result)
    return list(found.values())


def _evaluated_gates(node: orm.Node) -> bool:
    return (
        isinstance(node, orm.CalcFunctionNode) and node.process_label == 'evaluate_gates' and 'result' in node.outputs
    )


def usable_labels() -> list[str]:
    """Return the full labels of the codes of goectp on computers that the user has configured, sorted.

    Codes of an imported archive are on computers that are not.
    """
    user = orm.User.collection.get_default()
    return sorted(
        code.full_label
        for code in goectp_codes()
        if code.computer is None or (user is not None and code.computer.is_user_configured(user))
    )


def goectp_codes() -> list[orm.AbstractCode]:
    """Return the codes of goectp of the profile that are not hidden."""
    filters = {'attributes.input_plugin': {'like': 'goectp%'}}
    found: list[orm.AbstractCode] = orm.QueryBuilder().append(orm.AbstractCode, filters=filters).all(flat=True)
    return [code for code in found if not code.is_hidden]
