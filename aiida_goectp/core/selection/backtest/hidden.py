"""A dataset whose labels are hidden, and what a seed makes of it: labels to begin with, a pool, and what to find."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.selection.backtest.settings import BacktestSettings
from aiida_goectp.core.selection.diversity import StructureMatcher, composition
from aiida_goectp.core.selection.folds import with_base_split
from aiida_goectp.core.selection.merit import figure_of_merit, label_rows

__all__ = ('HiddenPool', 'SearchTask', 'make_hidden_pool', 'make_search_task')


@dataclass(frozen=True, eq=False)
class HiddenPool:
    """The rows of a dataset whose figure of merit is known.

    :param dataset: n rows without splits, in an order that hangs on their content alone
    :param value: (n,) figure of merit of the labels
    :param left_out: rows that were left out, by the reason
    """

    dataset: Dataset
    value: np.ndarray
    left_out: dict[str, int]


def make_hidden_pool(dataset: Dataset, settings: BacktestSettings) -> HiddenPool:
    """Return the rows that a backtest can be made with.

    :raises FormatError: fewer rows than the start and the best ones need, or a property that is missing altogether
    """
    figure = figure_of_merit(settings.figure_of_merit)
    value = figure.evaluate(label_rows(dataset.electronic, dataset.ionic), dataset.crystals.properties)
    known, good = np.isfinite(value), dataset.trainable
    twice = np.ones(len(dataset), dtype=bool)
    twice[np.unique(dataset.crystals.hashes, return_index=True)[1]] = False
    used = known & good & ~twice
    rows = np.flatnonzero(used)
    needed = settings.start + settings.top_k
    if len(rows) < needed:
        raise FormatError(
            f'{len(rows)} of {len(dataset)} rows have a label that may be used and a value of '
            f'{settings.figure_of_merit}; a start of {settings.start} and a top {settings.top_k} need {needed}'
        )
    rows = rows[np.argsort(dataset.crystals.hashes[rows], kind='stable')]
    left = {
        'failed gates': int((~good).sum()),
        f'no value of {settings.figure_of_merit}': int((good & ~known).sum()),
        'a crystal that stands there before': int((good & known & twice).sum()),
    }
    chosen = replace(dataset.take(rows), splits={}, split_settings={})
    return HiddenPool(chosen, value[rows], {reason: count for reason, count in left.items() if count})


@dataclass(frozen=True, eq=False)
class SearchTask:
    """What one campaign begins with, and what it is to find.

    :param start: labelled rows with the base split
    :param split: its name
    :param pool: n crystals without labels; rows as in ``hidden``
    :param hidden: their labels
    :param target: (k,) rows of the pool with the highest figure of merit, best first
    :param likeness: what is known of crystals that are one
    """

    start: Dataset
    split: str
    pool: CrystalSet
    hidden: Dataset
    target: np.ndarray
    likeness: StructureMatcher

    def found(self, verified: CrystalSet) -> np.ndarray:
        """Return (k,) true for the best ones that are verified.

        A crystal of which a copy is verified counts as found, since a campaign does not buy the same crystal twice
        (``diversity.copies``): rotated, in another cell, or of another relaxation.
        """
        hashes = set(verified.hashes.tolist())
        rows: dict[object, list[int]] = {}
        for row, crystal in enumerate(verified):
            rows.setdefault(composition(crystal), []).append(row)
        found = []
        for place in self.target.tolist():
            crystal, name = self.pool[place], str(self.pool.hashes[place])
            found.append(
                name in hashes
                or any(
                    self.likeness.same(crystal, name, verified[row], str(verified.hashes[row]))
                    for row in rows.get(composition(crystal), [])
                )
            )
        return np.array(found, dtype=bool).reshape(-1)


def make_search_task(
    problem: HiddenPool, settings: BacktestSettings, seed: int, likeness: StructureMatcher | None = None
) -> SearchTask:
    """Return the campaign of a seed; it hangs on the crystals, not on the order of the rows.

    :param likeness: kept from another campaign, so that no crystal is analysed twice
    :raises FormatError: too few labels to begin with for a split by formula
    """
    order = np.random.default_rng(seed).permutation(len(problem.dataset))
    begun, rest = np.sort(order[: settings.start]), np.sort(order[settings.start :])
    start, split = with_base_split(problem.dataset.take(begun), None, seed)
    hidden, value = problem.dataset.take(rest), problem.value[rest]
    target = np.lexsort((hidden.crystals.hashes, -value))[: settings.top_k]
    found = likeness or StructureMatcher(settings.diversity.volume_tolerance)
    return SearchTask(start, split, hidden.crystals, hidden, target, found)
