"""Quality gates of a dielectric response: whether it can be used as a label for training.

Each gate compares one number with one threshold. A failed gate is a result, not an error: the response is kept, and the
verdict states the reason. No number depends on the frame: deviations are spectral norms, that is the largest deviation
over all directions. The thresholds follow published tables, see ``docs/explanation/gates.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.dielectric.frequencies import optical_frequencies
from aiida_goectp.core.dielectric.gate_codes import GATES, GateCode, Part, VerdictLabel
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.dielectric.tensors import eigenvalues
from aiida_goectp.core.formats.settings import unknown_key

__all__ = ('DEFAULT_THRESHOLDS', 'Gate', 'Verdict', 'check_thresholds', 'judge', 'judge_gap')

DEFAULT_THRESHOLDS: Mapping[str, float] = MappingProxyType({code.value: rule.threshold for code, rule in GATES.items()})
"""threshold of each gate by its name"""

_Finding = tuple[float | None, str]


class Gate(NamedTuple):
    """Result of one gate."""

    name: GateCode
    value: float | None
    """the number, ``None`` if unknown"""
    threshold: float
    passed: bool | None
    """``None`` if the number is unknown and not required"""
    message: str
    part: Part
    """what is unreliable if the gate fails"""


class Verdict(NamedTuple):
    """Result of all gates."""

    label: VerdictLabel
    gates: tuple[Gate, ...]
    reason: str
    """failed gates; empty if accepted"""

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON: label, reason, and one dictionary for each gate."""
        gates = [{**gate._asdict(), 'name': gate.name.value} for gate in self.gates]
        return {'label': self.label.value, 'reason': self.reason, 'gates': gates}


def judge(dielectric: DielectricResponse, thresholds: Mapping[str, float | None] | None = None) -> Verdict:
    """Evaluate all gates of a response.

    :param thresholds: override :data:`DEFAULT_THRESHOLDS`; ``None`` disables a gate
    :raises ValueError: an unknown gate, or an invalid threshold
    """
    limits = check_thresholds(thresholds)
    needs_symmetry = {GateCode.POINT_GROUP, GateCode.IONIC_POINT_GROUP} & set(limits)
    operations = _operations(dielectric) if needs_symmetry else None
    findings = {**_electronic_findings(dielectric, operations), **_ionic_findings(dielectric, operations)}
    limit_part = _part_of_limit(dielectric)
    gates = tuple(
        _gate(
            code,
            *finding,
            limits[code],
            limit_part if code is GateCode.BELOW_LIMIT else GATES[code].part,
            required=GATES[code].required and not _insulating_by_occupations(code, dielectric, limits[code]),
        )
        for code, finding in findings.items()
        if code in limits
    )
    failed = [gate for gate in gates if gate.passed is False]
    reasons = [f'{gate.name}: {gate.message}' for gate in failed]
    if any(gate.part == 'electronic' for gate in failed):
        return Verdict(VerdictLabel.REFUSED, gates, '; '.join(reasons))
    if dielectric.ionic is None:
        reasons.insert(0, 'the ionic part was not computed')
    if reasons:
        return Verdict(VerdictLabel.ELECTRONIC_ONLY, gates, '; '.join(reasons))
    return Verdict(VerdictLabel.ACCEPTED, gates, '')


def judge_gap(gap: float, thresholds: Mapping[str, float | None] | None = None) -> Verdict:
    """Evaluate the gap gate before a response is computed; the static response of a metal has no limit for q → 0.

    :param gap: eV, Kohn-Sham; 0 for a metal
    :return: refused, or accepted as far as the gap is concerned
    :raises ValueError: as :func:`judge`
    """
    limits = check_thresholds(thresholds)
    if GateCode.INSULATING not in limits:
        return Verdict(VerdictLabel.ACCEPTED, (), '')
    gate = _gate(
        GateCode.INSULATING, gap, f'band gap {gap:.3f} eV', limits[GateCode.INSULATING], 'electronic', required=True
    )
    if gate.passed:
        return Verdict(VerdictLabel.ACCEPTED, (gate,), '')
    return Verdict(VerdictLabel.REFUSED, (gate,), f'{gate.name}: {gate.message}')


