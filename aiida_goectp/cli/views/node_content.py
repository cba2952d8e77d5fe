"""Content of nodes and processes as plain data, for ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp.cli import echo
from aiida_goectp.cli.views.exports import exported_rows
from aiida_goectp.core.formats.text_tables import make_table, show_table
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData
from aiida_goectp.data.table import TableData

__all__ = ('node_content', 'node_identity', 'print_identity', 'print_items')

_TABLES = (CrystalsData, DatasetData, PredictionsData, RankingData, PicksData, DielectricData)

_RESULTS = ('predictions', 'ranking', 'selection', 'comparison', 'summary', 'metrics', 'quality', 'dielectric', 'model')
"""outputs of a process whose content is given"""


def node_identity(node: orm.Node) -> dict[str, Any]:
    """Return PK, UUID, type and label of a node."""
    kind = node.process_label if isinstance(node, orm.ProcessNode) else type(node).__name__
    return {'pk': node.pk, 'uuid': node.uuid, 'type': kind, 'label': node.label}


def print_identity(node: orm.Node, **more: Any) -> None:
    """Print what identifies a new node, with ``--json`` and ``--raw``; otherwise the command prints a message.

    :param more: further content for JSON
    """
    if echo.output_format() == 'json':
        echo.echo_json({**node_identity(node), **more})
    elif echo.output_format() == 'raw':
        print_items([node_identity(node)])


def print_items(items: Sequence[dict[str, Any]]) -> None:
    """Print plain objects, with ``--json`` as a list, with ``--raw`` as a line each; nothing without these options."""
    if echo.output_format() == 'json':
        echo.echo_json(list(items))
    elif echo.output_format() == 'raw':
        show_table(make_table('', list(items[0]), [[str(value) for value in item.values()] for item in items]))


def node_content(node: Any) -> dict[str, Any]:
    """Return the identity and the content of a node.

    A table has ``rows`` and ``summary``, a model its ``card``, a process ``outputs`` and ``results``.

    :raises click.UsageError: a node that is not of this package
    """
    identity = node_identity(node)
    if isinstance(node, ModelData):
        return {**identity, 'hash': node.content_hash, 'card': node.card.model_dump(mode='json')}
    if isinstance(node, TableData) and isinstance(node, _TABLES):
        content = {**identity, 'summary': dict(node.base.attributes.all), 'rows': exported_rows(node)}
        if isinstance(node, CrystalsData):
            content['failures'] = [failure._asdict() for failure in node.crystals.failures]
        return content
    if isinstance(node, orm.ProcessNode):
        return {**identity, **_process_content(node)}
    if isinstance(node, orm.List):
        return {**identity, 'rows': node.get_list()}
    if isinstance(node, orm.Dict):
        return {**identity, 'content': node.get_dict()}
    raise click.UsageError(
        f'node {node.pk} has the type {type(node).__name__}; show it with `verdi node show {node.pk}`'
    )


def _process_content(node: orm.ProcessNode) -> dict[str, Any]:
    """Return state, exit code, PKs of all outputs, and the content of those that a command shows."""
    links = node.base.links.get_outgoing(link_type=(LinkType.CREATE, LinkType.RETURN)).all()
    outputs = {link.link_label: link.node for link in links}
    return {
        'state': node.process_state.value if node.process_state else None,
        'exit_status': node.exit_status,
        'exit_message': node.exit_message,
        'outputs': {name: output.pk for name, output in outputs.items()},
        'results': {name: node_content(outputs[name]) for name in _RESULTS if name in outputs},
    }
