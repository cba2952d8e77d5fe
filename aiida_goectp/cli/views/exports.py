"""Export of nodes to files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from aiida_goectp.cli.views.dataset_exports import dataset_lines, dataset_scalars, to_json_value
from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.crystals.elements import formula, symbols_of
from aiida_goectp.core.dielectric.predictions import DEVIATIONS, TENSORS, flag_names
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.formats.terminal import csv_cell, json_text, printable
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData
from aiida_goectp.report.formulas import formulas_of

__all__ = ('export_bytes', 'exported_rows')


def export_bytes(node: Any, file_format: str) -> bytes:
    """Return the content of a file.

    ``json``: a list of one object per row; NaN becomes null. ``csv``: one line per row, scalars only; a text that
    spreadsheets would execute as a formula begins with an apostrophe. ``cif`` and
    ``extxyz``: all structures; a CIF contains no Cartesian frame. ``jsonl``: labelled JSON lines of a dataset.

    :param node: crystals, a dataset, a model, predictions, a ranking, picks or a dielectric response
    :param file_format: npz or safetensors (the stored file), json, jsonl, csv, cif or extxyz
    """
    if file_format in ('npz', 'safetensors'):
        return bytes(node.content)
    if file_format == 'cif':
        crystals = [node.dielectric.crystal] if isinstance(node, DielectricData) else node.crystals
        return _cif(crystals)
    if file_format == 'extxyz':
        return _extxyz(node.crystals)
    if file_format == 'jsonl':
        return b''.join(json_text(row).encode() + b'\n' for row in dataset_lines(node.dataset))
    if isinstance(node, ModelData):
        return _json({'hash': node.content_hash, **node.card.model_dump(mode='json')})
    rows = exported_rows(node)
    return _json(rows) if file_format == 'json' else _csv(rows)


def exported_rows(node: Any) -> list[dict[str, Any]]:
    """Return one object per row of a table; NaN becomes None.

    :param node: crystals, a dataset, predictions, a ranking, picks or a dielectric response
    """
    if isinstance(node, CrystalsData):
        return _crystal_rows(node.crystals)
    if isinstance(node, PredictionsData):
        return _prediction_rows(node)
    if isinstance(node, DatasetData):
        return dataset_scalars(node.dataset)
    if isinstance(node, PicksData):
        return _pick_rows(node)
    if isinstance(node, DielectricData):
        return [_response_row(node.dielectric)]
    return _ranking_rows(node)


def _json(content: Any) -> bytes:
    return (json_text(content, 1) + '\n').encode()


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return a table of scalars: of a tensor the polycrystalline average and its standard deviation; no phonons."""
    stream = io.StringIO()
    lines = [{csv_cell(name): csv_cell(value) for name, value in _scalars(row)} for row in rows]
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(stream, names)
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue().encode()


