"""Gates: what makes a dielectric response a label that may be learnt from.

Each gate is one number, one threshold, one sentence. A failed gate is a result with a name: the response stays, the
verdict says why, and nothing may train on what it refuses. No number depends on the frame: deviations are spectral
norms, the largest over all directions. Thresholds follow the practice of the published tables, see
``docs/explanation/gates.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.dielectric.tensors import eigenvalues

__all__ = (
    'ACCEPTED',
    'DEFAULT_THRESHOLDS',
    'ELECTRONIC_ONLY',
    'LABELS',
    'REFUSED',
    'Gate',
    'Verdict',
    'check_thresholds',
    'judge',
    'judge_gap',
)

ACCEPTED, ELECTRONIC_ONLY, REFUSED = LABELS = ('accepted', 'electronic-only', 'refused')
"""the labels that a verdict can give"""

DEFAULT_THRESHOLDS: Mapping[str, float] = MappingProxyType(
    {
        'scf_converged': 1.0,  # 1: must be; there is nothing in between
        'insulating': 0.0,  # eV, the gap must be larger
        'sufficient_cutoff': 0.9,  # of the cutoff that is recommended for the potentials
        'residual_forces': 0.05,  # eV/Å on any atom
        'symmetric': 0.1,  # |ε − εᵀ|, spectral norm
        'point_group': 0.1,  # |ε − projected ε| / |ε|, Frobenius norms
        'electronic_at_least_one': 1.0,  # smallest eigenvalue of ε_∞
        'electronic_not_identity': 0.01,  # |ε_∞ − 1|, spectral norm: below, nothing was computed
        'below_limit': 1000.0,  # largest eigenvalue of the total: beyond, a soft mode
        'ionic_symmetric': 0.1,
        'ionic_point_group': 0.1,  # of the ionic residual in the norm of the total
        'ionic_not_negative': -0.1,  # smallest eigenvalue of the ionic tensor
        'no_imaginary_mode': -0.3,  # THz, lowest optical frequency at Γ
        'neutral_born_charges': 0.1,  # e an atom, |Σ Z*| / n, spectral norm
    }
)
"""threshold of each gate by its name"""

_NEEDED = ('scf_converged', 'insulating', 'no_imaginary_mode')  # not to know is not good enough


class Gate(NamedTuple):
    """What one gate says."""

    name: str
    value: float | None
    """the number, ``None`` if it is not known"""
    threshold: float
    passed: bool | None
    """``None`` if it could not be judged and need not be"""
    message: str
    part: str
    """``electronic`` or ``ionic``: what cannot be trusted if it fails"""


class Verdict(NamedTuple):
    """What all gates say together."""

    label: str
    """accepted, electronic-only (the ionic part is missing or failed), or refused"""
    gates: tuple[Gate, ...]
    reason: str
    """why it is not accepted; empty if it is"""

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON: label, reason, and one dictionary a gate."""
        return {'label': self.label, 'reason': self.reason, 'gates': [gate._asdict() for gate in self.gates]}


def judge(dielectric: DielectricResponse, thresholds: Mapping[str, float | None] | None = None) -> Verdict:
    """Return what the gates say of a response.

    :param thresholds: take precedence over :data:`DEFAULT_THRESHOLDS`; ``None`` switches a gate off
    :raises ValueError: a threshold for a gate that does not exist, or one that is no number
    """
    limits = check_thresholds(thresholds)
    operations = _operations(dielectric) if {'point_group', 'ionic_point_group'} & set(limits) else None
    findings = {**_electronic(dielectric, operations), **_ionic(dielectric, operations)}
    judged = [
        _gate(name, value, limits[name], message, part)
        for name, (value, message, part) in findings.items()
        if name in limits
    ]
    failed = [gate for gate in judged if gate.passed is False]
    reason = '; '.join(f'{gate.name}: {gate.message}' for gate in failed)
    if any(gate.part == 'electronic' for gate in failed):
        return Verdict(REFUSED, tuple(judged), reason)
    if failed:
        return Verdict(ELECTRONIC_ONLY, tuple(judged), reason)
    if dielectric.ionic is None:
        return Verdict(ELECTRONIC_ONLY, tuple(judged), 'the ionic part was not computed')
    return Verdict(ACCEPTED, tuple(judged), '')


