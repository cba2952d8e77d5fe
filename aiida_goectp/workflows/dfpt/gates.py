"""Calcfunctions that evaluate the quality gates of a DFPT run."""

from __future__ import annotations

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.dielectric.gates import judge, judge_gap
from aiida_goectp.data.dielectric import DielectricData

__all__ = ('evaluate_gap_gate', 'evaluate_gates')


@calcfunction
def evaluate_gates(dielectric: DielectricData, thresholds: orm.Dict | None = None) -> orm.Dict:
    """Return label, reason, and each gate with value and threshold, for a dielectric response.

    :param thresholds: see :func:`aiida_goectp.core.dielectric.gates.judge`
    :raises ValueError: unknown gate, or invalid threshold
    """
    return orm.Dict(judge(dielectric.dielectric, None if thresholds is None else thresholds.get_dict()).as_dict())


@calcfunction
def evaluate_gap_gate(band_gap: orm.Float, thresholds: orm.Dict | None = None) -> orm.Dict:
    """Return label, reason and the gap gate, for a ground state whose response was not computed.

    :param band_gap: eV
    :param thresholds: see :func:`aiida_goectp.core.dielectric.gates.judge`
    :raises ValueError: unknown gate, or invalid threshold
    """
    return orm.Dict(judge_gap(band_gap.value, None if thresholds is None else thresholds.get_dict()).as_dict())
