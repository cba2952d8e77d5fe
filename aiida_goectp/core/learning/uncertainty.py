"""How sure a model is of a crystal: committee spread and last-layer features, scaled by what validation rows showed.

For each quantity q of a tensor (average, anisotropy, principal values) the variance is
a² spread² + b² reach² + c² size², with

- spread: standard deviation of q over the members of a committee;
- reach: what a change of the head's last linear map does to q, given how far the crystal's features lie from those of
  the training set (last-layer prediction rigidity; Bigi, Chong, Ceriotti and Grasselli, Mach. Learn.: Sci. Technol. 5,
  045018 (2024)): ε − offset = 4π n S², S linear in the features f with variance ∝ h = fᵀ (Σ f fᵀ)⁻¹ f, so that a
  principal value λ of ε − offset has the standard deviation 2 √(4π n λ h);
- size: of q itself, since errors grow with the tensor.

a, b, c have the largest likelihood (errors as a Laplace distribution, whose tails theirs resemble) on validation rows,
and are scaled together until the stated 90 % intervals, ±1.645 standard deviations, hold 90 % of these rows
(split-conformal; Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.dielectric.coverage import INTERVAL, QUANTITIES, quantities

__all__ = ('COVERAGE', 'Deviations', 'Raw', 'calibrate', 'deviations')

TARGETS = ('electronic', 'ionic', 'total')
COVERAGE = 0.9
_FLOOR = 0.05
"""of a principal value in the reach, which would vanish with it"""
_SMALL = 1e-9


class Raw(NamedTuple):
    """What a committee says of c crystals, before anything is made of it."""

    members: np.ndarray
    """(m, c, 3, 3, 3) electronic, ionic and total of each member; NaN where not predicted"""
    leverage: np.ndarray
    """(c,) h, mean over the members; NaN for a model without"""
    density: np.ndarray
    """(c,) atoms per Å³"""


class Deviations(NamedTuple):
    """Standard deviations; the middle axis is electronic, ionic, total."""

    tensors: np.ndarray
    """(c, 3, 3, 3) with the principal axes of the mean tensor, and the deviations of its principal values"""
    average: np.ndarray
    """(c, 3)"""
    anisotropy: np.ndarray
    """(c, 3) of the ratio of the largest to the smallest principal value; none for the ionic part, whose smallest may
    vanish"""
    eigenvalues: np.ndarray
    """(c, 3, 3) of the principal values in ascending order"""


class _Parts(NamedTuple):
    """For one quantity: its value, and the three parts of its standard deviation; each (c,) or (c, 3)."""

    value: np.ndarray
    spread: np.ndarray
    reach: np.ndarray
    size: np.ndarray


def _parts(raw: Raw, target: int) -> tuple[dict[str, _Parts], np.ndarray]:
    """Return the parts of each quantity's deviation, and the principal axes (c, 3, 3)."""
    members = raw.members[:, :, target]
    values, axes = np.linalg.eigh(members.mean(axis=0))
    # in the axes of the mean, so that values which symmetry makes equal are so in every member
    each = np.einsum('cik,mcij,cjk->mck', axes, members, axes)
    offset = 0.0 if TARGETS[target] == 'ionic' else 1.0
    above = np.clip(values - offset, _FLOOR, None)
    leverage = np.nan_to_num(raw.leverage, nan=0.0)
    reach = 2 * np.sqrt(4 * np.pi * raw.density * leverage)[:, None] * np.sqrt(above)
    spread = each.std(axis=0, ddof=1) if len(each) > 1 else np.zeros_like(values)
    mean = each.mean(axis=2)
    average = _Parts(
        values.mean(axis=1),
        mean.std(axis=0, ddof=1) if len(each) > 1 else np.zeros(len(values)),
        np.sqrt((reach**2).sum(axis=1)) / 3,
        above.mean(axis=1),
    )
    found = {'average': average, 'eigenvalues': _Parts(values, spread, reach, above)}
    if offset:
        found['anisotropy'] = _ratio(values, spread, reach, above)
    return found, axes