def check_thresholds(thresholds: Mapping[str, float | None] | None) -> dict[str, float]:
    """Return the thresholds of all gates that are enabled.

    :raises ValueError: an unknown gate, or a threshold that is not a finite number
    """
    limits: dict[str, float] = dict(DEFAULT_THRESHOLDS)
    for name, value in (thresholds or {}).items():
        if name not in DEFAULT_THRESHOLDS:
            raise ValueError(unknown_key(f'thresholds.{name}', DEFAULT_THRESHOLDS, 'gate'))
        if value is None:
            limits.pop(name)
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ValueError(f'thresholds.{name}: expected a number, or null to disable the gate; found {value!r}')
        limits[name] = float(value)
    return limits


def _gate(code: GateCode, value: float | None, message: str, threshold: float, part: Part, *, required: bool) -> Gate:
    """Return the result of a gate; without a number it fails if the number is required, else it is not evaluated."""
    if value is None:
        return Gate(code, None, threshold, False if required else None, message, part)
    comparison = GATES[code].comparison
    passed = {'≥': value >= threshold, '≤': value <= threshold, '>': value > threshold}[comparison]
    return Gate(code, value, threshold, bool(passed), f'{message} (required: {comparison} {threshold:g})', part)


def _insulating_by_occupations(code: GateCode, response: DielectricResponse, threshold: float) -> bool:
    """Return whether the gap need not be known, because the same bands are full at every k point by input.

    A higher threshold than the default asks for a number, which fixed occupations do not give.
    """
    return code is GateCode.INSULATING and threshold <= GATES[code].threshold and _fixed_occupations(response)


def _fixed_occupations(response: DielectricResponse) -> bool:
    return response.settings.get('occupations') == 'fixed'


def _electronic_findings(response: DielectricResponse, operations: np.ndarray | None) -> dict[GateCode, _Finding]:
    """Return number and message of the gates on the whole response."""
    electronic, total = response.electronic, response.total
    smallest, largest = (float(eigenvalues(electronic)[place]) for place in (0, 2))
    asymmetry, identity = _norm(electronic - electronic.T), _norm(electronic - np.eye(3))
    gap, force, ratio = response.band_gap, response.max_force, _cutoff_ratio(response)
    residual = _point_group_residual(operations, electronic, electronic)
    if total is not None:
        largest = float(eigenvalues(total)[2])
    return {
        GateCode.SCF_CONVERGED: (
            float(response.scf_converged),
            'converged' if response.scf_converged else 'ground state or response not converged',
        ),
        GateCode.INSULATING: (gap, _gap_message(response)),
        GateCode.SUFFICIENT_CUTOFF: (
            ratio,
            'unknown cutoff or recommended cutoff' if ratio is None else f'ratio of cutoff to recommended {ratio:.2f}',
        ),
        GateCode.RESIDUAL_FORCES: (force, 'unknown forces' if force is None else f'largest force {force:.4f} eV/Å'),
        GateCode.SYMMETRIC: (asymmetry, f'asymmetry of the electronic tensor {asymmetry:.3g}'),
        GateCode.POINT_GROUP: (
            residual,
            'unknown symmetry' if residual is None else f'electronic tensor violates the point group by {residual:.1%}',
        ),
        GateCode.ELECTRONIC_AT_LEAST_ONE: (smallest, f'smallest electronic eigenvalue {smallest:.3f}'),
        GateCode.ELECTRONIC_NOT_IDENTITY: (identity, f'electronic tensor differs from the identity by {identity:.3g}'),
        GateCode.BORN_CHARGE_SUM: _charge_sum(response),
        GateCode.BELOW_LIMIT: (
            largest,
            f'largest eigenvalue of the {"electronic tensor" if total is None else "total"} {largest:.1f}',
        ),
    }


