"""Standard deviations of predicted tensors, from committee and last-layer features, calibrated on validation rows.

For each quantity q of a tensor (average, anisotropy, principal values) the variance is
a² spread² + b² rigidity² + c² magnitude², with

- spread: standard deviation of q over the members of a committee;
- rigidity: change of q with a change of the last linear map of the head, given the distance of the features of the
  crystal from those of the training set (last-layer prediction rigidity; Bigi, Chong, Ceriotti and Grasselli, Mach.
  Learn.: Sci. Technol. 5, 045018 (2024)): ε − offset = 4π n S², S linear in the features f with variance
  ∝ h = fᵀ (Σ f fᵀ)⁻¹ f, so that a principal value λ of ε − offset has the standard deviation 2 √(4π n λ h);
- magnitude: q itself, since errors grow with the tensor.

a, b, c maximise the likelihood of the errors on validation rows (as a Laplace distribution, whose tails resemble
theirs). They are then scaled together until the stated 90 % intervals, ±1.645 standard deviations, contain 90 % of
these rows (split-conformal; Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.dielectric.coverage import INTERVAL, QUANTITIES, quantities
from aiida_goectp.core.dielectric.tensors import PARTS

__all__ = (
    'COVERAGE',
    'CommitteeOutput',
    'Deviations',
    'calibrate',
    'calibrate_lowest',
    'deviations',
    'stability',
)

COVERAGE = 0.9
_MIN_ROWS = 10
"""labelled rows of a target below which it is not calibrated"""
_FLOOR = 0.05
"""smallest principal value that counts for the rigidity, which would vanish with it"""
_SMALL = 1e-9
_VANISHING = 1e-6
"""ionic part that is zero by symmetry"""
_OFFSETS = np.array([0.0 if target == 'ionic' else 1.0 for target in PARTS])
"""what a principal value of each target is without a crystal"""


class CommitteeOutput(NamedTuple):
    """Output of the m members of a committee for c crystals."""

    members: np.ndarray
    """(m, c, 3, 3, 3) electronic, ionic and total of each member; NaN where not predicted"""
    leverage: np.ndarray
    """(c,) h, mean over the members; NaN for a model without calibration"""
    density: np.ndarray
    """(c,) atoms per Å³"""
    lowest: np.ndarray | None = None
    """(k, c) lowest optical eigenvalue of the force constants, eV/Å², of each of the k members that predict force
    constants; None if none does"""
    soft_modes: np.ndarray | None = None
    """(c, 2) lowest optical eigenvalue and share of soft modes, of the mean force constants and Born charges of these
    members; see :func:`.static_response`"""
    of_mean_response: np.ndarray | None = None
    """(c, 3, 3, 3) electronic, ionic and total that follow from these means; None unless all members predict force
    constants"""

    @property
    def mean(self) -> np.ndarray:
        """(c, 3, 3, 3) prediction of the committee.

        The one of the mean response, since it is the sum over the phonon modes that the prediction lists, and since the
        mean of the members' ionic parts is dominated by the softest member.
        """
        return self.members.mean(axis=0) if self.of_mean_response is None else self.of_mean_response

    def take(self, rows: np.ndarray) -> CommitteeOutput:
        """Return the output for some crystals.

        :param rows: indices or a mask
        """
        return CommitteeOutput(
            self.members[:, rows],
            self.leverage[rows],
            self.density[rows],
            None if self.lowest is None else self.lowest[:, rows],
            None if self.soft_modes is None else self.soft_modes[rows],
            None if self.of_mean_response is None else self.of_mean_response[rows],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[CommitteeOutput]) -> CommitteeOutput:
        """Return the output of one committee for several batches."""
        axes = {'members': 1, 'lowest': 1}
        columns = {
            name: None if pieces[0] is None else np.concatenate(pieces, axes.get(name, 0))
            for name, *pieces in zip(cls._fields, *parts, strict=True)
        }
        return cls(**columns)  # type: ignore[arg-type]


class Deviations(NamedTuple):
    """Standard deviations; the axis after c is electronic, ionic, total."""

    tensors: np.ndarray
    """(c, 3, 3, 3) with the principal axes of the mean tensor, and the deviations of its principal values"""
    average: np.ndarray
    """(c, 3)"""
    anisotropy: np.ndarray
    """(c, 3) of the ratio of the largest to the smallest principal value; NaN for the ionic part, whose smallest may
    vanish"""
    eigenvalues: np.ndarray
    """(c, 3, 3) of the principal values in ascending order"""


class _Parts(NamedTuple):
    """A quantity and the parts of its standard deviation; each (c,) or (c, 3)."""

    value: np.ndarray
    spread: np.ndarray
    rigidity: np.ndarray
    magnitude: np.ndarray


def _parts(output: CommitteeOutput, rows: np.ndarray, targets: np.ndarray) -> tuple[dict[str, _Parts], np.ndarray]:
    """Return the parts of the deviation of each quantity of n tensors, and their principal axes (n, 3, 3).

    Those of the anisotropy mean nothing for the ionic part.

    :param rows: (n,) crystals
    :param targets: (n,) indices into :data:`.PARTS`
    """
    members = output.members[:, rows, targets]
    values, axes = np.linalg.eigh(output.mean[rows, targets])
    # in the axes of the prediction, so that values which symmetry makes equal are equal in every member
    each = np.einsum('cik,mcij,cjk->mck', axes, members, axes)
    above = np.clip(values - _OFFSETS[targets, None], _FLOOR, None)
    leverage = np.nan_to_num(output.leverage[rows], nan=0.0)
    rigidity = 2 * np.sqrt(4 * np.pi * output.density[rows] * leverage)[:, None] * np.sqrt(above)
    spread = each.std(axis=0, ddof=1) if len(each) > 1 else np.zeros_like(values)
    mean = each.mean(axis=2)
    average = _Parts(
        values.mean(axis=1),
        mean.std(axis=0, ddof=1) if len(each) > 1 else np.zeros(len(values)),
        np.sqrt((rigidity**2).sum(axis=1)) / 3,
        above.mean(axis=1),
    )
    with np.errstate(divide='ignore', invalid='ignore'):
        anisotropy = _anisotropy_parts(values, spread, rigidity)
    return {'average': average, 'eigenvalues': _Parts(values, spread, rigidity, above), 'anisotropy': anisotropy}, axes


def _anisotropy_parts(values: np.ndarray, spread: np.ndarray, rigidity: np.ndarray) -> _Parts:
    ratio = values[:, 2] / values[:, 0]
    # values that symmetry makes equal have the ratio one, without error
    free = ratio - 1 > 1e-6

    def propagated(part: np.ndarray) -> np.ndarray:
        return np.where(free, ratio * np.hypot(part[:, 0] / values[:, 0], part[:, 2] / values[:, 2]), 0.0)

    return _Parts(ratio, propagated(spread), propagated(rigidity), np.where(free, ratio - 1, 0.0))


def calibrate(output: CommitteeOutput, labels: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Return the factors a, b, c by target and quantity.

    :param labels: (c, 3, 3, 3) electronic, ionic, total; NaN where missing
    :return: for the targets with ten labelled rows or more; rows without ionic part count for the electronic one only
    """
    found: dict[str, dict[str, list[float]]] = {}
    known = _known(output)
    # a prediction that symmetry fixes is exact, and its deviation is not that of the other rows
    known[_lacks_ionic_part(output), 1:] = False
    for place, target in enumerate(PARTS):
        rows = np.flatnonzero(known[:, place] & np.isfinite(labels[:, place]).all(axis=(1, 2)))
        if len(rows) >= _MIN_ROWS:
            truth = quantities(labels[rows, place])
            parts, _ = _parts(output, rows, np.full(len(rows), place))
            found[target] = {name: _fit(parts[name], truth[name]) for name in _quantities_of(target)}
    return found


