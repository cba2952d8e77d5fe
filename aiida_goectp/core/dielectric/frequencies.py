"""Comparison of predicted and computed frequencies of one crystal at Γ."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.dielectric.response import DielectricResponse

__all__ = ('OTHER_CELL', 'compare_frequencies', 'optical_frequencies')

OTHER_CELL = 'other_cell'
"""problem: both cells have different numbers of atoms, and hence of modes"""


def optical_frequencies(frequencies: np.ndarray) -> np.ndarray:
    """Return the optical frequencies (3n − 3,) in ascending order; the three closest to zero are the acoustic ones.

    :param frequencies: (3n,) THz, imaginary ones negative
    """
    return np.sort(frequencies[np.argsort(np.abs(frequencies), kind='stable')[3:]])


def compare_frequencies(predictions: Predictions, row: int, response: DielectricResponse) -> dict[str, Any] | None:
    """Compare predicted and computed optical frequencies, matched in ascending order.

    Both are transverse, without the macroscopic field. The prediction is that of the reduced primitive cell, with
    standard atomic weights. The computed ones are those of the computed force constants in the primitive cell, with the
    same masses; those of the calculation, which may have isotopes, if it has no force constants. A cell with more
    atoms than the primitive cell has modes elsewhere than at Γ of it; without force constants, it is not matched.

    :param row: of the crystal in the predictions
    :return: plain JSON: ``predicted`` and ``dfpt``, optical frequencies in THz in ascending order; ``atoms`` of the
        cell of each; ``mean_absolute_error`` in THz, None if they are not matched; ``problem``, :data:`OTHER_CELL` or
        empty. None without predicted phonons, or for a crystal without optical modes. ``dfpt`` is None if the response
        has no frequencies
    """
    phonons = predictions.phonons
    if phonons is None or phonons.atom_counts[row] < 2:
        return None
    predicted = np.sort(phonons.frequencies[phonons.row_modes(row)].astype(np.float64))
    wanted, atoms = int(phonons.atom_counts[row]), len(response.crystal.atomic_numbers)
    computed = None if response.frequencies is None else optical_frequencies(response.frequencies)
    given = response.phonon_cell()
    if given is not None and len((cell := given.primitive()).atomic_numbers) == wanted:
        computed, atoms = cell.modes().frequencies, wanted
    matched = computed if computed is not None and len(computed) == len(predicted) else None
    return {
        'predicted': predicted.tolist(),
        'dfpt': None if computed is None else computed.tolist(),
        'atoms': {'predicted': wanted, 'dfpt': atoms},
        'mean_absolute_error': None if matched is None else float(np.abs(predicted - matched).mean()),
        'problem': OTHER_CELL if matched is None and computed is not None else '',
    }
