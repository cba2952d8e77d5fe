"""Export of nodes to files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from aiida_goectp.cli.views.dataset_exports import dataset_lines
from aiida_goectp.cli.views.export_columns import BLOCK, NESTED, Columns, column_blocks
from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.formats.terminal import RowsOnDemand, csv_cell, json_pieces, json_text, printable
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.model import ModelData

__all__ = ('export_pieces', 'exported_rows')

_BYTES = 2**20
"""of a stored file that are copied at once"""


def export_pieces(node: Any, file_format: str) -> Iterator[bytes]:
    """Yield consecutive pieces of the content of a file, so that the whole is never in memory.

    ``json``: a list of one object per row; NaN becomes null. ``csv``: one line per row, scalars only; a text that
    spreadsheets would execute as a formula begins with an apostrophe. ``cif`` and ``extxyz``: all structures; a CIF
    contains ids, but no Cartesian frame, extended XYZ also properties. ``jsonl``: labelled JSON lines of a dataset.

    :param node: crystals, a dataset, a model, predictions, a ranking, picks or a dielectric response
    :param file_format: npz or safetensors (the stored file), json, jsonl, csv, cif or extxyz
    """
    if file_format in ('npz', 'safetensors'):
        return _stored_file(node)
    if file_format == 'cif':
        return _cif([node.dielectric.crystal] if isinstance(node, DielectricData) else _crystals(node))
    if file_format == 'extxyz':
        return _extxyz(node)
    if file_format == 'jsonl':
        return _json_lines(node)
    if file_format == 'csv':
        return _csv(column_blocks(node, complete=False))
    card = {'hash': node.content_hash, **node.card.model_dump(mode='json')} if isinstance(node, ModelData) else None
    return _json(exported_rows(node) if card is None else card)


def exported_rows(node: Any) -> RowsOnDemand:
    """Return one object per row of a table, computed when they are written; NaN becomes None.

    :param node: crystals, a dataset, predictions, a ranking, picks or a dielectric response
    """

    def rows() -> Iterator[dict[str, Any]]:
        for block in column_blocks(node):
            for values in zip(*block.values(), strict=True):
                yield dict(zip(block, values, strict=True))

    return RowsOnDemand(rows, len(node))


def _stored_file(node: Any) -> Iterator[bytes]:
    with node.base.repository.open(node.FILE, 'rb') as stream:
        yield from iter(partial(stream.read, _BYTES), b'')


def _json(content: Any) -> Iterator[bytes]:
    for piece in json_pieces(content, 1):
        yield piece.encode()
    yield b'\n'


def _json_lines(node: Any) -> Iterator[bytes]:
    data = node.dataset
    for first in range(0, len(data), BLOCK):
        block = data.take(np.arange(first, min(first + BLOCK, len(data))))
        for row in dataset_lines(block):
            yield json_text(row).encode() + b'\n'


def _csv(blocks: Iterable[Columns]) -> Iterator[bytes]:
    """Yield a table of scalars: of a tensor the polycrystalline average and its standard deviation; no phonons."""
    header = False
    for block in blocks:
        columns = {csv_cell(name): cells for name, cells in _scalars(block)}
        stream = io.StringIO()
        writer = csv.writer(stream)
        if not header:
            writer.writerow(columns)
            header = True
        writer.writerows(zip(*columns.values(), strict=True))
        yield stream.getvalue().encode()
    if not header:
        yield b'\r\n'


def _scalars(block: Columns) -> Iterator[tuple[str, list[Any]]]:
    """Yield name and cells of each column of a table of scalars."""
    for name, values in block.items():
        if name in NESTED:
            continue
        if not isinstance(values[0], list):
            yield name, ['' if value is None else csv_cell(value) for value in values]
        elif name in PARTS:
            traces = [(value[0][0], value[1][1], value[2][2]) for value in values]
            yield name, ['' if None in trace else sum(trace) / 3 for trace in traces]
        elif name in ('flags', 'joined'):
            yield name, [csv_cell(' '.join(value)) for value in values]
    for part, deviations in zip(PARTS, zip(*block.get('average_std', ()), strict=True), strict=False):
        yield f'{part}_std', ['' if deviation is None else deviation for deviation in deviations]


def _crystals(node: Any) -> Iterator[Crystal]:
    for block in _crystal_blocks(node):
        yield from block


def _crystal_blocks(node: Any) -> Iterator[CrystalSet]:
    with node.open_rows() as rows:
        yield from rows.blocks(size=BLOCK)


def _cif(crystals: Iterable[Crystal]) -> Iterator[bytes]:
    """Yield a data block for each crystal, with a unique name, and the id as ``_goectp_id``."""
    from ase.io import write
    from gemmi.cif import quote

    from aiida_goectp.core.crystals.convert import to_ase

    taken: dict[str, int] = {}
    for row, crystal in enumerate(crystals):
        stream = io.BytesIO()
        write(stream, to_ase(crystal), format='cif')
        value = quote(printable(crystal.id))
        space = '\n' if value.startswith(';') else '  '  # a text field begins a line
        head = f'data_{_block_name(crystal.id, taken)}\n_goectp_id{space}{value}'
        text = stream.getvalue().replace(b'data_image0', head.encode(), 1)
        yield b'\n' + text if row else text


def _block_name(id: str, taken: dict[str, int]) -> str:
    """Return the name of a data block, unique without regard to case, as CIF requires.

    :param id: of the crystal; characters other than ASCII letters, digits, ``-``, ``_`` and ``.`` become ``_``
    :param taken: name in lower case → number of blocks that asked for it; the new one is added
    """
    first = ''.join(char if char.isascii() and (char.isalnum() or char in '-_.') else '_' for char in id)
    name, number = first, taken.get(first.lower(), 0)
    while name.lower() in taken:
        number += 1
        name = f'{first}_{number}'
    taken[first.lower()] = max(number, 1)
    taken[name.lower()] = taken.get(name.lower(), 1)
    return name


def _extxyz(node: Any) -> Iterator[bytes]:
    from ase.io import write

    from aiida_goectp.core.crystals.convert import to_ase
    from aiida_goectp.core.crystals.structurefiles import comment_entries

    for crystals in _crystal_blocks(node):
        frames = []
        for row, crystal in enumerate(crystals):
            atoms = to_ase(crystal)
            properties = {name: column[row].item() for name, column in crystals.properties.items()}
            atoms.info = comment_entries(crystal.id, properties)
            frames.append(atoms)
        stream = io.StringIO()
        write(stream, frames, format='extxyz')
        yield stream.getvalue().encode()
