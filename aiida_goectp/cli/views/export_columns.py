"""Columns of nodes as plain objects, block by block, for export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from aiida_goectp.cli.views.dataset_exports import dataset_columns, json_column, to_json_value
from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.elements import formula, symbols_of
from aiida_goectp.core.dielectric.predictions import DEVIATIONS, TENSORS, Predictions, flag_names
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.formats.names import renamed_properties
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.report.formulas import formulas_of

__all__ = ('BLOCK', 'NESTED', 'Columns', 'column_blocks')

BLOCK = 1000
"""rows of a block"""

NESTED = ('born_charges', 'phonons', 'average_std')
"""columns that are no scalars, which CSV does not contain in this form"""

Columns = dict[str, list[Any]]
"""name → JSON value of each row of a block"""


def column_blocks(node: Any, complete: bool = True) -> Iterator[Columns]:
    """Yield all rows of a table in blocks; NaN becomes None.

    The memory is that of a block, and of the formulas of all crystals. Datasets, and predictions with phonons, are
    loaded whole. A property with the name of another column is called ``property_NAME``.

    :param node: crystals, a dataset, predictions, a ranking, picks or a dielectric response
    :param complete: if not, predictions have polycrystalline averages instead of tensors, and no phonons
    """
    if isinstance(node, DielectricData):
        yield {name: [value] for name, value in _response_row(node.dielectric).items()}
    elif isinstance(node, DatasetData):
        data = node.dataset
        for first in range(0, len(data), BLOCK):
            block = data.take(np.arange(first, min(first + BLOCK, len(data))))
            yield _with_properties(dataset_columns(block), block.crystals)
    else:
        with node.open_rows() as file:
            if isinstance(node, CrystalsData):
                yield from map(_crystal_columns, file.blocks(size=BLOCK))
            elif isinstance(node, PredictionsData):
                yield from _prediction_blocks(node, file, complete)
            else:
                yield from (_pick_blocks if isinstance(node, PicksData) else _ranking_blocks)(node, file)


def _crystal_columns(crystals: CrystalSet) -> Columns:
    columns: Columns = {
        'id': crystals.ids.tolist(),
        'hash': crystals.hashes.tolist(),
        'atoms': crystals.atom_counts.tolist(),
        'lattice': crystals.lattices.tolist(),
        'species': [symbols_of(crystal.atomic_numbers) for crystal in crystals],
        'frac_coords': [crystal.fractional_positions.tolist() for crystal in crystals],
        'formula': crystals.formulas.tolist(),
    }
    return _with_properties(columns, crystals)


def _with_properties(columns: Columns, crystals: CrystalSet) -> Columns:
    properties = {name: json_column(column) for name, column in crystals.properties.items()}
    return columns | renamed_properties(properties, {*columns, *NESTED})


def _prediction_blocks(node: PredictionsData, file: Any, complete: bool) -> Iterator[Columns]:
    formulas = _formulas(node, file)
    blocks: Iterator[Predictions] = file.blocks(BLOCK)
    if complete and file.nested:
        table = node.predictions
        blocks = (table.take(slice(first, first + BLOCK)) for first in range(0, len(table), BLOCK))
    for block in blocks:
        columns: Columns = {'id': block.ids.tolist(), 'hash': block.hashes.tolist(), 'error': block.errors.tolist()}
        if complete:
            columns |= {name: json_column(getattr(block, name)) for name in (*TENSORS, *DEVIATIONS)}
        else:
            columns |= {name: json_column(polycrystalline_average(getattr(block, name))) for name in PARTS}
            columns['average_std'] = json_column(block.average_std)
        columns['stability'] = json_column(block.stability)
        if block.phonons is not None:
            records = [block.phonons.record(row) for row in range(len(block))]
            columns |= {name: [record[name] for record in records] for name in ('born_charges', 'phonons')}
        columns['flags'] = _flag_lists(block.flags)
        columns['formula'] = [formulas.get(key) for key in columns['hash']]
        yield columns


def _ranking_blocks(node: Any, file: Any) -> Iterator[Columns]:
    formulas, joined = _formulas(node, file), _joined_ids(file)
    names, first = ('rank', 'score', *TENSORS), 0
    for block in file.some_columns(('ids', 'hashes', 'flags', 'reason', 'stability', *names), BLOCK):
        hashes = block['hashes'].tolist()
        yield {
            'id': block['ids'].tolist(),
            'hash': hashes,
            **{name: json_column(block[name]) for name in names},
            'flags': _flag_lists(block['flags']),
            'reason': block['reason'].tolist(),
            'stability': json_column(block['stability']),
            'joined': [joined.get(row, []) for row in range(first, first + len(hashes))],
            'formula': [formulas.get(key) for key in hashes],
        }
        first += len(hashes)


def _joined_ids(file: Any) -> dict[int, list[str]]:
    """Return row of a ranking → ids of the equal crystals that are ranked under it."""
    joined: dict[int, list[str]] = {}
    for block in file.some_columns(('ids', 'joined_to')):
        rows = block['joined_to'] >= 0
        for row, name in zip(block['joined_to'][rows].tolist(), block['ids'][rows].tolist(), strict=True):
            joined.setdefault(row, []).append(name)
    return joined


def _pick_blocks(node: PicksData, file: Any) -> Iterator[Columns]:
    formulas = _formulas(node, file)
    numbers = ('place', 'pick', 'score', 'mean', 'std', 'stability')
    for block in file.some_columns(('ids', 'hashes', 'reason', *numbers), BLOCK):
        hashes = block['hashes'].tolist()
        yield {
            'id': block['ids'].tolist(),
            'hash': hashes,
            'formula': [formulas.get(key) for key in hashes],
            **{name: json_column(block[name]) for name in numbers},
            'reason': block['reason'].tolist(),
        }


def _formulas(node: Any, file: Any) -> dict[str, str]:
    return formulas_of(node, (key for block in file.column('hashes') for key in block.tolist()))


def _flag_lists(flags: np.ndarray) -> list[list[str]]:
    names = {bits: list(flag_names(bits)) for bits in np.unique(flags).tolist()}
    return [names[bits] for bits in flags.tolist()]


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
