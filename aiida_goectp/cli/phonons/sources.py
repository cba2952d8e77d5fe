"""Phonons that a node contains: of a crystal among predictions, or of a DFPT response."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, NamedTuple

import click
import numpy as np
from aiida import orm
from aiida.common.links import LinkType

from aiida_goectp.cli.views.dataset_exports import to_json_value
from aiida_goectp.cli.views.node_content import node_identity
from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.dielectric.gamma_phonons import PhononCell
from aiida_goectp.core.dielectric.predictions import Predictions, flag_names
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('PhononSource', 'phonon_source', 'phonons_content')

_NEAREST = 3
"""number of ids in the error about an unknown one"""


class PhononSource(NamedTuple):
    """Lattice response of one crystal, and where it comes from."""

    node: PredictionsData | DielectricData
    id: str
    """of the crystal"""
    cell: PhononCell
    """primitive cell"""
    ionic: float
    """average of the ionic permittivity in the node, NaN if unknown"""
    prediction: Predictions | None = None
    """the row of the predictions"""

    @property
    def label(self) -> str:
        """``prediction``, or ``DFPT`` with functional and engine."""
        if isinstance(self.node, PredictionsData):
            return 'prediction'
        response = self.node.dielectric
        details = ', '.join(filter(None, (response.functional, response.engine)))
        return f'DFPT ({details})' if details else 'DFPT'


def phonon_source(node: orm.Node, which: str | None, hint: str = 'ID') -> PhononSource:
    """Return the phonons of a crystal.

    :param node: predictions, a dielectric response, or a process with one of these as output
    :param which: id or row of the crystal; may be None if the node has one
    :param hint: parameter that ``which`` comes from
    :raises click.UsageError: a node without phonons, or no such crystal
    """
    if isinstance(node, orm.ProcessNode):
        node = _output(node, which)
    if isinstance(node, PredictionsData):
        return _of_prediction(node, which, hint)
    if isinstance(node, DielectricData):
        return _of_response(node, which, hint)
    raise click.UsageError(
        f'node {node.pk} has the type {type(node).__name__}; expected predictions, a dielectric response, or a '
        'process with one of these as output'
    )


def phonons_content(source: PhononSource, direction: np.ndarray | None) -> dict[str, Any]:
    """Return primitive cell, Born charges and modes as plain data, in the units of :class:`PhononCell`.

    :param direction: (3,) Cartesian, of q → 0 with the macroscopic field, or None
    """
    cell, row = source.cell, source.prediction
    modes = cell.modes()
    return {
        **node_identity(source.node),
        'id': source.id,
        'source': source.label,
        'lattice': cell.lattice.tolist(),
        'species': symbols_of(cell.atomic_numbers),
        'frac_coords': cell.fractional_positions.tolist(),
        'electronic': cell.electronic.tolist(),
        'born_charges': cell.born_charges.tolist(),
        'frequencies': modes.frequencies.tolist(),
        'infrared_active': modes.active.tolist(),
        'contributions': [to_json_value(tensor) for tensor in modes.contributions],
        'longitudinal': None if direction is None else cell.longitudinal(direction).tolist(),
        'stability': None if row is None else to_json_value(row.stability[0]),
        'flags': [] if row is None else list(flag_names(row.flags[0])),
    }


def _output(process: orm.ProcessNode, which: str | None) -> PredictionsData | DielectricData:
    """Return the output of a process that contains the phonons.

    :raises click.UsageError: no such output, or several
    """
    links = process.base.links.get_outgoing(link_type=(LinkType.CREATE, LinkType.RETURN)).all()
    found = {link.node.pk: link.node for link in links if isinstance(link.node, PredictionsData | DielectricData)}
    if len(found) > 1 and which is not None:
        responses = {pk: node for pk, node in found.items() if isinstance(node, DielectricData)}
        named = [pk for pk, node in responses.items() if node.dielectric.crystal.id == which]
        found = {pk: found[pk] for pk in named} or found
    if len(found) == 1:
        return next(iter(found.values()))
    name = f'{process.process_label}<{process.pk}>'
    if not found:
        raise click.UsageError(f'{name} has neither predictions nor a dielectric response as output')
    pks = ', '.join(map(str, found))
    raise click.UsageError(f'{name} has {len(found)} outputs with dielectric tensors; give one of the nodes {pks}')


def _of_prediction(node: PredictionsData, which: str | None, hint: str) -> PhononSource:
    table = node.predictions
    row = _row(table, which, hint, node)
    name = f'{table.ids[row]} of predictions node {node.pk}'
    if table.failed[row]:
        raise click.UsageError(f'{name}: the prediction failed ({table.errors[row]})')
    if table.phonons is None:
        raise click.UsageError(
            f'predictions node {node.pk} contains no phonons; predict them by `aiida-goectp screen --phonons`, or by '
            '`goectp predict --phonons`, with a model of preset force_constants'
        )
    cell = table.phonon_cell(row)
    if cell is None:
        raise click.UsageError(f'{name} has no phonons: its layers were brought closer for the prediction')
    ionic = float(np.trace(table.ionic[row]) / 3)
    return PhononSource(node, str(table.ids[row]), cell, ionic, table.take([row]))


def _row(table: Predictions, which: str | None, hint: str, node: orm.Node) -> int:
    """Return the row of an id, or of a number.

    :raises click.BadParameter: no such crystal, or none given
    """
    if which is None:
        if len(table) == 1:
            return 0
        raise click.BadParameter(
            f'predictions node {node.pk} has {len(table)} crystals; give the id of one, or its row from 0 to '
            f'{len(table) - 1}',
            param_hint=hint,
        )
    rows = np.flatnonzero(table.ids == which)
    if len(rows):
        return int(rows[0])
    if which.isascii() and which.isdigit() and int(which) < len(table):
        return int(which)
    raise _unknown(node, which, table.ids.tolist(), hint)


def _unknown(node: orm.Node, which: str, ids: list[str], hint: str) -> click.BadParameter:
    """Return the error for an id that a node does not contain, with the nearest ones."""
    inside = [name for name in ids if which.lower() in name.lower()]
    nearest = sorted(inside, key=len)[:_NEAREST] or get_close_matches(which, ids, _NEAREST, cutoff=0)
    names = ', '.join(map(repr, nearest))
    return click.BadParameter(
        f'node {node.pk} has no crystal {which!r}; nearest: {names}; all: aiida-goectp show {node.pk}', param_hint=hint
    )


def _of_response(node: DielectricData, which: str | None, hint: str) -> PhononSource:
    response = node.dielectric
    name = response.crystal.id
    if which is not None and which not in (name, '0'):
        raise _unknown(node, which, [name], hint)
    cell = response.phonon_cell()
    if cell is None:
        missing = 'force constants' if response.force_constants is None else 'Born charges'
        raise click.UsageError(
            f'dielectric node {node.pk} ({name}) contains no {missing}; compute it again by `aiida-goectp verify`'
        )
    ionic = float('nan') if response.ionic is None else float(np.trace(response.ionic) / 3)
    return PhononSource(node, name, cell.primitive(), ionic)
