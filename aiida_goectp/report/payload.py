"""Data of a report page as plain JSON: columns, tensors, crystals and DFPT results of the candidates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.elements import SYMBOLS, formula
from aiida_goectp.core.dielectric.predictions import FLAG_NAMES, flag_words
from aiida_goectp.core.dielectric.tensors import PARTS
from aiida_goectp.core.figures.gap import lines_of_equal_merit, pareto_front
from aiida_goectp.core.formats.terminal import printable
from aiida_goectp.core.selection.merit import figure_of_merit
from aiida_goectp.report.candidates import Candidates, Computed
from aiida_goectp.report.words import FLAG_MEANINGS

__all__ = ('MAX_ATOMS', 'payload')

MAX_ATOMS = 500_000
"""of all structures in a page, about 15 MB"""

_DIGITS = 6
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def payload(candidates: Candidates) -> dict[str, Any]:
    """Return what the page computes its table, plots and details from; numbers have six digits, NaN is null."""
    merit = figure_of_merit(candidates.figure_of_merit)
    ranked = candidates.rank > 0
    gap, value = candidates.gap, candidates.averages[merit.tensor]
    front = np.flatnonzero(ranked)[pareto_front(gap[ranked], value[ranked])]
    lines = lines_of_equal_merit(merit, gap[ranked], value[ranked])
    return {
        'merit': {'name': merit.name, 'formula': merit.formula, 'tensor': merit.tensor},
        'columns': _columns(candidates),
        'flags': [{'short': flag_words([name]), 'long': FLAG_MEANINGS[name]} for name in FLAG_NAMES],
        'tensors': [
            _row_of_tensors([candidates.tensors[part][row] for part in PARTS]) for row in range(len(candidates))
        ],
        'crystals': _crystals(candidates),
        'elements': _elements(candidates),
        'computed': {str(row): _computed(item) for row, item in candidates.computed.items()},
        'lines': [[_number(level), _numbers(x), _numbers(y)] for level, x, y in lines],
        'front': front.tolist(),
    }


def _columns(candidates: Candidates) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        'id': [printable(name) for name in candidates.ids.tolist()],
        'formula': [
            formula(candidates.crystals[row].atomic_numbers) if row in candidates.crystals else ''
            for row in range(len(candidates))
        ],
        'rank': candidates.rank.tolist(),
        'flags': candidates.flags.tolist(),
        'selected': candidates.selected.astype(int).tolist(),
        'reason': [printable(text) for text in candidates.reason.tolist()],
    }
    for name in ('score', 'score_std', 'gap', 'stability'):
        columns[name] = _numbers(getattr(candidates, name))
    for part in PARTS:
        columns[part] = _numbers(candidates.averages[part])
        columns[f'{part}_std'] = _numbers(candidates.deviations[part])
    return columns


def _number(value: float) -> float | None:
    return float(f'{value:.{_DIGITS}g}') if math.isfinite(value) else None


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_number(value) for value in np.asarray(values, dtype=np.float64).reshape(-1).tolist()]


def _six(tensor: np.ndarray) -> list[float | None] | None:
    """Return xx, yy, zz, yz, xz, xy of the symmetric part of a tensor; None if it is unknown."""
    if not np.isfinite(tensor).all():
        return None
    symmetric = (tensor + tensor.T) / 2
    return [_number(symmetric[place]) for place in _VOIGT]


def _row_of_tensors(tensors: list[np.ndarray]) -> list[Any] | None:
    found = [_six(tensor) for tensor in tensors]
    return found if any(item is not None for item in found) else None


def _crystals(candidates: Candidates) -> list[list[Any] | None]:
    """Return the crystal of each row; None without one, and after the first :data:`MAX_ATOMS` atoms."""
    found: list[list[Any] | None] = []
    atoms = 0
    for row in range(len(candidates)):
        crystal = candidates.crystals.get(row)
        atoms += 0 if crystal is None else len(crystal.atomic_numbers)
        found.append(_crystal(crystal) if atoms <= MAX_ATOMS else None)
    return found


def _crystal(crystal: Any) -> list[Any] | None:
    """Return lattice (9,) in Å, atomic numbers, and fractional positions (3n,)."""
    if crystal is None:
        return None
    lattice = [round(value, 4) for value in np.asarray(crystal.lattice).reshape(-1).tolist()]
    positions = [round(value, 4) for value in np.asarray(crystal.fractional_positions).reshape(-1).tolist()]
    return [lattice, np.asarray(crystal.atomic_numbers).tolist(), positions]


def _elements(candidates: Candidates) -> dict[str, list[Any]]:
    """Return atomic number → symbol, colour and covalent radius in Å, of the elements in the crystals."""
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    numbers = {int(number) for crystal in candidates.crystals.values() for number in crystal.atomic_numbers}
    return {
        str(number): [
            SYMBOLS[number],
            '#' + ''.join(f'{round(255 * part):02x}' for part in jmol_colors[number]),
            round(float(covalent_radii[number]), 2),
        ]
        for number in sorted(numbers)
    }


def _computed(item: Computed) -> Mapping[str, Any]:
    return {
        'verdict': printable(item.verdict),
        'reason': printable(item.reason),
        'tensors': {part: _six(tensor) for part, tensor in item.tensors.items()},
        'averages': {part: _number(value) for part, value in item.averages.items()},
        'accepted': [part for part in PARTS if item.accepts(part)],
        'process': item.process,
        'source': printable(item.source),
        'hours': _number(item.core_hours),
        'round': item.round,
    }