def _gap_message(response: DielectricResponse) -> str:
    if response.band_gap is not None:
        return f'band gap {response.band_gap:.3f} eV'
    return 'unknown band gap' + (' of a crystal with fixed occupations' if _fixed_occupations(response) else '')


def _ionic_findings(response: DielectricResponse, operations: np.ndarray | None) -> dict[GateCode, _Finding]:
    """Return number and message of the gates on the ionic part; without ionic part, of that on its Born charges."""
    ionic, total = response.ionic, response.total
    if ionic is None or total is None:
        # the charges are labels of their own
        return {} if response.born_charges is None else {GateCode.NEUTRAL_BORN_CHARGES: _charge_sum(response)}
    smallest, asymmetry = float(eigenvalues(ionic)[0]), _norm(ionic - ionic.T)
    residual = _point_group_residual(operations, ionic, total)
    frequencies = response.frequencies
    lowest = None if frequencies is None else _lowest_optical(frequencies)
    return {
        GateCode.IONIC_SYMMETRIC: (asymmetry, f'asymmetry of the ionic tensor {asymmetry:.3g}'),
        GateCode.IONIC_POINT_GROUP: (
            residual,
            'unknown symmetry'
            if residual is None
            else f'ionic tensor violates the point group by {residual:.1%} of the total',
        ),
        GateCode.IONIC_NOT_NEGATIVE: (smallest, f'smallest ionic eigenvalue {smallest:.3f}'),
        GateCode.NO_IMAGINARY_MODE: (
            lowest,
            'unknown frequencies at Γ' if lowest is None else f'lowest optical frequency {lowest:.2f} THz',
        ),
        GateCode.NEUTRAL_BORN_CHARGES: _charge_sum(response),
    }


def _charge_sum(response: DielectricResponse) -> _Finding:
    charges = response.born_charges
    if charges is None:
        return None, 'unknown Born charges'
    charge = _norm(charges.sum(axis=0)) / len(charges)
    return charge, f'sum of the Born charges {charge:.3f} e per atom'


def _part_of_limit(response: DielectricResponse) -> Part:
    """Return the part that causes a total beyond the limit: electronic if it is the only part or more than half."""
    if response.total is None:
        return 'electronic'
    return 'electronic' if eigenvalues(response.electronic)[2] > eigenvalues(response.total)[2] / 2 else 'ionic'


def _cutoff_ratio(response: DielectricResponse) -> float | None:
    cutoff, recommended = (response.settings.get(name) for name in ('cutoff', 'recommended_cutoff'))
    if not isinstance(cutoff, int | float) or not isinstance(recommended, int | float) or recommended <= 0:
        return None
    return cutoff / recommended


def _norm(matrix: np.ndarray) -> float:
    """Return the spectral norm."""
    return float(np.linalg.norm(matrix, 2))


def _operations(response: DielectricResponse) -> np.ndarray | None:
    """Return the point group as orthogonal matrices (g, 3, 3) in the frame of the response; None if it is unknown."""
    from aiida_goectp.core.crystals.symmetry import canonical_cell  # importing numba takes a second

    cell = canonical_cell(response.crystal)
    return cell.operations if cell.symmetry_known else None


def _point_group_residual(operations: np.ndarray | None, tensor: np.ndarray, scale: np.ndarray) -> float | None:
    """Return |T − mean over the point group of g T gᵀ| / |scale|, Frobenius norms; None if the symmetry is unknown."""
    from aiida_goectp.core.crystals.symmetry import project

    if operations is None:
        return None
    residual, norm = np.linalg.norm(tensor - project(tensor, operations)), np.linalg.norm(scale)
    return float(residual / norm) if norm else 0.0


def _lowest_optical(frequencies: np.ndarray) -> float | None:
    """Return the lowest optical frequency in THz.

    A crystal with one atom has no optical mode; zero is returned, because JSON has no infinity.
    """
    optical = optical_frequencies(frequencies)
    return float(optical[0]) if len(optical) else 0.0
