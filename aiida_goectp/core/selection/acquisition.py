"""Acquisition functions: scores by which candidates are picked, highest first.

All have one signature, ``(mean, std, state, settings) → (n,) scores``. A package can add its own under the entry-point
group :data:`GROUP`, as a function of that signature or as an :class:`Acquisition`.
"""

from __future__ import annotations

import hashlib
import inspect
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import Settings, unknown_key, unknown_value

__all__ = (
    'ACQUISITIONS',
    'GROUP',
    'Acquisition',
    'AcquisitionSettings',
    'State',
    'acquire',
    'acquisition',
    'acquisition_names',
    'incumbent',
    'pareto_fronts',
)

GROUP = 'aiida_goectp.acquisitions'
"""entry-point group of further acquisition functions"""

_SMALLEST_IMPROVEMENT = 1e-250
"""expected improvement below which the score is an increasing function of its logarithm"""


class AcquisitionSettings(Settings):
    """Acquisition function and its parameters."""

    name: str = Field(
        default='greedy',
        description='greedy, upper_confidence_bound, cautious, expected_improvement, exploration, pareto, random, or '
        'the entry point of another package',
    )
    kappa: float = Field(
        default=1.0, ge=0, description='standard deviations added (upper_confidence_bound) or subtracted (cautious)'
    )
    xi: float = Field(
        default=0.0, ge=0, description='smallest improvement (expected_improvement), in units of the figure of merit'
    )
    incumbent_rank: int = Field(
        default=1, ge=1, description='rank of the verified value to improve on (expected_improvement), 1 for the best'
    )
    seed: int = Field(default=0, ge=0, description='seed of random')
    weigh_stability: bool = Field(
        default=True,
        description='multiply the score by the predicted probability of stability, without which no ionic label is '
        'usable; without effect for a model that predicts none, for figures of merit of ε_∞, and for random',
    )
    options: dict[str, Any] = Field(default_factory=dict, description='parameters of functions of other packages')

    @model_validator(mode='after')
    def _check_options(self) -> AcquisitionSettings:
        if self.options and self.name in ACQUISITIONS:
            known = [name for name in type(self).model_fields if name not in ('name', 'options')]
            raise ValueError(unknown_key(f'options.{next(iter(self.options))}', known, 'parameter'))
        return self


@dataclass(frozen=True)
class State:
    """Data of n candidates and of verified crystals, besides mean and standard deviation.

    :param hashes: (n,) content hashes of the candidates
    :param verified: (m,) figure of merit of verified crystals, in any order
    :param objectives: (n, 2) predicted objectives of the candidates (band gap in eV, ε_poly), NaN if unknown
    :param verified_objectives: (m', 2) objectives of verified crystals
    :param round: number of the round, from 1
    :param usable: (n,) probability that the label of each candidate will be usable; None for one
    """

    hashes: np.ndarray
    verified: np.ndarray
    objectives: np.ndarray
    verified_objectives: np.ndarray
    round: int = 1
    usable: np.ndarray | None = None


Function = Callable[[np.ndarray, np.ndarray, State, AcquisitionSettings], np.ndarray]


@dataclass(frozen=True)
class Acquisition:
    """A named acquisition function.

    :param name: name in the settings
    :param formula: text; μ and σ are mean and standard deviation of the figure of merit
    :param function: (mean, std, state, settings) → (n,)
    :param needs_std: whether standard deviations are required
    :param needs_objectives: whether band gap and ε are required
    :param weigh: whether the score is multiplied by the probability that the label will be usable
    """

    name: str
    formula: str
    function: Function
    needs_std: bool = False
    needs_objectives: bool = False
    weigh: bool = False


def acquire(mean: np.ndarray, std: np.ndarray, state: State, settings: AcquisitionSettings) -> np.ndarray:
    """Return the score of each candidate (n,), NaN without one; equal scores are ordered by the caller.

    A positive score is multiplied by ``state.usable`` if the function allows it: a calculation without usable label
    gains nothing. A score that is not positive is left as it is, since a product would raise it.

    :param mean: (n,) predicted figure of merit, NaN for a row that is not a candidate
    :param std: (n,) its standard deviation, NaN if unknown
    :param state: data of candidates and verified crystals
    :param settings: name and parameters of the function
    :raises FormatError: an unknown function, required standard deviations or gaps that are missing, or a function that
        does not return n numbers
    """
    found = acquisition(settings.name)
    mean, std = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
    if mean.ndim != 1 or mean.shape != std.shape or mean.shape != state.hashes.shape:
        raise FormatError(
            f'acquisition: mean {mean.shape}, std {std.shape} and hashes {state.hashes.shape} must have one shape'
        )
    if (std < 0).any():
        raise FormatError(f'acquisition: row {int(np.argmax(std < 0))} has a negative standard deviation')
    candidates = np.isfinite(mean)
    if candidates.any():
        if found.needs_std and not np.isfinite(std[candidates]).any():
            raise FormatError(
                f'acquisition.name: {settings.name!r} ({found.formula}) needs standard deviations, which this model '
                'does not give; predict with a committee or a calibrated model, or choose greedy, pareto or random'
            )
        if found.needs_objectives and not np.isfinite(state.objectives[candidates]).all(axis=1).any():
            raise FormatError(
                f'acquisition.name: {settings.name!r} ({found.formula}) needs the property band_gap and ε_total of the '
                'candidates; give that column with the crystals, or choose another function'
            )
    scores = np.asarray(found.function(mean, std, state, settings))
    if scores.shape != mean.shape or scores.dtype.kind not in 'fiu':
        raise FormatError(
            f'acquisition {settings.name!r} returned {scores.dtype} {scores.shape}; expected {len(mean)} numbers'
        )
    if found.weigh and state.usable is not None:
        scores = np.where(scores > 0, scores * state.usable, scores)
    return np.where(candidates, scores, np.nan)


