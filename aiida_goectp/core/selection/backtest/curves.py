"""Curves of what was found, and how many labels it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ('SHARES', 'Summary', 'labels_needed', 'random_found', 'random_needed', 'summarise')

SHARES = (0.5, 0.8, 0.9)
"""of the best, of which one wants to know how many labels they cost"""


def random_found(labels: np.ndarray, best: int, pool: int) -> np.ndarray:
    """Return how many of the best are found on average by labels drawn blindly: best · labels / pool.

    The mean of the hypergeometric distribution.
    """
    return best * np.asarray(labels, dtype=np.float64) / pool


def random_needed(share: float, best: int, pool: int) -> float:
    """Return how many labels drawn blindly find a share of the best, on average.

    The m-th of K in a pool of N comes after m (N + 1) / (K + 1) draws: the mean of the negative hypergeometric
    distribution.
    """
    wanted = int(np.ceil(share * best - 1e-9))
    return wanted * (pool + 1) / (best + 1)


def labels_needed(labels: Sequence[int] | np.ndarray, found: Sequence[int] | np.ndarray, wanted: float) -> float:
    """Return the labels after which so many were found, by whole rounds; NaN if they never were.

    :param labels: (r,) bought after each round, ascending, beginning with 0
    :param found: (r,) found by then
    """
    enough = np.flatnonzero(np.asarray(found) >= wanted - 1e-9)
    return float(np.asarray(labels)[enough[0]]) if len(enough) else float('nan')


class Summary(NamedTuple):
    """What the campaigns of one acquisition function found, s seeds."""

    name: str
    best: int
    """how many there are to find"""
    seeds: tuple[int, ...]
    labels: np.ndarray
    """(r,) labels bought, from 0 on"""
    found: np.ndarray
    """(s, r) how many of the best"""

    def needed(self, share: float) -> np.ndarray:
        """Return the labels that each seed needed for a share of the best, (s,); NaN where they were not found."""
        return np.array([labels_needed(self.labels, row, share * self.best) for row in self.found])

    def needed_on_average(self, share: float) -> float:
        """Return the labels after which the mean over the seeds reaches a share, NaN if it does not."""
        return labels_needed(self.labels, self.found.mean(axis=0), share * self.best)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON; null for labels that did not suffice."""
        needed = {f'{share:.0%}': [_number(value) for value in self.needed(share)] for share in SHARES}
        return {
            'name': self.name,
            'best': self.best,
            'seeds': list(self.seeds),
            'labels': self.labels.tolist(),
            'found': self.found.tolist(),
            'labels_needed': needed,
            'labels_needed_on_average': {f'{share:.0%}': _number(self.needed_on_average(share)) for share in SHARES},
        }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def summarise(name: str, curves: Mapping[int, tuple[Sequence[int], Sequence[int]]], best: int) -> Summary:
    """Return the campaigns of one acquisition function side by side.

    A campaign that found everything, or ran out of candidates, has fewer rounds; its last number holds on.

    :param curves: seed → labels bought, and how many of the best were found by then, after each round, from 0 on
    :param best: how many there are to find
    :raises ValueError: no campaign, or one without its beginning
    """
    if not curves or any(not len(labels) or labels[0] != 0 or len(labels) != len(f) for labels, f in curves.values()):
        raise ValueError(f'{name}: each campaign needs as many counts as numbers of labels, the first of 0 labels')
    grid = np.unique(np.concatenate([labels for labels, _ in curves.values()]))
    seeds = tuple(sorted(curves))
    found = [np.asarray(curves[seed][1])[np.searchsorted(curves[seed][0], grid, side='right') - 1] for seed in seeds]
    return Summary(name, best, seeds, grid, np.array(found))
