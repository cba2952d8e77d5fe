"""Predictions as text and as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet, Failure
from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.dielectric.gamma_modes import mode_groups
from aiida_goectp.core.dielectric.gamma_phonons import NATURAL_HYDROGEN
from aiida_goectp.core.dielectric.predictions import DEVIATIONS, TENSORS, Predictions, flag_names
from aiida_goectp.core.dielectric.tensors import PARTS, anisotropy, eigenvalues, polycrystalline_average
from aiida_goectp.core.formats.numbers import with_deviation, with_deviations
from aiida_goectp.core.formats.terminal import json_text, printable

__all__ = ('NO_STATIC_PERMITTIVITY', 'json_lines', 'phonon_lines', 'text', 'with_failed_rows')

NO_STATIC_PERMITTIVITY = (
    'no static permittivity in this structure: an optical mode is unstable (flag unstable); the ionic part is '
    'computed as if the negative force constant were positive'
)
"""meaning of the flag ``unstable`` for the tensors"""


def with_failed_rows(predictions: Predictions, failures: Sequence[Failure]) -> Predictions:
    """Return the predictions with a failed row, whose hash is empty, for each row that could not be read."""
    if not failures:
        return predictions
    n = len(failures)
    tensors: dict[str, Any] = {name: np.full((n, 3, 3), np.nan) for name in TENSORS}
    failed = Predictions(
        ids=np.array([failure.id for failure in failures], dtype=np.str_),
        hashes=np.full(n, '', dtype=np.str_),
        **tensors,
        flags=np.zeros(n, dtype=np.uint32),
        errors=np.array([f'{failure.code}: {failure.message}' for failure in failures], dtype=np.str_),
        model_hash=predictions.model_hash,
    )
    return replace(Predictions.join([predictions, failed]), settings=predictions.settings)


def json_lines(crystals: CrystalSet, predictions: Predictions) -> Iterator[str]:
    """Yield one JSON object a row: id, lattice, tensors, standard deviations, stability, flags, and error if it failed.

    Tensors are given in the frame of ``lattice`` (rows a, b, c in Å); a tensor that the model does not predict is null.
    ``average_std``, ``anisotropy_std`` and ``eigenvalues_std`` are lists in the order electronic, ionic, total, as in
    ``predictions.npz``; null for a model without uncertainty. If phonons were asked for, ``born_charges`` has one
    tensor for each atom of the crystal as given, and ``phonons`` the primitive cell and its modes; null for a row
    without them. The rows that could not be read are at the end.
    """
    for row, crystal in enumerate(crystals):
        record = {'id': crystal.id, 'lattice': _json_value(crystal.lattice)}
        record.update({name: _json_value(getattr(predictions, name)[row]) for name in TENSORS})
        record.update({name: [_json_value(part) for part in getattr(predictions, name)[row]] for name in DEVIATIONS})
        record['stability'] = _json_value(predictions.stability[row])
        if predictions.phonons is not None:
            record |= predictions.phonons.record(row)
        record['flags'] = list(flag_names(predictions.flags[row]))
        if predictions.errors[row]:
            record['error'] = str(predictions.errors[row])
        yield json_text(record)
    for failure in crystals.failures:
        more = () if predictions.phonons is None else ('born_charges', 'phonons')
        nulls = {name: None for name in ('lattice', *TENSORS, *DEVIATIONS, 'stability', *more)}
        yield json_text({'id': failure.id, **nulls, 'flags': [], 'error': f'{failure.code}: {failure.message}'})


def _json_value(array: np.ndarray) -> list | float | None:
    return array.tolist() if np.isfinite(array).all() else None  # JSON has no NaN


def text(crystals: CrystalSet, predictions: Predictions, row: int = 0) -> str:
    """Return tensors, averages, eigenvalues and anisotropies of one row as text, each ± standard deviation.

    The deviation of a tensor is a tensor with the same principal axes, printed to its right.
    """
    if row >= len(crystals):
        return f'{printable(predictions.ids[row])}\nfailed: {predictions.errors[row]}'
    crystal = crystals[row]
    lines = [f'{printable(crystal.id)}: {len(crystal.atomic_numbers)} atoms, lattice rows a, b, c in Å']
    lines += ['  ' + '  '.join(f'{value:10.5f}' for value in vector) for vector in crystal.lattice]
    if predictions.errors[row]:
        return '\n'.join([*lines, f'failed: {predictions.errors[row]}'])
    for place, name in enumerate(PARTS):
        if np.isfinite(getattr(predictions, name)[row]).all():
            lines += _tensor_lines(predictions, row, place, name)
    if predictions.unstable[row]:
        lines.append(NO_STATIC_PERMITTIVITY)
    lines += phonon_lines(predictions, row)
    if np.isfinite(predictions.stability[row]):
        lines.append(f'probability that no mode is unstable: {predictions.stability[row]:.2f}')
    if flags := flag_names(predictions.flags[row]):
        lines.append('flags: ' + ', '.join(flags))
    return '\n'.join(lines)


def _tensor_lines(predictions: Predictions, row: int, place: int, name: str) -> list[str]:
    tensor, deviation = (getattr(predictions, column)[row] for column in (name, f'{name}_std'))
    average = with_deviation(float(polycrystalline_average(tensor)), predictions.average_std[row, place], '.3f')
    values = with_deviations(eigenvalues(tensor), predictions.eigenvalues_std[row, place], '.3f')
    heading = f'{name}: average {average}, eigenvalues {values}'
    if name != 'ionic':  # its smallest eigenvalue may vanish
        heading += f', anisotropy {with_deviation(float(anisotropy(tensor)), predictions.anisotropy_std[row, place])}'
    has_deviation = np.isfinite(deviation).all()
    lines = [heading]
    for axis, vector in enumerate(tensor):
        line = '  ' + _numbers(vector)
        lines.append(f'{line}   ±  {_numbers(deviation[axis])}' if has_deviation else line)
    return lines


def phonon_lines(predictions: Predictions, row: int) -> list[str]:
    """Return Born charges and modes of a row as text, empty if they were not asked for."""
    phonons, cell = predictions.phonons, predictions.phonon_cell(row)
    if phonons is None:
        return []
    if cell is None:
        return ['no phonons: the layers were brought closer for the prediction']
    charges = np.trace(cell.born_charges, axis1=1, axis2=2) / 3
    symbols = symbols_of(cell.atomic_numbers)
    lines = ['Born charges of the primitive cell, mean of the diagonal in e:']
    lines.append('  ' + '  '.join(f'{name} {charge:+.2f}' for name, charge in zip(symbols, charges, strict=True)))
    lines.append('modes at Γ: frequency in THz (i: imaginary), number, contribution to the average of ionic')
    place = phonons.row_modes(row)
    arrays = (phonons.frequencies[place], phonons.contributions[place], phonons.infrared_active[place])
    for group in mode_groups(*arrays):
        share = f'{group.contribution:10.4f}' if group.active else '  not infrared active'
        if group.frequency < 0:
            share = '  unstable, no static response'
        mark = 'i' if group.frequency < 0 else ' '
        lines.append(f'  {abs(group.frequency):9.3f}{mark} ×{group.degeneracy}  {share}')
    return [*lines, NATURAL_HYDROGEN] if 1 in cell.atomic_numbers else lines


def _numbers(vector: np.ndarray) -> str:
    return '  '.join(f'{value:10.4f}' for value in np.round(vector, 4) + 0.0)  # + 0.0 turns −0.0 into 0.0
