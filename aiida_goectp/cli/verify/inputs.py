"""Inputs of a verification, from the argument and the options of ``aiida-goectp verify``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import click
from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp.calculations.inprocess import predict_crystals
from aiida_goectp.calculations.select import select_crystals, take_crystals, take_first, take_named
from aiida_goectp.cli import echo
from aiida_goectp.cli.cells import remark_on_cells
from aiida_goectp.cli.engine_arguments import engine_arguments
from aiida_goectp.cli.jobs import validated
from aiida_goectp.cli.options import parse_json_settings, parse_thresholds, scheduler_options
from aiida_goectp.cli.predict.sources import CrystalSource
from aiida_goectp.cli.queries import latest_screen
from aiida_goectp.core.formats.names import DEFAULT_MODEL
from aiida_goectp.core.formats.yaml_input import read_yaml
from aiida_goectp.data.crystals import CrystalsData, crystal_from_structure
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.dfpt.engines import argument_nodes, first_refusal, load_engine
from aiida_goectp.workflows.verify import VerifyWorkChain

__all__ = ('Selected', 'cell_remark', 'option_inputs', 'verification_builder')

_take_first: Any = take_first  # the type hints of aiida-core lack `metadata`
_take_named: Any = take_named
_take_crystals: Any = take_crystals
_select_crystals: Any = select_crystals

_MAX_TRIED_STRUCTURES = 50
"""the engine must accept one of these"""


class Selected:
    """Crystals to compute: of a screen, or given without one. Nothing is stored before :meth:`store`.

    :param what: a screen, its selection, crystals, a ``StructureData``, a ``CifData``, a path, or None for the latest
        screen
    :param ids: ids of the crystals to take from it; all if empty
    :param number: maximum number of crystals
    :raises click.UsageError: another kind of node, or no crystal
    """

    def __init__(self, what: Any, ids: tuple[str, ...], number: int | None) -> None:
        self._source: CrystalSource | None = None
        self._ids: list[str] = []
        if isinstance(what, Path | CrystalsData | orm.StructureData | orm.CifData):
            self._source = CrystalSource((what,), False)
            self._ids = _chosen(self._source.node, ids, number, isinstance(what, CrystalsData))
            self.inputs = self._without_screen(self._source.node, {'store_provenance': False}, None)
            self.origin = str(what) if isinstance(what, Path) else f'node {what.pk}'
            return
        node = what if what is not None else latest_screen()
        self._node, self._number = _selection_node(node), number
        self._ids = _selected_ids(self._node, ids)
        self.inputs = self._of_screen({'store_provenance': False})
        self.origin = f'selection {self._node.pk}'

    def store(self, model: Any) -> dict[str, Any]:
        """Return selection, structures and predictions as stored nodes; crystals without a screen are predicted here.

        :param model: model node that predicts them; the shipped model if None
        """
        if self._source is None:
            return self._of_screen({})
        return self._without_screen(
            self._source.store('aiida-goectp verify'), {}, model or ModelData.get_or_create(DEFAULT_MODEL)
        )

    def _of_screen(self, metadata: dict[str, Any]) -> dict[str, Any]:
        node: Any = self._node
        links = node.creator.base.links.get_outgoing(node_class=orm.StructureData, link_type=LinkType.CREATE).all()
        structures = {link.link_label.removeprefix('structures__'): link.node for link in links}
        selection = node
        if self._ids:
            selection = _take_named(selection, orm.List(self._ids), metadata=metadata)
        if self._number is not None and self._number < len(selection):
            selection = _take_first(selection, orm.Int(self._number), metadata=metadata)
        names = [item['structure'] for item in selection]
        inputs = {'selection': selection, 'structures': {name: structures[name] for name in names}}
        ranked = node.creator.inputs.ranking.creator
        if ranked is not None and 'predictions' in ranked.inputs:
            inputs['predictions'] = ranked.inputs.predictions
        return inputs

    def _without_screen(self, crystals: CrystalsData, metadata: dict[str, Any], model: Any) -> dict[str, Any]:
        """Return the inputs; without a model, nothing is predicted."""
        if self._ids != crystals.crystals.ids.tolist():
            crystals = _take_crystals(crystals, orm.List(self._ids), metadata=metadata)
        predictions = {}
        if model is not None:
            echo.echo_report(f'predicting {len(crystals)} crystals with {model.card.name} in this process')
            try:
                predictions = {'predictions': predict_crystals(crystals, model)}
            except ValueError as error:
                raise click.UsageError(str(error)) from error
        selected = _select_crystals(crystals, **predictions, metadata=metadata)
        return {**selected, **predictions}


def _chosen(crystals: CrystalsData, ids: tuple[str, ...], number: int | None, stored: bool) -> list[str]:
    """Return the ids of the crystals to compute.

    :param stored: whether the crystals are a node, of which not all are computed without being asked for
    :raises click.UsageError: an unknown id, or a node of several crystals without ids or number
    """
    known = crystals.crystals.ids.tolist()
    if unknown := [name for name in ids if name not in known]:
        raise click.UsageError(f'--id {unknown[0]}: no such crystal; known are {", ".join(known[:10])}' + ' …')
    if stored and not ids and number is None and len(known) > 1:
        raise click.UsageError(f'node {crystals.pk} has {len(known)} crystals; choose with --id or --number')
    return list(dict.fromkeys(ids or known))[:number]


def _selected_ids(selection: orm.List, ids: tuple[str, ...]) -> list[str]:
    """Return the given ids.

    :raises click.UsageError: an id that is not in the selection
    """
    known = [item['id'] for item in selection]
    if unknown := [name for name in ids if name not in known]:
        creator: Any = selection.creator
        more = ' …' if len(known) > 10 else ''
        if 'crystals' in creator.inputs:
            more += f'; any crystal of the screen: aiida-goectp verify {creator.inputs.crystals.pk} --id …'
        raise click.UsageError(f'--id {unknown[0]}: not in the selection, which has {", ".join(known[:10])}{more}')
    return list(ids)


def _selection_node(node: Any) -> orm.List:
    """Return the selection of a screen.

    :raises click.UsageError: another kind of node
    """
    if isinstance(node, orm.ProcessNode) and 'selection' in node.outputs:
        node = node.outputs.selection
    if not isinstance(node, orm.List) or node.creator is None or 'ranking' not in node.creator.inputs:
        raise click.UsageError(
            f'node {node.pk} has the type {type(node).__name__}; give a screen with a selection, its output '
            '`selection`, crystals, a StructureData, a CifData, or a structure file'
        )
    return node


def verification_builder(inputs: dict[str, Any], label: str) -> Any:
    """Return the builder of the verification, of which the engine accepts one of the first structures.

    :raises click.UsageError: invalid inputs, codes that cannot run, or an engine that refuses all structures
    """
    _check_structures(inputs)
    builder: Any = VerifyWorkChain.get_builder()
    try:
        for name, value in inputs.items():
            setattr(builder, name, value)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    validated(builder).metadata.label = label
    return builder


def cell_remark(inputs: Mapping[str, Any]) -> str:
    """Return a remark about larger cells than primitive ones among the first crystals to compute, empty without any."""
    items = inputs['selection'].get_list()[:_MAX_TRIED_STRUCTURES]
    return remark_on_cells(
        crystal_from_structure(item['id'], inputs['structures'][item['structure']]) for item in items
    )


def _check_structures(inputs: dict[str, Any]) -> None:
    """Check that the engine accepts one of the first structures: potentials and functionals may be unknown.

    :raises click.UsageError: it refuses all of them
    """
    items = inputs['selection'].get_list()[:_MAX_TRIED_STRUCTURES]
    structures = ((item['id'], inputs['structures'][item['structure']]) for item in items)
    error = first_refusal(load_engine(inputs['engine'].value), structures, inputs['dfpt'], inputs.get('thresholds'))
    if error is not None:
        raise click.UsageError(error)


def option_inputs(values: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs that the options give.

    :raises click.UsageError: invalid option values
    """
    try:
        engine = load_engine(values['engine'])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    thresholds = parse_thresholds(values['thresholds'])
    inputs = {
        'engine': orm.Str(values['engine']),
        'dfpt': argument_nodes(values['engine'], _engine_arguments(engine, values)),
        'reuse': orm.Bool(values['reuse']),
        'max_concurrent': orm.Int(values['max_concurrent']),
        'thresholds': orm.Dict(thresholds) if thresholds else None,
        'max_calculations': orm.Int(values['max_calculations']) if values['max_calculations'] else None,
        'max_core_hours': orm.Float(values['max_core_hours']) if values['max_core_hours'] else None,
    }
    return {name: value for name, value in inputs.items() if value is not None}


def _read_overrides(file: Path) -> dict[str, Any]:
    """Return the overrides in a YAML file.

    :raises click.UsageError: not a YAML file with keys
    """
    try:
        content = read_yaml(file.read_text(encoding='utf-8'), str(file))[1]
    except ValueError as error:  # FormatError included
        raise click.UsageError(f'--overrides {error}') from error
    if not isinstance(content, dict | NoneType):
        raise click.UsageError(f'--overrides {file}: expected keys as in the protocol, found {content!r:.60}')
    return content or {}


def _engine_arguments(engine: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the engine that the options give.

    :raises click.UsageError: invalid option values
    """
    requested = {
        **{name: values[name] for name in ('potentials', 'protocol', 'relax', 'electronic_only', 'processes')},
        'codes': values['codes'],
        'options': scheduler_options(values),
        'overrides': _read_overrides(values['overrides']) if values['overrides'] else {},
        'arguments': parse_json_settings(values['settings']),
    }
    try:
        return engine_arguments(
            engine, values['engine'], requested, {'codes': '--code {}', 'potentials': '--potentials'}
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