def _ratio(values: np.ndarray, spread: np.ndarray, reach: np.ndarray, above: np.ndarray) -> _Parts:
    ratio = values[:, 2] / values[:, 0]
    # the ratio of values that symmetry makes equal is one, for sure
    free = ratio - 1 > 1e-6

    def of(part: np.ndarray) -> np.ndarray:
        return np.where(free, ratio * np.hypot(part[:, 0] / values[:, 0], part[:, 2] / values[:, 2]), 0.0)

    return _Parts(ratio, of(spread), of(reach), np.where(free, ratio - 1, 0.0))


def calibrate(raw: Raw, labels: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Return the factors a, b, c by target and quantity.

    :param labels: (c, 3, 3, 3) electronic, ionic, total; NaN where missing
    :return: of targets and quantities that ten rows or more can tell
    """
    found: dict[str, dict[str, list[float]]] = {}
    for place, target in enumerate(TARGETS):
        known = np.isfinite(labels[:, place]).all(axis=(1, 2)) & np.isfinite(raw.members[:, :, place]).all(
            axis=(0, 2, 3)
        )
        if known.sum() < 10:
            continue
        rows = Raw(raw.members[:, known], raw.leverage[known], raw.density[known])
        truth = quantities(labels[known, place])
        parts, _ = _parts(rows, place)
        found[target] = {name: _fit(part, truth[name]) for name, part in parts.items()}
    return found


def _fit(part: _Parts, truth: np.ndarray) -> list[float]:
    from scipy.optimize import minimize  # a third of the start of every prediction, and needed in training alone

    errors = np.abs(part.value - truth).ravel()
    squares = np.stack([part.spread.ravel() ** 2, part.reach.ravel() ** 2, part.size.ravel() ** 2])
    telling = squares.sum(axis=0) > _SMALL**2
    errors, squares = errors[telling], squares[:, telling]
    if len(errors) < 10:
        return [1.0, 0.0, 0.0]
    used = squares.mean(axis=1) > _SMALL**2
    # each part alone would have to explain the errors: a start of the right size
    start = 0.5 * np.log((errors**2).mean() / squares[used].mean(axis=1) / used.sum())

    def cost(logs: np.ndarray) -> float:
        sigma = np.sqrt(np.exp(2 * logs) @ squares[used]) + _SMALL
        return float(np.mean(np.log(sigma) + math.sqrt(2) * errors / sigma) + 1e-4 * ((logs - start) ** 2).sum())

    best = minimize(cost, start, method='Nelder-Mead', options={'maxiter': 2000, 'xatol': 1e-4, 'fatol': 1e-7})
    factors = np.zeros(3)
    factors[used] = np.exp(best.x)
    sigma = np.sqrt(factors**2 @ squares) + _SMALL
    ratio = np.sort(errors / (INTERVAL * sigma))
    rank = min(len(ratio) - 1, math.ceil((len(ratio) + 1) * COVERAGE) - 1)
    return [float(factor) for factor in factors * ratio[rank]]


def deviations(raw: Raw, calibration: dict[str, Any]) -> Deviations:
    """Return the standard deviations of each crystal's tensors.

    :param calibration: as :func:`calibrate` returns it; the bare spread of the committee if empty
    """
    count = raw.members.shape[1]
    result = Deviations(
        *(np.full(shape, np.nan) for shape in ((count, 3, 3, 3), (count, 3), (count, 3), (count, 3, 3)))
    )
    for place, target in enumerate(TARGETS):
        factors = calibration.get(target)
        if factors is None and len(raw.members) > 1:
            factors = {name: [1.0, 0.0, 0.0] for name in QUANTITIES}
        known = np.isfinite(raw.members[:, :, place]).all(axis=(0, 2, 3))
        if factors is None or not known.any():
            continue
        parts, axes = _parts(Raw(raw.members[:, known], raw.leverage[known], raw.density[known]), place)
        sigma = {name: _sigma(part, factors[name]) for name, part in parts.items()}
        result.average[known, place], result.eigenvalues[known, place] = sigma['average'], sigma['eigenvalues']
        if 'anisotropy' in sigma:
            result.anisotropy[known, place] = sigma['anisotropy']
        result.tensors[known, place] = np.einsum('cik,ck,cjk->cij', axes, sigma['eigenvalues'], axes)
    return result


def _sigma(part: _Parts, factors: list[float]) -> np.ndarray:
    a, b, c = factors
    return np.sqrt((a * part.spread) ** 2 + (b * part.reach) ** 2 + (c * part.size) ** 2)
