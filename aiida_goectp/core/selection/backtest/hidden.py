"""Dataset with hidden labels, and the search task of a seed: starting labels, pool, and best crystals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.prototypes import composition
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.backtest.settings import BacktestSettings
from aiida_goectp.core.selection.diversity import StructureMatcher
from aiida_goectp.core.selection.folds import with_base_split
from aiida_goectp.core.selection.merit import figure_of_merit, label_rows

__all__ = ('HiddenPool', 'SearchTask', 'make_hidden_pool', 'make_search_task')


@dataclass(frozen=True, eq=False)
class HiddenPool:
    """Rows of a dataset with a figure of merit.

    :param dataset: n rows without splits, ordered by content hash
    :param value: (n,) figure of merit of the labels
    :param left_out: number of rows that were left out, by reason
    """

    dataset: Dataset
    value: np.ndarray
    left_out: dict[str, int]


def make_hidden_pool(dataset: Dataset, settings: BacktestSettings) -> HiddenPool:
    """Return the rows that can be used in a backtest.

    :param dataset: with labels
    :param settings: of the backtest
    :raises FormatError: fewer rows than starting labels and best crystals, or a missing property column
    """
    figure = figure_of_merit(settings.figure_of_merit)
    value = figure.evaluate(label_rows(dataset.electronic, dataset.ionic), dataset.crystals.properties)
    known, trainable = np.isfinite(value), dataset.trainable
    duplicate = np.ones(len(dataset), dtype=bool)
    duplicate[np.unique(dataset.crystals.hashes, return_index=True)[1]] = False
    rows = np.flatnonzero(known & trainable & ~duplicate)
    needed = settings.start + settings.top_k
    if len(rows) < needed:
        raise FormatError(
            f'{len(rows)} of {len(dataset)} rows have a trainable label and a value of {settings.figure_of_merit}; '
            f'{settings.start} starting labels (start) and {settings.top_k} best crystals (top_k) need {needed}'
        )
    rows = rows[np.argsort(dataset.crystals.hashes[rows], kind='stable')]
    left_out = {
        'failed gates': int((~trainable).sum()),
        f'no value of {settings.figure_of_merit}': int((trainable & ~known).sum()),
        'duplicate crystal': int((trainable & known & duplicate).sum()),
    }
    chosen = replace(dataset.take(rows), splits={}, split_settings={})
    return HiddenPool(chosen, value[rows], {reason: count for reason, count in left_out.items() if count})


@dataclass(frozen=True, eq=False)
class SearchTask:
    """Starting labels of a campaign, its pool, and the crystals to find.

    :param start: labelled rows with the base split
    :param split: name of the base split
    :param pool: n crystals without labels
    :param hidden: their labels, in the same order
    :param target: (k,) rows of the pool with the highest figure of merit, best first, without copies
    :param matcher: structure matcher of the campaigns
    """

    start: Dataset
    split: str
    pool: CrystalSet
    hidden: Dataset
    target: np.ndarray
    matcher: StructureMatcher

    def found(self, verified: CrystalSet) -> np.ndarray:
        """Return (k,) true for the best crystals that are verified.

        A crystal is also found if a copy of it is verified (rotated, in another cell, or of another relaxation), since
        a campaign does not pick both (``diversity.copies``).
        """
        hashes = set(verified.hashes.tolist())
        rows: dict[object, list[int]] = {}
        for row, crystal in enumerate(verified):
            rows.setdefault(composition(crystal), []).append(row)
        found = []
        for target in self.target.tolist():
            crystal, name = self.pool[target], str(self.pool.hashes[target])
            found.append(
                name in hashes
                or any(
                    self.matcher.same(crystal, name, verified[row], str(verified.hashes[row]))
                    for row in rows.get(composition(crystal), [])
                )
            )
        return np.array(found, dtype=bool).reshape(-1)


def make_search_task(
    pool: HiddenPool, settings: BacktestSettings, seed: int, matcher: StructureMatcher | None = None
) -> SearchTask:
    """Return the search task of a seed; it depends on the crystals, not on the order of the rows.

    A copy of a starting crystal or of a better target is no target: a campaign does not compute it
    (``diversity.copies``).

    :param pool: rows of the dataset
    :param settings: of the backtest
    :param seed: selects the starting labels
    :param matcher: of another task, so that no crystal is analysed twice
    :raises FormatError: too few starting labels for a split by formula, or too few different crystals
    """
    order = np.random.default_rng(seed).permutation(len(pool.dataset))
    first, rest = np.sort(order[: settings.start]), np.sort(order[settings.start :])
    start, split = with_base_split(pool.dataset.take(first), None, seed)
    hidden, value = pool.dataset.take(rest), pool.value[rest]
    matcher = matcher or StructureMatcher(settings.diversity.volume_tolerance)
    ordered = np.lexsort((hidden.crystals.hashes, -value)).tolist()
    target = _different(ordered, settings.top_k, hidden.crystals, start.crystals, matcher, settings.diversity.copies)
    return SearchTask(start, split, hidden.crystals, hidden, target, matcher)


def _different(
    order: list[int], number: int, pool: CrystalSet, start: CrystalSet, matcher: StructureMatcher, copies: bool
) -> np.ndarray:
    """Return the first rows of the pool that are no copies of a starting crystal or of an earlier row.

    :param copies: whether copies count as one crystal
    :raises FormatError: there are fewer
    """
    known: dict[object, list[tuple[Crystal, str]]] = {}
    for crystal, name in zip(start, start.hashes.tolist(), strict=True):
        known.setdefault(composition(crystal), []).append((crystal, name))
    found: list[int] = []
    for row in order:
        if len(found) == number:
            break
        crystal, name = pool[row], str(pool.hashes[row])
        others = known.setdefault(composition(crystal), [])
        if not copies or not any(matcher.same(crystal, name, *other) for other in others):
            found.append(row)
            others.append((crystal, name))
    if len(found) < number:
        raise FormatError(
            f'top_k: the pool has {len(found)} different crystals besides the starting ones, not {number}'
        )
    return np.array(found, dtype=np.int64)