def judge_gap(gap: float, thresholds: Mapping[str, float | None] | None = None) -> Verdict:
    """Return what the gate on the gap says before any response is computed; the response of a metal has no limit.

    :param gap: eV, Kohn-Sham; 0 for a metal
    :return: refused, or accepted as far as the gap is concerned
    :raises ValueError: thresholds that :func:`judge` would refuse
    """
    limits = check_thresholds(thresholds)
    if 'insulating' not in limits:
        return Verdict(ACCEPTED, (), '')
    gate = _gate('insulating', gap, limits['insulating'], f'band gap {gap:.3f} eV', 'electronic')
    label, reason = (ACCEPTED, '') if gate.passed else (REFUSED, f'{gate.name}: {gate.message}')
    return Verdict(label, (gate,), reason)


def check_thresholds(thresholds: Mapping[str, float | None] | None) -> dict[str, float]:
    """Return all thresholds that are in force.

    :raises ValueError: an unknown gate, or no number
    """
    limits: dict[str, float] = dict(DEFAULT_THRESHOLDS)
    for name, value in (thresholds or {}).items():
        if name not in DEFAULT_THRESHOLDS:
            raise ValueError(f'no gate is named {name!r}; there are: {", ".join(DEFAULT_THRESHOLDS)}')
        if value is None:
            limits.pop(name)
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ValueError(f'threshold of the gate {name}: {value!r} is no number; null switches the gate off')
        limits[name] = float(value)
    return limits


_Finding = tuple[float | None, str, str]
_AT_MOST = frozenset(
    {
        'below_limit',
        'ionic_point_group',
        'ionic_symmetric',
        'neutral_born_charges',
        'point_group',
        'residual_forces',
        'symmetric',
    }
)
_MORE_THAN = ('insulating', 'electronic_not_identity')


def _gate(name: str, value: float | None, threshold: float, message: str, part: str) -> Gate:
    if value is None:
        return Gate(name, None, threshold, False if name in _NEEDED else None, message, part)
    if name in _AT_MOST:
        passed, sign = value <= threshold, '≤'
    elif name in _MORE_THAN:
        passed, sign = value > threshold, '>'
    else:
        passed, sign = value >= threshold, '≥'
    return Gate(name, value, threshold, bool(passed), f'{message} (must be {sign} {threshold:g})', part)


def _electronic(response: DielectricResponse, operations: np.ndarray | None) -> dict[str, _Finding]:
    """Return number and message of the gates on which all of the response hangs."""
    part = 'electronic'
    electronic = response.electronic
    smallest = float(eigenvalues(electronic)[0])
    asymmetry = _asymmetry(electronic)
    identity = float(np.linalg.norm(electronic - np.eye(3), 2))
    gap, force = response.band_gap, response.max_force
    ratio = _cutoff_ratio(response)
    residual = _point_group_residual(operations, electronic, electronic)
    converged = 'converged' if response.scf_converged else 'the electrons did not converge'
    return {
        'scf_converged': (float(response.scf_converged), converged, part),
        'insulating': (gap, 'the band gap is not known' if gap is None else f'band gap {gap:.3f} eV', part),
        'sufficient_cutoff': (
            ratio,
            'cutoff or its recommendation is not known' if ratio is None else f'cutoff {ratio:.2f} of the recommended',
            part,
        ),
        'residual_forces': (
            force,
            'the forces are not known' if force is None else f'largest force {force:.4f} eV/Å',
            part,
        ),
        'symmetric': (asymmetry, f'electronic tensor off its transpose by {asymmetry:.3g}', part),
        'point_group': (
            residual,
            'the symmetry of the crystal is not known'
            if residual is None
            else f'electronic tensor breaks the point group by {residual:.1%}',
            part,
        ),
        'electronic_at_least_one': (smallest, f'smallest electronic eigenvalue {smallest:.3f}', part),
        'electronic_not_identity': (identity, f'electronic tensor off the identity by {identity:.3g}', part),
        'below_limit': _limit(response),
    }


