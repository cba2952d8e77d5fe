"""Tables of dielectric responses and of gate results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from aiida_goectp.cli import echo
from aiida_goectp.core.dielectric.frequencies import optical_frequencies
from aiida_goectp.core.dielectric.tensors import PART_SYMBOLS
from aiida_goectp.core.formats.text_tables import make_table, show_table, text_of
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.report.words import GATE_RESULTS

__all__ = ('gates_table', 'is_diagonal', 'show_response', 'tensor_text')

_SMALL = 5e-3
"""off-diagonal entries below this fraction of the largest entry are not printed"""


def tensor_text(tensor: Any, *, rows: bool | None = None) -> str:
    """Return a tensor as text: its diagonal in one line if it is diagonal, otherwise three lines.

    :param tensor: (3, 3), or None
    :param rows: three lines (true) or one (false) whatever the entries are
    """
    if tensor is None:
        return ''
    array = np.asarray(tensor, dtype=np.float64)
    if rows is None:
        rows = not is_diagonal(array)
    if not rows:
        return '  '.join(f'{value:.2f}' for value in np.diag(array))
    return '\n'.join('  '.join(f'{value:6.2f}' for value in line) for line in array)


def is_diagonal(tensor: Any) -> bool:
    """Return whether all off-diagonal entries are negligible."""
    array = np.asarray(tensor, dtype=np.float64)
    return bool(np.abs(array - np.diag(np.diag(array))).max() <= _SMALL * np.abs(array).max())


def gates_table(quality: Mapping[str, Any]) -> Table:
    """Return every gate with its value and threshold.

    :param quality: output ``quality`` of an engine
    """
    lines = [
        [gate['name'], gate['part'], GATE_RESULTS[gate['passed']], gate['message'], gate['value'], gate['threshold']]
        for gate in quality['gates']
    ]
    columns = ['gate', 'part', 'result', 'finding', 'value', 'threshold']
    return make_table(f'Gates: {quality["label"]}', columns, lines, 4)


def show_response(node: DielectricData) -> None:
    """Print the tensors, convergence and cell of a response."""
    response = node.dielectric
    tensors = {symbol: getattr(response, part) for part, symbol in PART_SYMBOLS.items()}
    lines = [
        [symbol, Text(tensor_text(tensor)), float(np.trace(tensor) / 3)]
        for symbol, tensor in tensors.items()
        if tensor is not None
    ]
    title = f'{node.base.attributes.get("formula")}, {response.functional} by {response.engine}'
    show_table(make_table(title, ['', 'tensor', 'average'], lines, 2))
    optical = [] if response.frequencies is None else optical_frequencies(response.frequencies).tolist()
    values = {
        'band gap (eV)': response.band_gap,
        'largest force (eV/Å)': response.max_force,
        'lowest optical frequency (THz)': optical[0] if optical else None,
    }
    known = [f'{name} {text_of(value)}' for name, value in values.items() if value is not None]
    echo.echo(', '.join([*known, 'converged' if response.scf_converged else 'NOT converged']))
    lattice = '; '.join(' '.join(f'{value:.4f}' for value in row) for row in np.asarray(response.crystal.lattice))
    if response.phonon_cell() is not None:
        echo.echo(f'modes and Born charges: aiida-goectp phonons show {node.pk}')
    echo.echo(f'frame: {len(response.crystal.atomic_numbers)} atoms in the cell {lattice} Å')