def _known(output: CommitteeOutput) -> np.ndarray:
    """Return the (c, 3) mask of the crystals and targets that all members predict."""
    return np.isfinite(output.members).all(axis=(0, 3, 4))


def _quantities_of(target: str) -> tuple[str, ...]:
    return tuple(name for name in QUANTITIES if name != 'anisotropy' or target != 'ionic')


def calibrate_lowest(output: CommitteeOutput, labels: np.ndarray) -> list[float]:
    """Return the factors a, b of the standard deviation of the lowest optical eigenvalue, √(a² spread² + b²).

    :param output: of members with force constants
    :param labels: (c,) eV/Å², NaN where missing
    :return: empty with fewer than ten labels
    """
    parts = _lowest_parts(output)
    known = np.isfinite(labels) & np.isfinite(parts.value) & np.isfinite(parts.spread)
    if known.sum() < _MIN_ROWS:
        return []
    return _fit(_Parts(*(part[known] for part in parts)), labels[known])[:2]


def stability(output: CommitteeOutput, factors: Sequence[float]) -> np.ndarray:
    """Return the probability that a crystal has no negative optical mode, (c,); NaN without calibration.

    Errors are taken as normally distributed.

    :param output: of members with force constants
    :param factors: as :func:`calibrate_lowest` returns them
    """
    parts = _lowest_parts(output)
    if not factors:
        return np.full(len(parts.value), np.nan)
    sigma = _sigma(parts, np.array([*factors, 0.0]))
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = np.where(np.isinf(parts.value), np.inf, parts.value / sigma)  # one atom has no optical mode
    return np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in ratio])


