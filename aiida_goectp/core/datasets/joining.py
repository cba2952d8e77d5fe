"""Joining of datasets into one without duplicate crystals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.concatenate import unique_ids
from aiida_goectp.core.crystals.matching import Alignment, primitive_sites
from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.row_gates import charges_usable, force_constants_usable
from aiida_goectp.core.datasets.same_crystals import SameCrystals
from aiida_goectp.core.datasets.splits import reduced_formulas
from aiida_goectp.core.dielectric.gamma_modes import folded, to_blocks
from aiida_goectp.core.dielectric.tensors import rotate
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.functionals import is_named

__all__ = ('TOLERANCE', 'join_datasets')

TOLERANCE = 0.1
"""relative Frobenius distance beyond which two labels of one crystal are reported as a disagreement"""

_TENSORS = 'electronic', 'ionic'
_USABLE: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        'electronic': lambda failed: True,
        'ionic': lambda failed: True,
        'born_charges': charges_usable,
        'force_constants': force_constants_usable,
    }
)
"""label → whether a trainable row with these failed gates may be trained on it; a failed ionic part is NaN already"""


def join_datasets(
    parts: Sequence[Dataset], tolerance: float = TOLERANCE, newcomers: str = ''
) -> tuple[Dataset, dict[str, Any]]:
    """Join datasets: each crystal is kept once for each functional.

    Two rows are duplicates if :func:`.matching.align` matches the crystals, whatever cell, orientation, origin and
    order of atoms; formula and id are not used. The first trainable row is kept, in its own frame. Labels that it
    lacks, or that a gate refuses, are taken from trainable duplicates and rotated into that frame. Two cases are
    reported instead (``not_filled``, with ``reason``): ``unknown_functional``, rows of different origin whose
    functionals may differ, and ``other_cell``, force constants for a row with more atoms than the primitive cell, which
    do not follow from those of another cell. Tensors that differ by more than the tolerance are reported with both
    values; the first one is kept.

    :param tolerance: relative Frobenius distance of two labels
    :param newcomers: see :func:`.concatenation.concatenate`
    :return: the dataset, and a report in plain JSON: ``rows_given`` of each part, ``rows``, ``functionals`` with their
        number of rows, ``tolerance``, and the lists ``duplicates``, ``filled``, ``not_filled`` and ``disagreements``,
        in which a row is identified by its part (from 0), its row there and its id
    :raises FormatError: no dataset, or an invalid argument
    """
    if not tolerance > 0:
        raise FormatError(f'tolerance: expected a relative distance above zero, such as {TOLERANCE}; found {tolerance}')
    whole = concatenate(parts, newcomers)
    names: list[dict[str, Any]] = [
        {'part': part, 'row': row, 'id': str(name)}
        for part, data in enumerate(parts)
        for row, name in enumerate(data.crystals.ids)
    ]
    work = _Join(whole, names, tolerance)
    kept = work.run()
    joined = work.result().take(kept)
    # the suffix of an id is not needed if the row with the same id was dropped
    ids = np.array(unique_ids([names[row]['id'] for row in kept]), dtype=np.str_).reshape(-1)
    joined = replace(joined, crystals=replace(joined.crystals, ids=ids, failures=whole.crystals.failures))
    functionals, counts = np.unique(joined.functional, return_counts=True)
    return joined, {
        'rows_given': [len(part) for part in parts],
        'rows': len(joined),
        'functionals': dict(zip(functionals.tolist(), counts.tolist(), strict=True)),
        'tolerance': float(tolerance),
        **work.report,
    }


class _Join:
    """Rows of all parts during the join."""

    def __init__(self, data: Dataset, names: list[dict[str, Any]], tolerance: float) -> None:
        self.data = data
        self.names = names
        self.tolerance = tolerance
        self.trainable = data.trainable
        self.labels = {name: column.copy() for name in _USABLE if (column := getattr(data, name)) is not None}
        self.origin, self.gates = data.origin.tolist(), data.failed_gates.tolist()
        self.report: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ('duplicates', 'filled', 'not_filled', 'disagreements')
        }
        self.same = SameCrystals(data.crystals)

    def run(self) -> list[int]:
        """Merge duplicates; return the rows that are kept, in ascending order."""
        buckets: dict[tuple[str, str], list[int]] = {}
        formulas = reduced_formulas(self.data.crystals)
        for row, key in enumerate(zip(self.data.functional.tolist(), formulas, strict=True)):
            buckets.setdefault(key, []).append(row)
        kept: list[int] = []
        for rows in buckets.values():
            distinct: list[int] = []
            for row in sorted(rows, key=lambda row: (not self.trainable[row], row)):
                for other in distinct:
                    alignment = self.same.alignment(other, row)
                    if alignment is not None:
                        self._merge(other, row, alignment)
                        break
                else:
                    distinct.append(row)
            kept += distinct
        for entries in self.report.values():
            entries.sort(key=lambda entry: (entry['kept']['part'], entry['kept']['row']))
        return sorted(kept)

    def result(self) -> Dataset:
        """Return all rows with the labels taken from duplicates."""
        origin, gates = (np.array(column, dtype=np.str_).reshape(-1) for column in (self.origin, self.gates))
        return replace(self.data, **self.labels, origin=origin, failed_gates=gates)

    def _merge(self, kept: int, row: int, alignment: Alignment) -> None:
        """Take missing labels from a duplicate, and report disagreements."""
        names = {'kept': self.names[kept], 'other': self.names[row]}
        entry = {**names, 'strain': alignment.strain, 'distance': alignment.distance}
        self.report['duplicates'].append(entry)
        if not self.trainable[row]:
            entry['refused'] = self.gates[row] or 'no label'
            return
        self._compare(kept, row, alignment, names)
        failed = self.data.failed_gates[row]
        wanted = [
            name
            for name, column in self.labels.items()
            if not self._is_usable(name, column, kept, self.gates[kept])
            and self._is_usable(name, getattr(self.data, name), row, failed)
        ]
        if not is_named(str(self.data.functional[row])) and self.data.origin[row] != self.data.origin[kept]:
            reasons = dict.fromkeys(wanted, 'unknown_functional')
        else:
            reasons = {}
            if 'force_constants' in wanted and not self._determines_force_constants(kept, row):
                reasons['force_constants'] = 'other_cell'
        self.report['not_filled'] += [{**names, 'target': name, 'reason': reason} for name, reason in reasons.items()]
        self._fill(kept, row, alignment, [name for name in wanted if name not in reasons])

    def _compare(self, kept: int, row: int, alignment: Alignment, names: dict[str, Any]) -> None:
        """Report tensors that differ by more than the tolerance."""
        for target in _TENSORS:
            current = self.labels[target][kept]
            offered = rotate(getattr(self.data, target)[row], alignment.rotation)
            difference = float(np.linalg.norm(offered - current) / max(np.linalg.norm(current), 1e-12))
            if difference > self.tolerance:  # false if one is missing
                values = {'value': current.tolist(), 'other_value': offered.tolist()}
                averages = {'average': float(np.trace(current) / 3), 'other_average': float(np.trace(offered) / 3)}
                self.report['disagreements'].append(
                    {**names, 'target': target, 'difference': difference, **averages, **values}
                )

    def _place(self, name: str, row: int) -> int | slice:
        """Return the place of a row in the column of a label: itself, its atoms, or its pairs of atoms."""
        if name in _TENSORS:
            return row
        offsets = self.data.crystals.atom_offsets if name == 'born_charges' else self.data.block_offsets
        return slice(offsets[row], offsets[row + 1])

    def _is_usable(self, name: str, column: np.ndarray, row: int, failed: str) -> bool:
        return bool(np.isfinite(column[self._place(name, row)]).all()) and _USABLE[name](str(failed))

    def _fill(self, kept: int, row: int, alignment: Alignment, targets: Sequence[str]) -> None:
        """Take labels from a duplicate, with its failed gates if those of the kept row refuse one of them."""
        failed = self.gates[kept]
        values = {'born_charges': self._charges_for, 'force_constants': self._force_constants_for}
        for name in targets:
            place = self._place(name, kept)
            if name in values:
                self.labels[name][place] = values[name](kept, row, alignment)
            else:
                self.labels[name][place] = rotate(getattr(self.data, name)[row], alignment.rotation)
            self.report['filled'].append({'kept': self.names[kept], 'other': self.names[row], 'target': name})
            if self.data.origin[row] != self.data.origin[kept]:
                self.origin[kept] += f'; {name}: {self.data.origin[row]}'
        if ('ionic' in targets and failed) or not all(_USABLE[name](failed) for name in targets):
            for name in self.labels:
                if name not in targets and not _USABLE[name](failed):
                    self.labels[name][self._place(name, kept)] = np.nan  # the gates that refused it are replaced
            self.gates[kept] = str(self.data.failed_gates[row])

    def _sites(self, row: int) -> np.ndarray:
        """Return the atom of its primitive cell for each atom of a row, (n,)."""
        return primitive_sites(self.data.crystals[row], self.same.cell(row))

    def _charges_for(self, kept: int, row: int, alignment: Alignment) -> np.ndarray:
        """Return the Born charges (n, 3, 3) of a duplicate for the atoms of the kept row."""
        offered, given = self.data.born_charges[self._place('born_charges', row)], self._sites(row)
        wanted = alignment.permutation[self._sites(kept)]
        return rotate(np.array([offered[given == site].mean(axis=0) for site in wanted]), alignment.rotation)

    def _determines_force_constants(self, kept: int, row: int) -> bool:
        """Return whether those of a duplicate determine those of the kept row, at Γ of its cell."""
        hashes, atoms = self.data.crystals.hashes, self.data.crystals.atom_counts
        return bool(hashes[kept] == hashes[row] or atoms[kept] == len(self.same.cell(kept).atomic_numbers))

    def _force_constants_for(self, kept: int, row: int, alignment: Alignment) -> np.ndarray:
        """Return the force constants (n², 3, 3) of a duplicate for the atoms of the kept row."""
        assert self.data.force_constants is not None
        offered = self.data.force_constants[self._place('force_constants', row)]
        hashes = self.data.crystals.hashes
        if hashes[kept] == hashes[row]:
            return offered
        n = len(self.same.cell(row).atomic_numbers)
        blocks = to_blocks(folded(offered, self._sites(row), n)).reshape(n, n, 3, 3)
        order = alignment.permutation[self._sites(kept)]
        return rotate(blocks[np.ix_(order, order)].reshape(-1, 3, 3), alignment.rotation)
