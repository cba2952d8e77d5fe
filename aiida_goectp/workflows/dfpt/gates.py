"""What the gates say, as provenance."""

from __future__ import annotations

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.data.dielectric import DielectricData

__all__ = ('evaluate_gap_gate', 'evaluate_gates')


@calcfunction
def evaluate_gates(dielectric: DielectricData, thresholds: orm.Dict | None = None) -> orm.Dict:
    """Return the verdict on a response: label, reason, and every gate with its number and its threshold.

    :param thresholds: see :func:`aiida_goectp.core.dielectric.gates.judge`
    :raises ValueError: a threshold for no gate
    """
    from aiida_goectp.core.dielectric.gates import judge

    return orm.Dict(judge(dielectric.dielectric, None if thresholds is None else thresholds.get_dict()).as_dict())


@calcfunction
def evaluate_gap_gate(band_gap: orm.Float, thresholds: orm.Dict | None = None) -> orm.Dict:
    """Return the verdict on a crystal that is a metal by its ground state; no response was computed.

    :param band_gap: eV
    :param thresholds: see :func:`aiida_goectp.core.dielectric.gates.judge`
    """
    from aiida_goectp.core.dielectric.gates import judge_gap

    return orm.Dict(judge_gap(band_gap.value, None if thresholds is None else thresholds.get_dict()).as_dict())
