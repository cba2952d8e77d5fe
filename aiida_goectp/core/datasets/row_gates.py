"""Quality gates of dataset rows: the gates of ``core.dielectric.gates`` that need no full calculation.

The failed gates of a row are the values of :class:`.GateCode` joined by ``, ``. Codes in :data:`IONIC_GATES` concern
the ionic label only; any other code, known or not, refuses the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.dielectric.gate_codes import GATES, GateCode
from aiida_goectp.core.dielectric.gates import DEFAULT_THRESHOLDS, Gate, judge
from aiida_goectp.core.dielectric.response import DielectricResponse

__all__ = (
    'IONIC_GATES',
    'charges_usable',
    'failed_names',
    'failed_row_gates',
    'force_constants_usable',
    'is_refused',
    'join_names',
)

IONIC_GATES = frozenset(
    {
        *(code for code, rule in GATES.items() if rule.part == 'ionic' and code is not GateCode.BELOW_LIMIT),
        GateCode.IONIC_BELOW_LIMIT,
        GateCode.IONIC_OK,
    }
)
"""gates that leave the electronic label valid"""

_UNSTABLE_GATES = frozenset(
    {GateCode.NO_IMAGINARY_MODE, GateCode.IONIC_NOT_NEGATIVE, GateCode.IONIC_BELOW_LIMIT, GateCode.IONIC_OK}
)
"""gates that a soft or unstable crystal fails, whose force constants and charges are right all the same"""

_SEPARATOR = ', '


def is_refused(names: str) -> bool:
    """Return whether failed gates refuse the whole row.

    :param names: joined by ``, ``; empty if no gate failed
    """
    return any(name not in IONIC_GATES for name in _split(names))


def force_constants_usable(names: str) -> bool:
    """Return whether the force constants of a row with these failed gates are labels."""
    return set(_split(names)) <= _UNSTABLE_GATES | {GateCode.NEUTRAL_BORN_CHARGES}


def charges_usable(names: str) -> bool:
    """Return whether the Born charges of a row with these failed gates are labels."""
    return set(_split(names)) <= _UNSTABLE_GATES


def join_names(*names: str) -> str:
    """Return the names of several lists as one list, each name once."""
    return _SEPARATOR.join(dict.fromkeys(name for item in names for name in _split(item)))


def _split(names: str) -> list[str]:
    return [name for name in names.split(_SEPARATOR) if name]


def failed_names(gates: Iterable[Gate | Mapping[str, Any]]) -> str:
    """Return the names of the gates that failed, joined by ``, ``.

    :param gates: :class:`.Gate`, or dictionaries with the same entries
    :raises KeyError: a dictionary without name, part or passed
    """
    found = []
    for item in gates:
        gate = item._asdict() if isinstance(item, Gate) else item
        if gate['passed'] is False:
            by_ionic = gate['name'] == GateCode.BELOW_LIMIT and gate['part'] == 'ionic'
            found.append(str(GateCode.IONIC_BELOW_LIMIT if by_ionic else gate['name']))
    return _SEPARATOR.join(found)


def failed_row_gates(
    crystal: Crystal,
    electronic: np.ndarray | None,
    ionic: np.ndarray | None,
    born_charges: np.ndarray | None = None,
    band_gap: float | None = None,
) -> str:
    """Return the names of the gates that a row of a table fails.

    Convergence and frequencies are not checked; the gap is checked where it is known.

    :param electronic: (3, 3) as published, not symmetrised; ``None`` where missing
    :param ionic: (3, 3) likewise
    :param born_charges: (atoms, 3, 3) e: atom, field, displacement
    :param band_gap: eV
    """
    disabled: set[GateCode] = {GateCode.SCF_CONVERGED, GateCode.NO_IMAGINARY_MODE}
    if band_gap is None:
        disabled.add(GateCode.INSULATING)
    if electronic is None:
        if ionic is None and born_charges is None:
            return ''
        # an unknown electronic part is taken as zero, and its gates are disabled
        electronic = np.zeros((3, 3))
        disabled |= {code for code, rule in GATES.items() if rule.part == 'electronic'}
    total = electronic if ionic is None else electronic + ionic
    parts = (
        (electronic, electronic, GateCode.POINT_GROUP),
        (electronic if ionic is None else ionic, total, GateCode.IONIC_POINT_GROUP),
    )
    if all(_nearly_isotropic(tensor, scale, DEFAULT_THRESHOLDS[code]) for tensor, scale, code in parts):
        disabled |= {code for _, _, code in parts}
    response = DielectricResponse(crystal, electronic, ionic, born_charges, band_gap=band_gap)
    return failed_names(judge(response, {code.value: None for code in disabled}).gates)


def _nearly_isotropic(tensor: np.ndarray, scale: np.ndarray, threshold: float) -> bool:
    """Return whether a tensor passes the point-group gate for every group, so that the group need not be determined.

    The isotropic part is invariant under every group, and a projection increases no norm.
    """
    return bool(np.linalg.norm(tensor - np.trace(tensor) / 3 * np.eye(3)) <= threshold * np.linalg.norm(scale))
