"""Known crystals of a campaign: those that are verified, and those that failed permanently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aiida_goectp.core.crystals.concatenate import concatenate_crystals
from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.trained_rows import training_functionals
from aiida_goectp.core.dielectric.tensors import polycrystalline_average
from aiida_goectp.core.formats.names import GAP_COLUMN
from aiida_goectp.core.formats.npz import check_shape
from aiida_goectp.core.selection.diversity import StructureMatcher
from aiida_goectp.core.selection.equal_crystals import composition_keys
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.merit import FigureOfMerit, figure_of_merit, label_rows

__all__ = ('KnownCrystals', 'known_rows')


@dataclass(frozen=True, eq=False)
class KnownCrystals:
    """Crystals that are not picked again.

    :param crystals: m crystals
    :param score: (m,) figure of merit of the label, NaN for a failure or if a property is unknown
    :param objectives: (m, 2) band gap in eV and ε_poly of the label, NaN if unknown
    :param failure: (m,) why it failed permanently, empty for a verified crystal
    """

    crystals: CrystalSet
    score: np.ndarray
    objectives: np.ndarray
    failure: np.ndarray

    def __post_init__(self) -> None:
        m = len(self.crystals)
        check_shape('known crystals', 'score', self.score, (m,), 'f')
        check_shape('known crystals', 'objectives', self.objectives, (m, 2), 'f')
        check_shape('known crystals', 'failure', self.failure, (m,), 'U')

    @property
    def verified(self) -> np.ndarray:
        """(m,) true for crystals with a label."""
        return self.failure == ''

    def top(self, k: int) -> tuple[str, ...]:
        """Return the content hashes of the k best verified crystals, best first; ties by hash."""
        rows = np.flatnonzero(self.verified & np.isfinite(self.score))
        hashes = self.crystals.hashes
        order = rows[np.lexsort((hashes[rows], -self.score[rows]))]
        return tuple(str(hashes[row]) for row in order[:k])

    def filtered(self, filters: Filters, pool: CrystalSet) -> KnownCrystals:
        """Return the same crystals, without the values of those that do not meet the conditions on candidates.

        As for a candidate, a property must be known.

        :param pool: its property columns are those of crystals (by content hash) without their own
        """
        properties = {name: _column(self.crystals, name, pool) for name in filters.columns}
        passes = filters.passes(replace(self.crystals, properties=properties))
        score, objectives = np.where(passes, self.score, np.nan), np.where(passes[:, None], self.objectives, np.nan)
        return replace(self, score=score, objectives=objectives)

    def copies(self, crystals: CrystalSet, rows: Iterable[int], matcher: StructureMatcher) -> dict[int, int]:
        """Return which rows of crystals are copies of a known crystal, see :meth:`.StructureMatcher.same`.

        :param rows: to compare
        :return: row → row of the known crystal; a verified one precedes one that failed
        """
        own, keys = (composition_keys(items).compositions[:, 0] for items in (self.crystals, crystals))
        by_formula: dict[int, list[int]] = {}
        for row in np.argsort(~self.verified, kind='stable').tolist():
            by_formula.setdefault(int(own[row]), []).append(row)
        compared = np.array(list(rows), dtype=np.int64)
        hashes, known_hashes = crystals.hashes, self.crystals.hashes
        found = {}
        for row in compared[np.isin(keys[compared], own)].tolist():
            for other in by_formula[int(keys[row])]:
                crystal, name = self.crystals[other], str(known_hashes[other])
                if matcher.same(crystals[row], str(hashes[row]), crystal, name):
                    found[row] = other
                    break
        return found

    @classmethod
    def empty(cls) -> KnownCrystals:
        """Return no known crystals."""
        none = CrystalSet.from_crystals([])
        return cls(none, np.zeros(0), np.zeros((0, 2)), np.array([], dtype=np.str_))

    @classmethod
    def of_dataset(
        cls,
        dataset: Dataset,
        merit: str | FigureOfMerit,
        pool: CrystalSet | None = None,
        outcomes: Mapping[str, str] | None = None,
        functionals: Sequence[str] = (),
    ) -> KnownCrystals:
        """Return the known crystals of a dataset and of earlier picks.

        A trainable row with the tensor that the figure of merit needs is verified. A row without that tensor which
        fails a gate failed permanently. A row that only lacks the tensor is not known. Of several rows with equal
        content, as of several functionals, one is known, see :func:`known_rows`.

        The label of a pick is stored with its relaxed cell, whose hash may differ from that of the crystal in the pool.
        Therefore the crystals of ``outcomes`` are added from the pool, without a score.

        :param merit: figure of merit, or its name
        :param pool: contains the crystals of ``outcomes``, and the property columns of crystals (by content hash) whose
            row in the dataset has none
        :param outcomes: content hash in the pool → why it failed permanently, empty if it is verified; see
            :meth:`.History.outcomes`
        :param functionals: see :func:`known_rows`
        :raises FormatError: unknown figure of merit
        """
        figure = figure_of_merit(merit) if isinstance(merit, str) else merit
        verified = _verified(dataset, figure)
        rows = known_rows(dataset, figure, functionals)
        score, objectives = _evaluate(dataset, figure, verified, pool)
        failures = ['' if verified[row] else f'failed gates {dataset.failed_gates[row]}' for row in rows.tolist()]
        parts = [dataset.crystals.take(rows)]
        if pool is not None and outcomes:
            names, in_dataset = pool.hashes.tolist(), set(dataset.crystals.hashes[rows].tolist())
            others = [row for row, name in enumerate(names) if name in outcomes and name not in in_dataset]
            parts.append(pool.take(others))
            failures += [outcomes[names[row]] for row in others]
        crystals = concatenate_crystals(parts)
        added = len(crystals) - len(rows)
        return cls(
            crystals,
            np.concatenate([score[rows], np.full(added, np.nan)]),
            np.concatenate([objectives[rows], np.full((added, 2), np.nan)]),
            np.array(failures, dtype=np.str_).reshape(-1),
        )


def known_rows(dataset: Dataset, figure: FigureOfMerit, functionals: Sequence[str] = ()) -> np.ndarray:
    """Return the rows of a dataset that are known, ascending: one for each content hash.

    Of several, a verified row precedes one that failed permanently, then the order of the functionals decides, then
    that of the rows.

    :param functionals: that the model distinguishes, the predicted one first; if not given, the functional of most
        trainable rows
    """
    verified = _verified(dataset, figure)
    rows = np.flatnonzero(verified | (dataset.failed_gates != ''))
    places = {name: place for place, name in enumerate(training_functionals(functionals, dataset))}
    order = np.array([places.get(str(name), len(places)) for name in dataset.functional[rows]], dtype=np.int64)
    first = rows[np.lexsort((rows, order, ~verified[rows]))]
    return np.sort(first[np.unique(dataset.crystals.hashes[first], return_index=True)[1]])


def _verified(dataset: Dataset, figure: FigureOfMerit) -> np.ndarray:
    """Return whether each row (n,) is trainable and has the tensor that the figure of merit needs."""
    return np.asarray(np.isfinite(getattr(dataset, figure.tensor)).all(axis=(1, 2)) & dataset.trainable)


def _evaluate(
    dataset: Dataset, figure: FigureOfMerit, verified: np.ndarray, pool: CrystalSet | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the figure of merit (n,), and band gap and ε_poly (n, 2), of each row; NaN if it is not verified."""
    columns = {name: _column(dataset.crystals, name, pool) for name in {*figure.columns, GAP_COLUMN}}
    score = np.full(len(dataset), np.nan)
    if verified.any():
        rows = np.flatnonzero(verified)
        labels = label_rows(dataset.electronic[rows], dataset.ionic[rows])
        score[rows] = figure.evaluate(labels, {name: column[rows] for name, column in columns.items()})
    gap = np.where(columns[GAP_COLUMN] >= 0, columns[GAP_COLUMN], np.nan)
    objectives = np.stack([gap, polycrystalline_average(dataset.total)], axis=1)
    return score, np.where(verified[:, None], objectives, np.nan)


def _column(crystals: CrystalSet, name: str, pool: CrystalSet | None) -> np.ndarray:
    """Return a property (n,) as numbers, missing ones taken from the crystals of equal content in the pool."""
    column = crystals.properties.get(name)
    found = np.full(len(crystals), np.nan) if column is None or column.dtype.kind == 'U' else column.astype(np.float64)
    of_pool = None if pool is None else pool.properties.get(name)
    if pool is None or of_pool is None or of_pool.dtype.kind == 'U':
        return found
    values = dict(zip(pool.hashes.tolist(), of_pool.astype(np.float64).tolist(), strict=True))
    for row in np.flatnonzero(np.isnan(found)).tolist():
        found[row] = values.get(str(crystals.hashes[row]), np.nan)
    return found
