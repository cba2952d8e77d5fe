"""What ``aiida-goectp show`` prints for each kind of node."""

from __future__ import annotations

from typing import Any

import click
from aiida import orm

from aiida_goectp.cli.views import datasets as dataset_tables
from aiida_goectp.cli.views import tables
from aiida_goectp.cli.views.progress import status_line
from aiida_goectp.cli.views.responses import gates_table, show_response, show_verification
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData

__all__ = ('show_node',)


def show_node(node: Any, rows: int) -> None:
    """Print a node.

    :param rows: of a table
    :raises click.UsageError: a node that this package knows nothing about
    """
    if isinstance(node, CrystalsData):
        _show_crystals(node, rows)
    elif isinstance(node, DatasetData):
        dataset_tables.show_dataset(node, rows)
    elif isinstance(node, ModelData):
        _show_model(node)
    elif isinstance(node, PredictionsData):
        click.echo(f'model {node.model_hash[:10]}, {node.base.attributes.get("failed")} of {len(node)} rows failed')
        tables.show_table(tables.predictions_table(node.predictions, rows))
    elif isinstance(node, RankingData):
        tables.show_table(tables.ranking_table(node.ranking, rows))
        if node.ranking.ranked_count < len(node):
            tables.show_table(tables.reasons_table(node.ranking))
    elif isinstance(node, PicksData):
        tables.show_table(tables.picks_table(node.picks, rows))
    elif isinstance(node, DielectricData):
        _show_dielectric(node)
    elif isinstance(node, orm.Dict) and {'label', 'reason', 'gates'} <= set(node.keys()):
        tables.show_table(gates_table(node.get_dict()))
    elif isinstance(node, orm.Dict) and dataset_tables.is_report(node.get_dict()):
        dataset_tables.show_report(node.get_dict(), rows)
    elif isinstance(node, orm.Dict) and dataset_tables.is_metrics(node.get_dict()):
        tables.show_table(dataset_tables.metrics_table(node.get_dict()))
        stated = dataset_tables.coverage_table({'all': node.get_dict().get(dataset_tables.COVERAGE)})
        if stated is not None:
            tables.show_table(stated)
    elif isinstance(node, orm.List) and _is_selection(node):
        _show_selection(node, rows)
    elif isinstance(node, orm.ProcessNode):
        _show_process(node, rows)
    else:
        raise click.UsageError(f'node {node.pk} is a {type(node).__name__}; `verdi node show {node.pk}` shows it')


def _show_crystals(node: CrystalsData, rows: int) -> None:
    crystals = node.crystals
    tables.show_table(tables.crystals_table(crystals, rows))
    if crystals.failures:
        tables.show_table(tables.failure_table(crystals.failures, rows))


def _show_model(node: ModelData) -> None:
    from aiida_goectp.cli.views.models import Known, show_card

    show_card(Known(node.card, node.content_hash, [node.pk or 0]))


def _is_selection(node: orm.List) -> bool:
    items = node.get_list()
    return all(isinstance(item, dict) and {'rank', 'id', 'score', 'structure'} <= set(item) for item in items)


def _show_selection(node: orm.List, rows: int) -> None:
    pks = {}
    if node.creator is not None:
        for link in node.creator.base.links.get_outgoing(node_class=orm.StructureData).all():
            pks[link.link_label.removeprefix('structures__')] = link.node.pk
    tables.show_table(tables.selection_table(node.get_list()[:rows], pks))


def _show_dielectric(node: DielectricData) -> None:
    """Print a response, and the verdicts that it got."""
    show_response(node)
    links = node.base.links.get_outgoing(node_class=orm.CalcFunctionNode, link_label_filter='dielectric').all()
    for link in links:
        if link.node.process_label == 'evaluate_gates' and 'result' in link.node.outputs:
            tables.show_table(gates_table(link.node.outputs.result.get_dict()))


def _show_process(node: orm.ProcessNode, rows: int) -> None:
    click.echo(status_line(node))
    if 'comparison' in node.outputs and 'summary' in node.outputs:
        show_verification(node.outputs, rows)
    elif 'quality' in node.outputs:
        for name in ('dielectric', 'quality'):
            if name in node.outputs:
                show_node(node.outputs[name], rows)
    elif node.process_label == 'EvaluateWorkChain' and 'metrics' in node.outputs:
        show_node(node.outputs.metrics, rows)
    elif 'selection' in node.outputs:
        show_node(node.outputs.selection, rows)
        if node.outputs.ranking.ranking.ranked_count < len(node.outputs.ranking):
            tables.show_table(tables.reasons_table(node.outputs.ranking.ranking))
    elif 'ranking' in node.outputs:
        show_node(node.outputs.ranking, rows)
    elif 'predictions' in node.outputs:
        show_node(node.outputs.predictions, rows)
    elif 'model' in node.outputs:
        show_node(node.outputs.model, rows)
    outputs = [f'{link.link_label} {link.node.pk}' for link in node.base.links.get_outgoing().all() if _is_output(link)]
    if outputs:
        click.echo('outputs: ' + ', '.join(outputs))


def _is_output(link: Any) -> bool:
    from aiida.common.links import LinkType

    plain = not link.link_label.startswith(('structures__', 'accepted__', 'electronic_only__'))
    return plain and link.link_type in (LinkType.CREATE, LinkType.RETURN)
