"""Codes of quality gates and verdicts: one vocabulary for calculations and for rows of datasets.

The values of the codes are stored: in the gate results of a calculation, in the thresholds that a user gives, and in
the column ``failed_gates`` of a dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Literal, NamedTuple

__all__ = ('GATES', 'Comparison', 'GateCode', 'GateRule', 'Part', 'VerdictLabel')

Part = Literal['electronic', 'ionic']
Comparison = Literal['≥', '≤', '>']


class _Code(str, Enum):
    """A string with a fixed set of values; its text is the value in every version of Python."""

    __str__ = str.__str__


class VerdictLabel(_Code):
    """Result of all gates of one response."""

    ACCEPTED = 'accepted'
    """all gates passed"""
    ELECTRONIC_ONLY = 'electronic-only'
    """the ionic part is missing, or failed a gate"""
    REFUSED = 'refused'
    """the electronic part failed a gate"""


class GateCode(_Code):
    """Name of a gate; ``docs/explanation/gates.md`` gives the reason for each."""

    SCF_CONVERGED = 'scf_converged'
    INSULATING = 'insulating'
    SUFFICIENT_CUTOFF = 'sufficient_cutoff'
    RESIDUAL_FORCES = 'residual_forces'
    SYMMETRIC = 'symmetric'
    POINT_GROUP = 'point_group'
    ELECTRONIC_AT_LEAST_ONE = 'electronic_at_least_one'
    ELECTRONIC_NOT_IDENTITY = 'electronic_not_identity'
    BORN_CHARGE_SUM = 'born_charge_sum'
    BELOW_LIMIT = 'below_limit'
    IONIC_SYMMETRIC = 'ionic_symmetric'
    IONIC_POINT_GROUP = 'ionic_point_group'
    IONIC_NOT_NEGATIVE = 'ionic_not_negative'
    NO_IMAGINARY_MODE = 'no_imaginary_mode'
    NEUTRAL_BORN_CHARGES = 'neutral_born_charges'

    # in datasets only
    IONIC_BELOW_LIMIT = 'ionic_below_limit'
    """``below_limit``, failed by the ionic part"""
    ELECTRONIC_OK = 'electronic_ok'
    """a flag of the source is false for the electronic label"""
    IONIC_OK = 'ionic_ok'
    """a flag of the source is false for the ionic label"""
    REFUSED = 'refused'
    """a verdict that names no failed gate"""


class GateRule(NamedTuple):
    """Condition of a gate on one number."""

    comparison: Comparison
    threshold: float
    """default"""
    part: Part
    """what is unreliable if the gate fails; for ``below_limit`` it depends on the tensors"""
    required: bool = False
    """whether an unknown number fails the gate"""


GATES: Mapping[GateCode, GateRule] = MappingProxyType(
    {
        GateCode.SCF_CONVERGED: GateRule('≥', 1.0, 'electronic', required=True),  # 1 if converged, else 0
        GateCode.INSULATING: GateRule('>', 0.0, 'electronic', required=True),  # gap, eV
        GateCode.SUFFICIENT_CUTOFF: GateRule('≥', 0.9, 'electronic'),  # ratio to the cutoff of the potentials
        GateCode.RESIDUAL_FORCES: GateRule('≤', 0.05, 'electronic'),  # eV/Å on any atom
        GateCode.SYMMETRIC: GateRule('≤', 0.1, 'electronic'),  # ‖ε − εᵀ‖, spectral norm
        GateCode.POINT_GROUP: GateRule('≤', 0.1, 'electronic'),  # |ε − projected ε| / |ε|, Frobenius norms
        GateCode.ELECTRONIC_AT_LEAST_ONE: GateRule('≥', 1.0, 'electronic'),  # smallest eigenvalue of ε_∞
        GateCode.ELECTRONIC_NOT_IDENTITY: GateRule('>', 0.01, 'electronic'),  # ‖ε_∞ − 1‖, spectral norm
        GateCode.BORN_CHARGE_SUM: GateRule('≤', 1.0, 'electronic'),  # as NEUTRAL_BORN_CHARGES
        GateCode.BELOW_LIMIT: GateRule('≤', 1000.0, 'ionic'),  # largest eigenvalue of the total
        GateCode.IONIC_SYMMETRIC: GateRule('≤', 0.1, 'ionic'),
        GateCode.IONIC_POINT_GROUP: GateRule('≤', 0.1, 'ionic'),  # ionic residual relative to the norm of the total
        GateCode.IONIC_NOT_NEGATIVE: GateRule('≥', -0.1, 'ionic'),  # smallest eigenvalue of the ionic tensor
        GateCode.NO_IMAGINARY_MODE: GateRule('≥', -0.3, 'ionic', required=True),  # lowest optical frequency at Γ, THz
        GateCode.NEUTRAL_BORN_CHARGES: GateRule('≤', 0.1, 'ionic'),  # ‖Σ Z*‖ / number of atoms, e, spectral norm
    }
)
"""rule of each gate of a calculation"""
