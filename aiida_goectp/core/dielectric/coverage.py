"""Whether stated intervals hold what they should: shares of labels within ±1.645 standard deviations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ('INTERVAL', 'QUANTITIES', 'quantities', 'shares_within')

QUANTITIES = ('average', 'anisotropy', 'eigenvalues')
INTERVAL = 1.6449
"""standard deviations to either side of a normal distribution that hold 90 %"""


def quantities(tensor: np.ndarray) -> dict[str, np.ndarray]:
    """Return average (c,), anisotropy (c,) and ascending eigenvalues (c, 3) of symmetric tensors (c, 3, 3)."""
    values = np.linalg.eigvalsh(tensor)
    with np.errstate(divide='ignore', invalid='ignore'):
        return {'average': values.mean(axis=1), 'anisotropy': values[:, 2] / values[:, 0], 'eigenvalues': values}


def shares_within(said: np.ndarray, truth: np.ndarray, sigmas: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the share (%) of labels that lie within the stated 90 % interval, by quantity.

    Principal values count one by one. What has no positive standard deviation does not count: an anisotropy that
    symmetry fixes to one, or a row without any.

    :param said: (c, 3, 3) predicted tensors
    :param truth: (c, 3, 3) labels
    :param sigmas: quantity → (c,) or, of the eigenvalues, (c, 3) standard deviations
    """
    found, labels, shares = quantities(said), quantities(truth), {}
    for name in QUANTITIES:
        sigma = np.asarray(sigmas[name])
        counted = np.isfinite(sigma) & (sigma > 0)
        if counted.any():
            within = np.abs(found[name] - labels[name]) <= INTERVAL * sigma
            shares[name] = float(within[counted].mean() * 100)
    return shares
