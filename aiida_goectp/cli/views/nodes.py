"""Output of ``aiida-goectp show`` for each type of node."""

from __future__ import annotations

from typing import Any

import click
from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp.cli import echo
from aiida_goectp.cli.queries import gate_results
from aiida_goectp.cli.views.crystals import crystals_table, failure_table
from aiida_goectp.cli.views.datasets import (
    is_import_report,
    is_join_report,
    show_calculations,
    show_dataset,
    show_join_report,
)
from aiida_goectp.cli.views.metrics import COVERAGE, coverage_table, evaluation_table, is_evaluation
from aiida_goectp.cli.views.models import ModelEntry, show_card
from aiida_goectp.cli.views.node_content import node_content
from aiida_goectp.cli.views.picks import picks_table
from aiida_goectp.cli.views.predictions import show_predictions
from aiida_goectp.cli.views.progress import status_line
from aiida_goectp.cli.views.rankings import ranking_table, reasons_table, selection_table
from aiida_goectp.cli.views.responses import gates_table, show_response
from aiida_goectp.cli.views.verifications import show_verification
from aiida_goectp.core.formats.text_tables import show_table
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData

__all__ = ('print_node', 'show_node')

_HIDDEN_OUTPUTS = ('structures__', 'accepted__', 'electronic_only__')
"""output namespaces with one node per crystal, which are not listed"""


def print_node(node: Any, rows: int) -> None:
    """Print the content of a node in the format that the options ask for.

    :param rows: maximum number of rows per table; JSON contains all
    :raises click.UsageError: a node that is not of this package
    """
    if echo.output_format() == 'json':
        echo.echo_json(node_content(node))
    else:
        show_node(node, rows)


def show_node(node: Any, rows: int) -> None:
    """Print the content of a node.

    :param rows: maximum number of rows per table
    :raises click.UsageError: a node that is not of this package
    """
    if isinstance(node, CrystalsData):
        show_table(crystals_table(node.crystals, rows))
        if node.crystals.failures:
            show_table(failure_table(node.crystals.failures, rows))
    elif isinstance(node, DatasetData):
        show_dataset(node, rows)
    elif isinstance(node, ModelData):
        show_card(ModelEntry(node.card, node.content_hash, [node.pk or 0]))
    elif isinstance(node, PredictionsData):
        show_predictions(node, rows)
    elif isinstance(node, RankingData):
        with node.open_rows() as file:
            show_table(ranking_table(file, rows))
        _show_reasons(node)
    elif isinstance(node, PicksData):
        show_table(picks_table(node.picks, rows))
    elif isinstance(node, DielectricData):
        show_response(node)
        for result in gate_results(node):
            show_table(gates_table(result.get_dict()))
    elif isinstance(node, orm.ProcessNode):
        _show_process(node, rows)
    elif not (isinstance(node, orm.List | orm.Dict) and _show_plain(node, rows)):
        raise click.UsageError(
            f'node {node.pk} has the type {type(node).__name__}; show it with `verdi node show {node.pk}`'
        )


def _show_reasons(node: RankingData) -> None:
    if node.base.attributes.get('ranked') < len(node):
        with node.open_rows() as file:
            show_table(reasons_table(file))


def _show_plain(node: orm.List | orm.Dict, rows: int) -> bool:
    """Print a selection, gate results, the report of a join, or metrics; return false for other content."""
    if isinstance(node, orm.List):
        return _show_selection(node, rows)
    content = node.get_dict()
    if {'label', 'reason', 'gates'} <= set(content):
        show_table(gates_table(content))
    elif is_import_report(content):
        show_calculations(content, rows)
    elif is_join_report(content):
        show_join_report(content, rows)
    elif is_evaluation(content):
        show_table(evaluation_table(content))
        coverage = coverage_table({'all': content.get(COVERAGE)})
        if coverage is not None:
            show_table(coverage)
    else:
        return False
    return True


def _show_selection(node: orm.List, rows: int) -> bool:
    """Print a selection; return false for another list."""
    items = node.get_list()
    if not all(isinstance(item, dict) and {'rank', 'id', 'score', 'structure'} <= set(item) for item in items):
        return False
    pks = {}
    if node.creator is not None:
        for link in node.creator.base.links.get_outgoing(node_class=orm.StructureData).all():
            pks[link.link_label.removeprefix('structures__')] = link.node.pk
    show_table(selection_table(items[:rows], pks))
    return True


def _show_process(node: orm.ProcessNode, rows: int) -> None:
    echo.echo(status_line(node))
    outputs = node.outputs
    if 'comparison' in outputs and 'summary' in outputs:
        show_verification(outputs, rows)
    elif 'quality' in outputs:
        for name in ('dielectric', 'quality'):
            if name in outputs:
                show_node(outputs[name], rows)
    elif node.process_label == 'EvaluateWorkChain' and 'metrics' in outputs:
        show_node(outputs.metrics, rows)
    elif 'selection' in outputs:
        show_node(outputs.selection, rows)
        if 'ranking' in outputs:
            _show_reasons(outputs.ranking)
    else:
        for name in [name for name in ('ranking', 'predictions', 'model') if name in outputs][:1]:
            show_node(outputs[name], rows)
    listed = [
        f'{link.link_label} {link.node.pk}'
        for link in node.base.links.get_outgoing(link_type=(LinkType.CREATE, LinkType.RETURN)).all()
        if not link.link_label.startswith(_HIDDEN_OUTPUTS)
    ]
    if listed:
        echo.echo('outputs: ' + ', '.join(listed))
