"""Coverage of prediction intervals: the share of labels within a number of standard deviations of the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

from aiida_goectp.core.dielectric.tensors import PARTS

__all__ = (
    'INTERVAL',
    'QUANTITIES',
    'coverage',
    'coverage_by_level',
    'coverage_by_target',
    'quantities',
    'within_interval',
)

QUANTITIES = ('average', 'anisotropy', 'eigenvalues')
"""quantities with a standard deviation of their own"""
INTERVAL = 1.6449
"""half width of the 90 % interval of a normal distribution, in standard deviations"""


def quantities(tensor: np.ndarray) -> dict[str, np.ndarray]:
    """Return average (c,), anisotropy (c,) and ascending eigenvalues (c, 3) of symmetric tensors (c, 3, 3)."""
    values = np.linalg.eigvalsh(tensor)
    with np.errstate(divide='ignore', invalid='ignore'):
        return {'average': values.mean(axis=1), 'anisotropy': values[:, 2] / values[:, 0], 'eigenvalues': values}


def within_interval(errors: np.ndarray | float, deviations: np.ndarray | float, reach: float = INTERVAL) -> np.ndarray:
    """Return where the error is at most a number of standard deviations.

    :param errors: predicted − label
    :param deviations: standard deviations, the same shape
    :param reach: number of standard deviations; by default of the 90 % interval
    """
    return np.abs(errors) <= reach * deviations


def coverage(errors: np.ndarray, deviations: np.ndarray, reach: float = INTERVAL) -> float:
    """Return the share of values within the interval, between 0 and 1; NaN if no value counts.

    A value without label, or without a positive standard deviation, does not count: symmetry may fix an anisotropy to
    one, and a row may have no standard deviation.

    :param errors: predicted − label, any shape; NaN where there is no label
    :param deviations: standard deviations, the same shape
    :param reach: number of standard deviations; by default of the 90 % interval
    :raises ValueError: different shapes
    """
    errors, deviations = np.asarray(errors, float), np.asarray(deviations, float)
    if errors.shape != deviations.shape:
        raise ValueError(f'errors have shape {errors.shape}, standard deviations {deviations.shape}')
    counted = ~np.isnan(errors) & np.isfinite(deviations) & (deviations > 0)
    return float(within_interval(errors[counted], deviations[counted], reach).mean()) if counted.any() else np.nan


def coverage_by_level(errors: np.ndarray, deviations: np.ndarray, levels: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the :func:`coverage` of intervals with given nominal coverages, (k,) between 0 and 1.

    The interval of nominal coverage p reaches z((1 + p)/2) standard deviations to either side, where z is the quantile
    function of the normal distribution.

    :param levels: (k,) nominal coverages between 0 and 1
    """
    quantile = NormalDist().inv_cdf
    return np.array([coverage(errors, deviations, quantile((1 + float(level)) / 2)) for level in levels])


def coverage_by_target(
    predicted: np.ndarray, labels: np.ndarray, deviations: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Return the coverage (%) of the 90 % interval by target and quantity; eigenvalues count one by one.

    :param predicted: (c, 3, 3, 3) tensors: electronic, ionic, total; NaN where missing
    :param labels: (c, 3, 3, 3) likewise
    :param deviations: quantity → standard deviations: average and anisotropy (c, 3), eigenvalues (c, 3, 3); the second
        axis is electronic, ionic, total
    :return: target → quantity → %, without those in which no value counts
    """
    found: dict[str, dict[str, float]] = {}
    for place, target in enumerate(PARTS):
        known = np.isfinite(predicted[:, place]).all(axis=(1, 2)) & np.isfinite(labels[:, place]).all(axis=(1, 2))
        values, truth = quantities(predicted[known, place]), quantities(labels[known, place])
        shares = {
            name: coverage(values[name] - truth[name], deviations[name][known, place]) * 100 for name in QUANTITIES
        }
        if counted := {name: share for name, share in shares.items() if not np.isnan(share)}:
            found[target] = counted
    return found
