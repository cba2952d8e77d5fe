"""Discovery curves: number of the best crystals found, by number of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ('SHARES', 'Summary', 'labels_needed', 'random_found', 'random_needed', 'summarise')

SHARES = (0.5, 0.8, 0.9)
"""fractions of the best crystals for which the number of labels is reported"""


def random_found(labels: np.ndarray, best: int, pool: int) -> np.ndarray:
    """Return the mean number of the best crystals among randomly drawn labels, best · labels / pool.

    It is the mean of the hypergeometric distribution.

    :param labels: (r,) numbers of labels
    :param best: number of best crystals in the pool
    :param pool: number of crystals in the pool
    """
    return best * np.asarray(labels, dtype=np.float64) / pool


def random_needed(share: float, best: int, pool: int) -> float:
    """Return the mean number of randomly drawn labels that contain a fraction of the best crystals.

    The m-th of K crystals in a pool of N is drawn after m (N + 1) / (K + 1) labels on average: the mean of the negative
    hypergeometric distribution.

    :param share: fraction
    :param best: number of best crystals in the pool
    :param pool: number of crystals in the pool
    """
    wanted = int(np.ceil(share * best - 1e-9))
    return wanted * (pool + 1) / (best + 1)


def labels_needed(labels: Sequence[int] | np.ndarray, found: Sequence[int] | np.ndarray, wanted: float) -> float:
    """Return the number of labels after which a number of crystals was found, in whole rounds; NaN if never.

    :param labels: (r,) number of labels after each round, ascending from 0
    :param found: (r,) number of crystals found
    :param wanted: number of crystals
    """
    enough = np.flatnonzero(np.asarray(found) >= wanted - 1e-9)
    return float(np.asarray(labels)[enough[0]]) if len(enough) else float('nan')


class Summary(NamedTuple):
    """Results of the campaigns of one acquisition function with s seeds."""

    name: str
    best: int
    """number of best crystals in the pool"""
    seeds: tuple[int, ...]
    labels: np.ndarray
    """(r,) numbers of labels, from 0"""
    found: np.ndarray
    """(s, r) number of the best crystals found"""
    predicted: float | None = None
    """predictions in units of those of a campaign that does not prune its pool; None if it does not"""

    def needed(self, share: float) -> np.ndarray:
        """Return the number of labels of each seed for a fraction of the best crystals (s,); NaN if not reached."""
        return np.array([labels_needed(self.labels, row, share * self.best) for row in self.found])

    def needed_on_average(self, share: float) -> float:
        """Return the number of labels at which the mean over the seeds reaches a fraction; NaN if not reached."""
        return labels_needed(self.labels, self.found.mean(axis=0), share * self.best)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON; null for a fraction that was not reached."""
        needed = {f'{share:.0%}': [_number(value) for value in self.needed(share)] for share in SHARES}
        return {
            'name': self.name,
            'best': self.best,
            'seeds': list(self.seeds),
            'labels': self.labels.tolist(),
            'found': self.found.tolist(),
            'labels_needed': needed,
            'labels_needed_on_average': {f'{share:.0%}': _number(self.needed_on_average(share)) for share in SHARES},
            **({} if self.predicted is None else {'predicted': self.predicted}),
        }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def summarise(name: str, curves: Mapping[int, tuple[Sequence[int], Sequence[int]]], best: int) -> Summary:
    """Return the campaigns of one acquisition function on one grid of labels.

    A campaign that ended early has fewer rounds; its last number is repeated.

    :param name: acquisition function
    :param curves: seed → numbers of labels, and of the best crystals found, after each round from 0 labels
    :param best: number of best crystals in the pool
    :raises ValueError: no campaign, or one that does not start from 0 labels
    """
    if not curves or any(not len(labels) or labels[0] != 0 or len(labels) != len(f) for labels, f in curves.values()):
        raise ValueError(f'{name}: each campaign needs equal numbers of labels and counts, the first for 0 labels')
    grid = np.unique(np.concatenate([labels for labels, _ in curves.values()]))
    seeds = tuple(sorted(curves))
    found = [np.asarray(curves[seed][1])[np.searchsorted(curves[seed][0], grid, side='right') - 1] for seed in seeds]
    return Summary(name, best, seeds, grid, np.array(found))