def _scalars(row: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        if name in ('born_charges', 'phonons'):
            continue
        if not isinstance(value, list):
            yield name, '' if value is None else value
        elif name in PARTS:
            trace = [value[axis][axis] for axis in range(3)]
            yield name, '' if None in trace else sum(trace) / 3
        elif name in ('flags', 'joined'):
            yield name, ' '.join(value)
    for part, deviation in zip(PARTS, row.get('average_std', ()), strict=False):
        yield f'{part}_std', '' if deviation is None else deviation


def _crystal_rows(crystals: CrystalSet) -> list[dict[str, Any]]:
    return [
        {
            'id': crystal.id,
            'hash': str(crystals.hashes[row]),
            'atoms': len(crystal.atomic_numbers),
            'lattice': crystal.lattice.tolist(),
            'species': symbols_of(crystal.atomic_numbers),
            'frac_coords': crystal.fractional_positions.tolist(),
            'formula': formula(crystal.atomic_numbers),
            **{name: to_json_value(column[row]) for name, column in crystals.properties.items()},
        }
        for row, crystal in enumerate(crystals)
    ]


def _prediction_rows(node: PredictionsData) -> list[dict[str, Any]]:
    predictions = node.predictions
    formulas = formulas_of(node, predictions.hashes)
    columns = (*TENSORS, *DEVIATIONS, 'stability')
    return [
        {
            'id': str(predictions.ids[row]),
            'hash': str(predictions.hashes[row]),
            'error': str(predictions.errors[row]),
            **{name: to_json_value(getattr(predictions, name)[row]) for name in columns},
            **({} if predictions.phonons is None else predictions.phonons.record(row)),
            'flags': list(flag_names(predictions.flags[row])),
            'formula': formulas.get(str(predictions.hashes[row])),
        }
        for row in range(len(predictions))
    ]


def _ranking_rows(node: RankingData) -> list[dict[str, Any]]:
    ranking = node.ranking
    formulas = formulas_of(node, ranking.hashes)
    names = ('rank', 'score', *TENSORS)
    joined: dict[int, list[str]] = {}
    for row in np.flatnonzero(ranking.joined_to >= 0).tolist():
        joined.setdefault(int(ranking.joined_to[row]), []).append(str(ranking.ids[row]))
    return [
        {
            'id': str(ranking.ids[row]),
            'hash': str(ranking.hashes[row]),
            **{name: to_json_value(getattr(ranking, name)[row]) for name in names},
            'flags': list(flag_names(ranking.flags[row])),
            'reason': str(ranking.reason[row]),
            'stability': to_json_value(ranking.stability[row]),
            'joined': joined.get(row, []),
            'formula': formulas.get(str(ranking.hashes[row])),
        }
        for row in range(len(ranking))
    ]


def _pick_rows(node: PicksData) -> list[dict[str, Any]]:
    picks = node.picks
    formulas = formulas_of(node, picks.hashes)
    numbers = ('place', 'pick', 'score', 'mean', 'std', 'stability')
    return [
        {
            'id': str(picks.ids[row]),
            'hash': str(picks.hashes[row]),
            'formula': formulas.get(str(picks.hashes[row])),
            **{name: to_json_value(getattr(picks, name)[row]) for name in numbers},
            'reason': str(picks.reason[row]),
        }
        for row in range(len(picks))
    ]


def _response_row(response: DielectricResponse) -> dict[str, Any]:
    crystal = response.crystal
    tensors = {name: getattr(response, name) for name in (*PARTS, 'born_charges', 'frequencies')}
    return {
        'id': crystal.id,
        'formula': formula(crystal.atomic_numbers),
        'engine': response.engine,
        'functional': response.functional,
        'band_gap': to_json_value(response.band_gap),
        'lattice': crystal.lattice.tolist(),
        'species': symbols_of(crystal.atomic_numbers),
        'frac_coords': crystal.fractional_positions.tolist(),
        **{name: None if value is None else to_json_value(value) for name, value in tensors.items()},
    }


def _cif(crystals: Iterable[Crystal]) -> bytes:
    from ase.io import write

    from aiida_goectp.core.crystals.convert import to_ase

    pieces = []
    for crystal in crystals:
        stream = io.BytesIO()
        write(stream, to_ase(crystal), format='cif')
        name = ''.join(char if char.isalnum() or char in '-_.' else '_' for char in crystal.id)
        pieces.append(stream.getvalue().replace(b'data_image0', f'data_{name}'.encode(), 1))
    return b'\n'.join(pieces)


def _extxyz(crystals: CrystalSet) -> bytes:
    from ase.io import write

    from aiida_goectp.core.crystals.convert import to_ase

    frames = []
    for row, crystal in enumerate(crystals):
        atoms = to_ase(crystal)
        values = {'id': crystal.id, **{name: column[row].item() for name, column in crystals.properties.items()}}
        atoms.info = {
            printable(name): printable(value) if isinstance(value, str) else value for name, value in values.items()
        }
        frames.append(atoms)
    stream = io.StringIO()
    write(stream, frames, format='extxyz')
    return stream.getvalue().encode()
