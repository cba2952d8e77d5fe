"""Calcfunctions of a verification: responses that are reused, comparison with predictions, summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.frames import compare
from aiida_goectp.core.dielectric.frequencies import compare_frequencies
from aiida_goectp.core.dielectric.gate_codes import VerdictLabel
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.predictions import PredictionsData

__all__ = (
    'COMPUTED',
    'DUPLICATE',
    'FAILED',
    'INTERRUPTED',
    'NOT_RUN',
    'REUSED',
    'RUNNING',
    'WAITING',
    'adopt_dielectric',
    'compare_predictions',
    'conclude',
    'content_hash',
)

WAITING, RUNNING, COMPUTED, REUSED, DUPLICATE, FAILED, INTERRUPTED, NOT_RUN = (
    'waiting',
    'running',
    'computed',
    'reused',
    'duplicate',
    'failed',
    'interrupted',
    'not run',
)
"""states of a selected crystal in a verification"""


@calcfunction
def adopt_dielectric(structure: orm.StructureData, dielectric: DielectricData) -> DielectricData:
    """Return the response of an equal structure, computed earlier, as that of this structure.

    The caller has compared the content hashes of both structures. The new node links structure and response.
    """
    return DielectricData(dielectric.dielectric)


@calcfunction
def compare_predictions(
    selection: orm.List,
    predictions: PredictionsData | None = None,
    phonons: PredictionsData | None = None,
    **nodes: Mapping[str, orm.StructureData | DielectricData],
) -> orm.Dict:
    """Compare predictions with responses, each in the frame of the structure that was predicted.

    :param selection: see :func:`aiida_goectp.calculations.select.make_selection`
    :param predictions: the tensors; without them, only the averages in the selection are compared
    :param phonons: predictions with phonons by the names of the structures as ids, for crystals without phonons in
        ``predictions``
    :param nodes: two namespaces by the names of the computed structures: ``structures`` and ``responses``
    :return: ``rows``, one dictionary for each computed crystal in the order of the selection, see
        :func:`aiida_goectp.core.dielectric.frames.compare`; ``problem`` if the frames cannot be compared. If the model
        predicts them, also ``stability``, the probability, and ``phonons``, see
        :func:`aiida_goectp.core.dielectric.frequencies.compare_frequencies`
    """
    structures: Mapping[str, Any] = nodes.get('structures', {})
    responses: Mapping[str, Any] = nodes.get('responses', {})
    table = None if predictions is None else predictions.predictions
    keys = [] if table is None else zip(table.ids.tolist(), table.hashes.tolist(), strict=True)
    places = {key: place for place, key in enumerate(keys)}
    more = None if phonons is None else phonons.predictions
    more_places = {} if more is None else {name: place for place, name in enumerate(more.ids.tolist())}
    rows: list[dict[str, Any]] = []
    for item in selection.get_list():
        name = item['structure']
        if name not in responses:
            continue
        row = {key: item.get(key) for key in ('structure', 'rank', 'id')}
        response = responses[name].dielectric
        predicted: dict[str, Any] = {part: item.get(part) for part in PARTS}
        with_phonons = [] if more is None or name not in more_places else [(more, more_places[name])]
        if table is not None and (place := places.get((item.get('id'), item.get('hash')))) is not None:
            with_phonons.append((table, place))
            predicted = {part: getattr(table, part)[place] for part in PARTS}
            if np.isfinite(table.stability[place]):
                row['stability'] = float(table.stability[place])
        try:
            row |= compare(response, np.array(structures[name].cell), predicted)
        except ValueError as error:
            row['problem'] = str(error)
        else:
            found = [one for source in with_phonons if (one := compare_frequencies(*source, response)) is not None]
            row |= {'phonons': found[0]} if found else {}
        rows.append(row | {'engine': response.engine, 'functional': response.functional})
    return orm.Dict({'rows': rows})


@calcfunction
def conclude(selection: orm.List, record: orm.Dict, **nodes: Mapping[str, orm.Dict]) -> dict[str, orm.Dict]:
    """Summarise the gate results of all selected crystals.

    :param record: noted by the work chain: ``rows``, by name of the structure ``{state, pk, reason, core_hours}``, and
        ``calculations``, ``core_hours`` and ``budget``
    :param nodes: the namespace ``qualities``: gate results of each computed crystal by the name of its structure
    :return: ``refused``: id, label and reason by name, of each crystal without a label; ``summary``: counts and cost,
        and one row for each crystal in the order of the selection
    """
    qualities = nodes.get('qualities', {})
    refused, rows = {}, []
    for item in selection.get_list():
        name = item['structure']
        noted = record['rows'][name]
        row = {key: item.get(key) for key in ('rank', 'id')} | {'structure': name, **noted}
        if name in qualities:
            row |= {key: qualities[name][key] for key in ('label', 'reason')}
        else:
            row['label'] = noted['state']
        rows.append(row)
        if row['label'] not in (VerdictLabel.ACCEPTED, VerdictLabel.ELECTRONIC_ONLY):
            refused[name] = {key: row[key] for key in ('id', 'label', 'reason', 'pk')}
    labels = [row['label'] for row in rows]
    summary = {
        'counts': {label: labels.count(label) for label in sorted(set(labels))},
        'calculations': record['calculations'],
        'reused': sum(row['state'] in (REUSED, DUPLICATE) for row in rows),
        'core_hours': record['core_hours'],
        'budget': record['budget'],
        'rows': rows,
    }
    return {'refused': orm.Dict(refused), 'summary': orm.Dict(summary)}


def content_hash(structure: orm.StructureData) -> str:
    """Return the content hash of the crystal of a structure: lattice and positions to 1e-8, atomic numbers."""
    return str(CrystalSet.from_crystals([crystal_from_structure('x', structure)]).hashes[0])
