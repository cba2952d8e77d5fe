"""What a verification comes to: responses taken over, predictions compared, verdicts collected; as provenance."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('adopt_dielectric', 'compare_predictions', 'conclude', 'content_hash')

_PARTS = ('electronic', 'ionic', 'total')


@calcfunction
def adopt_dielectric(structure: orm.StructureData, dielectric: DielectricData) -> DielectricData:
    """Return the response that was computed earlier for an equal structure as that of this one.

    The caller has compared the structures by content. The node that comes out has both behind it: where this structure
    comes from, and where the response comes from.
    """
    return DielectricData(dielectric.dielectric)


@calcfunction
def compare_predictions(
    selection: orm.List, predictions: PredictionsData | None = None, **nodes: orm.StructureData | DielectricData
) -> orm.Dict:
    """Compare predictions with responses, each in the frame of the structure that was predicted.

    :param selection: as :func:`aiida_goectp.calculations.select.select_top` gives it
    :param predictions: the tensors; without them, only the averages that stand in the selection are compared
    :param nodes: for each crystal that was computed ``structure_NAME``, the selected one, and ``dielectric_NAME``
    :return: ``rows``, one dictionary a computed crystal in the order of the selection, see
        :func:`aiida_goectp.core.dielectric.frames.compare`
    """
    from aiida_goectp.core.dielectric.frames import compare

    found = _prediction_rows(predictions)
    rows = []
    for item in selection.get_list():
        name = item['structure']
        if f'dielectric_{name}' not in nodes:
            continue
        row = {key: item.get(key) for key in ('structure', 'rank', 'id')}
        response = nodes[f'dielectric_{name}'].dielectric
        lattice = np.array(nodes[f'structure_{name}'].cell)
        predicted: dict[str, Any] = {part: item.get(part) for part in _PARTS}
        if predictions is not None and (place := found.get((item.get('id'), item.get('hash')))) is not None:
            predicted = {part: getattr(predictions.predictions, part)[place] for part in _PARTS}
        try:
            row |= compare(response, lattice, predicted)
        except ValueError as error:
            row['problem'] = str(error)
        rows.append(row | {'engine': response.engine, 'functional': response.functional})
    return orm.Dict({'rows': rows})


def _prediction_rows(predictions: PredictionsData | None) -> dict[tuple[str, str], int]:
    if predictions is None:
        return {}
    table = predictions.predictions
    return {key: row for row, key in enumerate(zip(table.ids.tolist(), table.hashes.tolist(), strict=True))}


@calcfunction
def conclude(selection: orm.List, record: orm.Dict, **qualities: orm.Dict) -> dict[str, orm.Dict]:
    """Collect the verdicts on all selected crystals.

    :param record: what the work chain noted: ``rows``, by name of the structure ``{state, pk, reason, core_hours}``,
        and the budget
    :param qualities: the verdict on each crystal that was computed, by name of its structure
    :return: ``refused``: id, label and reason by name, of every crystal that gave no label at all; ``summary``: counts
        and cost, and one line a crystal in the order of the selection
    """
    refused, rows = {}, []
    for item in selection.get_list():
        name = item['structure']
        noted = record['rows'][name]
        line = {key: item.get(key) for key in ('rank', 'id')} | {'structure': name, **noted}
        if name in qualities:
            line |= {key: qualities[name][key] for key in ('label', 'reason')}
        else:
            line['label'] = noted['state']
        rows.append(line)
        if line['label'] not in ('accepted', 'electronic-only'):
            refused[name] = {key: line[key] for key in ('id', 'label', 'reason', 'pk')}
    labels = [line['label'] for line in rows]
    summary = {
        'counts': {label: labels.count(label) for label in sorted(set(labels))},
        'calculations': record['calculations'],
        'reused': sum(line['state'] in ('reused', 'duplicate') for line in rows),
        'core_hours': record['core_hours'],
        'budget': record['budget'],
        'rows': rows,
    }
    return {'refused': orm.Dict(refused), 'summary': orm.Dict(summary)}


def content_hash(structure: orm.StructureData) -> str:
    """Return the content hash of a structure's crystal: lattice and positions to 1e-8, atomic numbers."""
    from aiida_goectp.core.crystals import CrystalSet

    return str(CrystalSet.from_crystals([crystal_from_structure('x', structure)]).hashes[0])
