"""Datasets joined to one, in which no crystal stands twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.entries import unique_ids
from aiida_goectp.core.crystals.matching import MAX_STRAIN, Alignment, align, primitive_sites
from aiida_goectp.core.crystals.symmetry import CanonicalCell, canonical_cell
from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.splits import reduced_formulas
from aiida_goectp.core.dielectric.tensors import rotate
from aiida_goectp.core.formats.npz import FormatError

__all__ = ('TOLERANCE', 'join_datasets')

TOLERANCE = 0.1
"""relative Frobenius distance beyond which two labels of one crystal disagree"""

_LABELS = ('electronic', 'ionic')


def join_datasets(
    parts: Sequence[Dataset], tolerance: float = TOLERANCE, newcomers: str = ''
) -> tuple[Dataset, dict[str, Any]]:
    """Return all crystals of several datasets, each once for each functional, and what was done.

    Two rows are the same crystal if :func:`.matching.align` says so: cell, orientation, origin and order of atoms do
    not matter, while formula or id alone say nothing. The first row that is trainable is kept, in its own frame; from
    the others it takes the labels and Born charges that it lacks, turned into that frame. A row that gates refuse gives
    nothing. Labels of one crystal that differ by more than the tolerance are reported with both values.

    :param tolerance: relative Frobenius distance of two labels
    :param newcomers: see :func:`.concatenation.concatenate`
    :return: the dataset, and plain JSON: ``rows_given`` of each part, ``rows``, ``functionals`` with their rows,
        ``tolerance``, and the lists ``duplicates``, ``filled`` and ``disagreements``, in which a row is named by its
        part (from 0), its row there and its id
    :raises FormatError: nothing to join, or arguments that mean nothing
    """
    if not tolerance > 0:
        raise FormatError(f'tolerance {tolerance}: give a relative distance above zero, e.g. {TOLERANCE}')
    whole = concatenate(parts, newcomers)
    names: list[dict[str, Any]] = [
        {'part': part, 'row': row, 'id': str(name)}
        for part, data in enumerate(parts)
        for row, name in enumerate(data.crystals.ids)
    ]
    work = _Join(whole, names, tolerance)
    kept = work.run()
    joined = work.result().take(kept)
    # an id is free again where the row that had it is gone
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
    """The rows of all parts, while duplicates give what they have to the row that is kept."""

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
        """Let each crystal stand once; return the rows that are kept, in their order."""
        buckets: dict[tuple[str, str], list[int]] = {}
        formulas = reduced_formulas(self.data.crystals)
        for row, key in enumerate(zip(self.data.functional.tolist(), formulas, strict=True)):
            buckets.setdefault(key, []).append(row)
        kept: list[int] = []
        for rows in buckets.values():
            alone: list[int] = []
            for row in sorted(rows, key=lambda row: (not self.trainable[row], row)):
                for other in alone:
                    alignment = self._same(other, row)
                    if alignment is not None:
                        self._absorb(other, row, alignment)
                        break
                else:
                    alone.append(row)
            kept += alone
        for entries in self.report.values():
            entries.sort(key=lambda entry: (entry['kept']['part'], entry['kept']['row']))
        return sorted(kept)

    def result(self) -> Dataset:
        """Return all rows with what they were given."""
        origin, gates = (np.array(column, dtype=np.str_).reshape(-1) for column in (self.origin, self.gates))
        return replace(self.data, **self.labels, born_charges=self.charges, origin=origin, failed_gates=gates)

    def _same(self, kept: int, row: int) -> Alignment | None:
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

    def _absorb(self, kept: int, row: int, alignment: Alignment) -> None:
        """Take from a duplicate what the kept row lacks, and note where the two disagree."""
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
            have = self.labels[target][kept]
            if not np.isfinite(have).all():
                self._fill(kept, row, target)
                self.labels[target][kept] = offered
                continue
            difference = float(np.linalg.norm(offered - have) / max(np.linalg.norm(have), 1e-12))
            if difference > self.tolerance:
                values = {'value': have.tolist(), 'other_value': offered.tolist()}
                averages = {'average': float(np.trace(have) / 3), 'other_average': float(np.trace(offered) / 3)}
                self.report['disagreements'].append(
                    {**names, 'target': target, 'difference': difference, **averages, **values}
                )
        self._fill_charges(kept, row, alignment)

    def _fill(self, kept: int, row: int, target: str) -> None:
        self.report['filled'].append({'kept': self.names[kept], 'other': self.names[row], 'target': target})
        if self.data.origin[row] != self.data.origin[kept]:
            self.origin[kept] += f'; {target}: {self.data.origin[row]}'
        if target == 'ionic':
            self.gates[kept] = ''  # what failed was the label that is replaced: the row would not be kept otherwise

    def _fill_charges(self, kept: int, row: int, alignment: Alignment) -> None:
        offsets = self.data.crystals.atom_offsets
        mine, theirs = (slice(offsets[place], offsets[place + 1]) for place in (kept, row))
        offered = self.data.born_charges[theirs]
        if np.isfinite(self.charges[mine]).all() or not np.isfinite(offered).all():
            return
        wanted = alignment.permutation[primitive_sites(self.data.crystals[kept], self._cell(kept))]
        given = primitive_sites(self.data.crystals[row], self._cell(row))
        copies = [offered[given == site].mean(axis=0) for site in wanted]
        self.charges[mine] = rotate(np.array(copies), alignment.rotation)
        self._fill(kept, row, 'born_charges')