def _ionic(response: DielectricResponse, operations: np.ndarray | None) -> dict[str, _Finding]:
    """Return number and message of the gates that concern the ionic part alone; none if there is no such part."""
    if response.ionic is None or response.total is None:
        return {}
    part = 'ionic'
    smallest = float(eigenvalues(response.ionic)[0])
    asymmetry = _asymmetry(response.ionic)
    residual = _point_group_residual(operations, response.ionic, response.total)
    charges = response.born_charges
    charge = None if charges is None else float(np.linalg.norm(charges.sum(axis=0), 2) / len(charges))
    lowest = None if response.frequencies is None else _lowest_optical(response.frequencies)
    return {
        'ionic_symmetric': (asymmetry, f'ionic tensor off its transpose by {asymmetry:.3g}', part),
        'ionic_point_group': (
            residual,
            'the symmetry of the crystal is not known'
            if residual is None
            else f'ionic tensor breaks the point group by {residual:.1%} of the total',
            part,
        ),
        'ionic_not_negative': (smallest, f'smallest ionic eigenvalue {smallest:.3f}', part),
        'no_imaginary_mode': (
            lowest,
            'the frequencies at Γ are not known' if lowest is None else f'lowest optical frequency {lowest:.2f} THz',
            part,
        ),
        'neutral_born_charges': (
            charge,
            'the Born charges are not known' if charge is None else f'Born charges add up to {charge:.3f} e an atom',
            part,
        ),
    }


def _limit(response: DielectricResponse) -> _Finding:
    """A total beyond the limit is the fault of the ionic part, unless the electronic one is as large itself."""
    electronic = float(eigenvalues(response.electronic)[2])
    if response.total is None:
        return electronic, f'largest electronic eigenvalue {electronic:.1f}', 'electronic'
    total = float(eigenvalues(response.total)[2])
    part = 'electronic' if electronic > total / 2 else 'ionic'
    return total, f'largest eigenvalue of the total {total:.1f}', part


def _cutoff_ratio(response: DielectricResponse) -> float | None:
    cutoff, recommended = (response.settings.get(name) for name in ('cutoff', 'recommended_cutoff'))
    if not isinstance(cutoff, int | float) or not isinstance(recommended, int | float) or recommended <= 0:
        return None
    return cutoff / recommended


def _asymmetry(tensor: np.ndarray) -> float:
    return float(np.linalg.norm(tensor - tensor.T, 2))


def _operations(response: DielectricResponse) -> np.ndarray | None:
    """Return the point group as orthogonal matrices (g, 3, 3) in the frame of the response; None if it is not known."""
    from aiida_goectp.core.crystals.symmetry import canonical_cell  # numba takes a second to import

    cell = canonical_cell(response.crystal)
    return cell.operations if cell.symmetry_known else None


def _point_group_residual(operations: np.ndarray | None, tensor: np.ndarray, scale: np.ndarray) -> float | None:
    """Return |T − mean over the point group of g T gᵀ| / |scale|, Frobenius norms; None without known symmetry."""
    from aiida_goectp.core.crystals.symmetry import project

    if operations is None:
        return None
    return float(np.linalg.norm(tensor - project(tensor, operations)) / np.linalg.norm(scale))


def _lowest_optical(frequencies: np.ndarray) -> float | None:
    """Return the lowest frequency in THz when the three closest to zero, the acoustic ones, are left out.

    A crystal of one atom has no optical mode; infinity would be no JSON, so its lowest is zero.
    """
    optical = frequencies[np.argsort(np.abs(frequencies), kind='stable')[3:]]
    return float(optical.min()) if len(optical) else 0.0