def incumbent(mean: np.ndarray, verified: np.ndarray, rank: int = 1) -> float:
    """Return the value to improve on: the k-th best verified value, or the last of fewer than k.

    Without verified values it is the highest mean of the candidates.

    :param mean: (n,) predicted figure of merit of the candidates
    :param verified: (m,) verified figures of merit
    :param rank: k
    """
    values = np.sort(np.asarray(verified, dtype=np.float64)[np.isfinite(verified)])[::-1]
    if len(values):
        return float(values[min(rank, len(values)) - 1])
    return float(np.nanmax(mean)) if np.isfinite(mean).any() else 0.0


def _greedy(mean: np.ndarray, std: np.ndarray, state: State, settings: AcquisitionSettings) -> np.ndarray:
    return mean


def _upper(mean: np.ndarray, std: np.ndarray, state: State, settings: AcquisitionSettings) -> np.ndarray:
    return mean + settings.kappa * std


def _cautious(mean: np.ndarray, std: np.ndarray, state: State, settings: AcquisitionSettings) -> np.ndarray:
    return mean - settings.kappa * std


def _improvement(mean: np.ndarray, std: np.ndarray, state: State, settings: AcquisitionSettings) -> np.ndarray:
    """Return I = (μ − f − ξ) Φ(z) + σ φ(z), z = (μ − f − ξ)/σ, without cancellation far below the incumbent.

    An improvement below t = 10⁻²⁵⁰ would soon underflow to zero, and all such candidates would tie. There the score is
    t ln(t)/ln(I), which continues I and increases with it.
    """
    from scipy.special import erfcx, ndtr

    gain = mean - incumbent(mean, state.verified, settings.incumbent_rank) - settings.xi
    with np.errstate(all='ignore'):
        z = gain / std
        below = np.minimum(z, 0)
        # I = σ φ(z) (1 + z Φ(z)/φ(z)); for large |z| by the asymptotic series of the bracket, 1/z² − 3/z⁴ + …
        ratio = np.sqrt(np.pi / 2) * erfcx(-below / np.sqrt(2))
        bracket = np.where(z < -1e3, 1 / z**2, np.maximum(1 + below * ratio, 0))
        logarithm = np.log(std) - z**2 / 2 - np.log(2 * np.pi) / 2 + np.log(bracket)
        continued = _SMALLEST_IMPROVEMENT * np.log(_SMALLEST_IMPROVEMENT) / logarithm
        small = np.where(logarithm < np.log(_SMALLEST_IMPROVEMENT), continued, np.exp(logarithm))
        large = gain * ndtr(z) + std * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.where((std == 0) | np.isinf(z), np.maximum(gain, 0), np.where(z < 0, small, large))


def _exploration(mean: np.ndarray, std: np.ndarray, state: State, settings: AcquisitionSettings) -> np.ndarray:
    return std


def _random(mean: np.ndarray, std: np.ndarray, state: State, settings: AcquisitionSettings) -> np.ndarray:
    """Return a number in [0, 1) that depends on crystal, seed and round, not on the row."""
    key = f'{settings.seed} {state.round} '.encode()
    words = [hashlib.blake2b(key + name.encode(), digest_size=8).digest() for name in state.hashes.tolist()]
    return np.array([int.from_bytes(word, 'little') >> 11 for word in words], dtype=np.float64) / 2.0**53


def _pareto(mean: np.ndarray, std: np.ndarray, state: State, settings: AcquisitionSettings) -> np.ndarray:
    """Return 1 − front + crowding among candidates and verified crystals: [0, 1) on front 1, [−1, 0) on front 2.

    A rank cannot be multiplied by a probability; the second objective, which the calculation shall give, can.
    """
    known = np.isfinite(state.objectives).all(axis=1) & np.isfinite(mean)
    objectives = state.objectives[known]
    if state.usable is not None:  # the gap is known without a calculation
        objectives = objectives * np.stack([np.ones(len(objectives)), state.usable[known]], axis=1)
    verified = state.verified_objectives[np.isfinite(state.verified_objectives).all(axis=1)]
    points = np.concatenate([objectives, verified])
    fronts = pareto_fronts(points)
    scores = np.full(len(mean), np.nan)
    scores[known] = (1 - fronts + _crowding(points, fronts))[: int(known.sum())]
    return scores


