"""Joining of datasets into one without duplicate crystals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.concatenate import unique_ids
from aiida_goectp.core.crystals.matching import MAX_STRAIN, Alignment, align, primitive_sites
from aiida_goectp.core.crystals.symmetry import CanonicalCell, canonical_cell
from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.splits import reduced_formulas
from aiida_goectp.core.dielectric.tensors import rotate
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('TOLERANCE', 'join_datasets')

TOLERANCE = 0.1
"""relative Frobenius distance beyond which two labels of one crystal are reported as a disagreement"""

_LABELS = ('electronic', 'ionic')


def join_datasets(
    parts: Sequence[Dataset], tolerance: float = TOLERANCE, newcomers: str = ''
) -> tuple[Dataset, dict[str, Any]]:
    """Join datasets: each crystal is kept once for each functional.

    Two rows are duplicates if :func:`.matching.align` matches the crystals, whatever cell, orientation, origin and
    order of atoms; formula and id are not used. The first trainable row is kept, in its own frame. Labels and Born
    charges that it lacks are taken from trainable duplicates and rotated into that frame. Labels that differ by more
    than the tolerance are reported with both values; the first one is kept.

    :param tolerance: relative Frobenius distance of two labels
    :param newcomers: see :func:`.concatenation.concatenate`
    :return: the dataset, and a report in plain JSON: ``rows_given`` of each part, ``rows``, ``functionals`` with their
        number of rows, ``tolerance``, and the lists ``duplicates``, ``filled`` and ``disagreements``, in which a row is
        identified by its part (from 0), its row there and its id
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
        self.labels = {name: getattr(data, name).copy() for name in _LABELS}
        self.charges = data.born_charges.copy()
        self.origin, self.gates = data.origin.tolist(), data.failed_gates.tolist()
        self.report: dict[str, list[dict[str, Any]]] = {'duplicates': [], 'filled': [], 'disagreements': []}
        self._cells: dict[int, CanonicalCell] = {}
        counts = np.maximum(data.crystals.atom_counts, 1)
        self._volumes = np.abs(np.linalg.det(data.crystals.lattices)) / counts

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
                    alignment = self._align(other, row)
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
        return replace(self.data, **self.labels, born_charges=self.charges, origin=origin, failed_gates=gates)

    def _align(self, kept: int, row: int) -> Alignment | None:
        hashes = self.data.crystals.hashes
        if hashes[kept] == hashes[row]:
            return Alignment(np.eye(3), np.arange(len(self._cell(row).atomic_numbers)), 0.0, 0.0)
        if abs(np.log(self._volumes[kept] / self._volumes[row])) > 3.1 * MAX_STRAIN:
            return None
        return align(self._cell(kept), self._cell(row))

    def _cell(self, row: int) -> CanonicalCell:
        if row not in self._cells:
            self._cells[row] = canonical_cell(self.data.crystals[row])
        return self._cells[row]

    def _merge(self, kept: int, row: int, alignment: Alignment) -> None:
        """Take missing labels from a duplicate, and report disagreements."""
        names = {'kept': self.names[kept], 'other': self.names[row]}
        entry = {**names, 'strain': alignment.strain, 'distance': alignment.distance}
        self.report['duplicates'].append(entry)
        if not self.trainable[row]:
            entry['refused'] = self.gates[row] or 'no label'
            return
        for target in _LABELS:
            offered = rotate(getattr(self.data, target)[row], alignment.rotation)
            if not np.isfinite(offered).all():
                continue
            current = self.labels[target][kept]
            if not np.isfinite(current).all():
                self._fill(kept, row, target)
                self.labels[target][kept] = offered
                continue
            difference = float(np.linalg.norm(offered - current) / max(np.linalg.norm(current), 1e-12))
            if difference > self.tolerance:
                values = {'value': current.tolist(), 'other_value': offered.tolist()}
                averages = {'average': float(np.trace(current) / 3), 'other_average': float(np.trace(offered) / 3)}
                self.report['disagreements'].append(
                    {**names, 'target': target, 'difference': difference, **averages, **values}
                )
        self._fill_charges(kept, row, alignment)

    def _fill(self, kept: int, row: int, target: str) -> None:
        self.report['filled'].append({'kept': self.names[kept], 'other': self.names[row], 'target': target})
        if self.data.origin[row] != self.data.origin[kept]:
            self.origin[kept] += f'; {target}: {self.data.origin[row]}'
        if target == 'ionic':
            self.gates[kept] = ''  # of a trainable row, only gates of the replaced label can have failed

    def _fill_charges(self, kept: int, row: int, alignment: Alignment) -> None:
        offsets = self.data.crystals.atom_offsets
        atoms, other_atoms = (slice(offsets[place], offsets[place + 1]) for place in (kept, row))
        offered = self.data.born_charges[other_atoms]
        if np.isfinite(self.charges[atoms]).all() or not np.isfinite(offered).all():
            return
        wanted = alignment.permutation[primitive_sites(self.data.crystals[kept], self._cell(kept))]
        given = primitive_sites(self.data.crystals[row], self._cell(row))
        copies = [offered[given == site].mean(axis=0) for site in wanted]
        self.charges[atoms] = rotate(np.array(copies), alignment.rotation)
        self._fill(kept, row, 'born_charges')