def _lowest_parts(output: CommitteeOutput) -> _Parts:
    assert output.lowest is not None
    assert output.soft_modes is not None
    lowest, value = output.lowest, output.soft_modes[:, 0]
    with np.errstate(invalid='ignore'):
        spread = lowest.std(axis=0, ddof=1) if len(lowest) > 1 else np.zeros_like(value)
    return _Parts(value, spread, np.ones_like(value), np.zeros_like(value))


def _fit(part: _Parts, truth: np.ndarray) -> list[float]:
    from scipy.optimize import minimize  # takes a third of the start-up time of a prediction, which does not need it

    errors = np.abs(part.value - truth).ravel()
    squares = np.stack([part.spread.ravel() ** 2, part.rigidity.ravel() ** 2, part.magnitude.ravel() ** 2])
    uncertain = squares.sum(axis=0) > _SMALL**2
    errors, squares = errors[uncertain], squares[:, uncertain]
    if len(errors) < _MIN_ROWS:
        return [1.0, 0.0, 0.0]
    used = squares.mean(axis=1) > _SMALL**2
    # the parts explain equal shares of the mean square error at the start
    start = 0.5 * np.log((errors**2).mean() / squares[used].mean(axis=1) / used.sum())

    def negative_log_likelihood(logs: np.ndarray) -> float:
        sigma = np.sqrt(np.exp(2 * logs) @ squares[used]) + _SMALL
        return float(np.mean(np.log(sigma) + math.sqrt(2) * errors / sigma) + 1e-4 * ((logs - start) ** 2).sum())

    options = {'maxiter': 2000, 'xatol': 1e-4, 'fatol': 1e-7}
    best = minimize(negative_log_likelihood, start, method='Nelder-Mead', options=options)
    factors = np.zeros(3)
    factors[used] = np.exp(best.x)
    sigma = np.sqrt(factors**2 @ squares) + _SMALL
    ratio = np.sort(errors / (INTERVAL * sigma))
    rank = min(len(ratio) - 1, math.ceil((len(ratio) + 1) * COVERAGE) - 1)
    return [float(factor) for factor in factors * ratio[rank]]


def deviations(output: CommitteeOutput, calibration: dict[str, Any]) -> Deviations:
    """Return the standard deviations of the tensors of each crystal.

    :param calibration: as :func:`calibrate` returns it; if empty, the spread of the committee is returned
    """
    count, known = output.members.shape[1], _known(output)
    result = Deviations(
        *(np.full(shape, np.nan) for shape in ((count, 3, 3, 3), (count, 3), (count, 3), (count, 3, 3)))
    )
    factors = {name: np.full((len(PARTS), 3), np.nan) for name in QUANTITIES}
    uncalibrated = {name: [1.0, 0.0, 0.0] for name in QUANTITIES} if len(output.members) > 1 else None
    for place, target in enumerate(PARTS):
        given = calibration.get(target, uncalibrated)
        if given is None:
            known[:, place] = False
            continue
        for name in _quantities_of(target):
            factors[name][place] = given[name]
    rows, targets = np.nonzero(known)
    parts, axes = _parts(output, rows, targets)
    sigma = {name: _sigma(part, factors[name][targets]) for name, part in parts.items()}
    result.average[rows, targets], result.anisotropy[rows, targets] = sigma['average'], sigma['anisotropy']
    result.eigenvalues[rows, targets] = sigma['eigenvalues']
    result.tensors[rows, targets] = np.einsum('cik,ck,cjk->cij', axes, sigma['eigenvalues'], axes)
    _without_ionic_part(result, _lacks_ionic_part(output))
    return result


def _lacks_ionic_part(output: CommitteeOutput) -> np.ndarray:
    """Return the (c,) mask of the crystals whose ionic part is zero by symmetry."""
    return np.abs(output.members[:, :, 1]).max(axis=(0, 2, 3)) < _VANISHING


def _without_ionic_part(result: Deviations, rows: np.ndarray) -> None:
    """Set the deviations of crystals without ionic part: zero, and those of the total are those of the electronic part.

    :param rows: (c,) mask
    """
    for column in (result.tensors, result.average, result.eigenvalues):
        column[rows, 1] = 0.0
    for column in result:
        column[rows, 2] = column[rows, 0]


def _sigma(part: _Parts, factors: np.ndarray) -> np.ndarray:
    """Return the standard deviation of n quantities, (n,) or (n, 3).

    :param factors: (n, 3) or (3,) a, b, c
    """
    a, b, c = factors.T[..., None] if part.value.ndim == 2 else factors.T
    return np.sqrt((a * part.spread) ** 2 + (b * part.rigidity) ** 2 + (c * part.magnitude) ** 2)