def pareto_fronts(points: np.ndarray) -> np.ndarray:
    """Return the number of the Pareto front of each point (n,), 1 for a point that no other point dominates.

    A point dominates another if it is not worse in both objectives and better in one. Front k contains the points that
    are not dominated after fronts 1 to k − 1 are removed (Goldberg 1989; Deb et al., IEEE Trans. Evol. Comput. 6, 182
    (2002)). In two dimensions one sweep in descending order of the first objective is sufficient: each point is added
    to the first front whose best second objective is lower than that of the point.

    :param points: (n, 2), larger is better
    """
    if not len(points):
        return np.zeros(0, dtype=np.int64)
    unique, inverse = np.unique(points, axis=0, return_inverse=True)
    fronts = np.zeros(len(unique), dtype=np.int64)
    highest: list[float] = []  # − best second objective of each front, ascending
    for row in np.lexsort((-unique[:, 1], -unique[:, 0])).tolist():
        value = -float(unique[row, 1])
        place = bisect_right(highest, value)
        if place == len(highest):
            highest.append(value)
        else:
            highest[place] = value
        fronts[row] = place + 1
    return fronts[inverse.reshape(-1)]


def _crowding(points: np.ndarray, fronts: np.ndarray) -> np.ndarray:
    """Return the crowding distance of each point within its front (Deb et al. 2002), scaled to [0, 1).

    The ends of a front have the highest distance.
    """
    scores = np.zeros(len(points))
    for front in np.unique(fronts):
        rows = np.flatnonzero(fronts == front)
        unique, inverse = np.unique(points[rows], axis=0, return_inverse=True)
        span = np.ptp(unique, axis=0)
        # along a front one objective increases as the other decreases: both have the same neighbours
        gaps = np.abs(unique[2:] - unique[:-2]) / np.where(span > 0, span, 1.0)
        distance = np.full(len(unique), 2.0)
        distance[1:-1] = gaps.sum(axis=1)
        scores[rows] = distance[inverse.reshape(-1)] / 2.0 * (1 - 1e-9)
    return scores


# Sources of the formulas: docs/explanation/acquisition.md
ACQUISITIONS: dict[str, Acquisition] = {
    item.name: item
    for item in (
        Acquisition('greedy', 'μ', _greedy, weigh=True),
        Acquisition('upper_confidence_bound', 'μ + κσ', _upper, needs_std=True, weigh=True),
        Acquisition('cautious', 'μ − κσ', _cautious, needs_std=True, weigh=True),
        Acquisition(
            'expected_improvement',
            '(μ − f − ξ) Φ(z) + σ φ(z), z = (μ − f − ξ)/σ',
            _improvement,
            needs_std=True,
            weigh=True,
        ),
        Acquisition('exploration', 'σ', _exploration, needs_std=True, weigh=True),
        Acquisition('pareto', 'front of (Eg, ε_poly), then crowding distance', _pareto, needs_objectives=True),
        Acquisition('random', 'hash of crystal, seed and round', _random),
    )
}
"""functions of this package by name"""


def acquisition_names() -> tuple[str, ...]:
    """Return the names of the functions of this package, then those of installed entry points."""
    others = sorted({point.name for point in entry_points(group=GROUP)} - set(ACQUISITIONS))
    return (*ACQUISITIONS, *others)


def acquisition(name: str) -> Acquisition:
    """Return the acquisition function of this name.

    :raises FormatError: an unknown name, entry points of two packages with this name, or an entry point that is not an
        acquisition function
    """
    if name in ACQUISITIONS:
        return ACQUISITIONS[name]
    points = list(entry_points(group=GROUP, name=name))
    if not points:
        raise FormatError(unknown_value('acquisition.name', name, acquisition_names()))
    if len({point.value for point in points}) > 1:
        values = ', '.join(sorted(point.value for point in points))
        raise FormatError(f'acquisition.name: {name!r} is defined by {values}; uninstall all packages but one')
    try:
        loaded = points[0].load()
    except Exception as error:  # the module of another package may raise anything
        raise FormatError(f'acquisition {name!r}: {points[0].value} cannot be imported ({error})') from error
    if isinstance(loaded, Acquisition):
        return loaded
    if not callable(loaded):
        raise FormatError(f'acquisition {name!r}: {points[0].value} is neither a function nor an Acquisition')
    summary = (inspect.getdoc(loaded) or points[0].value).splitlines()[0]
    return Acquisition(name, summary, loaded)
