"""Quality gates on the rows of a dataset: those of ``core.dielectric.gates`` that need no full calculation.

The failed gates of a row are written as names joined by ``, ``. A name in :data:`IONIC_GATES` concerns the ionic label
alone; any other refuses the row. ``ionic_below_limit`` is the gate ``below_limit`` where the ionic part is its fault.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.dielectric.gates import DEFAULT_THRESHOLDS, Gate, judge
from aiida_goectp.core.dielectric.response import DielectricResponse

__all__ = ('IONIC_GATES', 'failed_names', 'failed_row_gates', 'is_refused', 'join_names')

IONIC_GATES = frozenset(
    {
        'ionic_below_limit',
        'ionic_not_negative',
        'ionic_ok',
        'ionic_point_group',
        'ionic_symmetric',
        'neutral_born_charges',
        'no_imaginary_mode',
    }
)
"""what leaves the electronic label good"""

_UNKNOWABLE = ('scf_converged', 'no_imaginary_mode')  # a table says nothing of them


def is_refused(names: str) -> bool:
    """Return whether failed gates refuse the whole row.

    :param names: joined by ``, ``; empty if there are none
    """
    return any(name not in IONIC_GATES for name in names.split(', ') if name)


def join_names(*names: str) -> str:
    """Return lists of names as one, each name once."""
    return ', '.join(dict.fromkeys(name for item in names for name in item.split(', ') if name))


def failed_names(gates: Any) -> str:
    """Return the names of the gates that failed.

    :param gates: :class:`aiida_goectp.core.dielectric.gates.Gate`, or dictionaries of the same entries
    """
    found = []
    for item in gates:
        gate = item._asdict() if isinstance(item, Gate) else item
        if gate['passed'] is False:
            shared = gate['name'] == 'below_limit' and gate['part'] == 'ionic'
            found.append(f'ionic_{gate["name"]}' if shared else str(gate['name']))
    return ', '.join(found)


def failed_row_gates(
    crystal: Crystal,
    electronic: np.ndarray | None,
    ionic: np.ndarray | None,
    born_charges: np.ndarray | None = None,
    band_gap: float | None = None,
) -> str:
    """Return the names of the gates that a row of a table fails.

    Convergence and frequencies are taken on trust; the gap is judged where it is known.

    :param electronic: (3, 3) as published, not symmetrised; ``None`` where missing
    :param ionic: (3, 3) likewise
    :param born_charges: (atoms, 3, 3)
    :param band_gap: eV
    """
    off: dict[str, float | None] = dict.fromkeys(_UNKNOWABLE)
    if band_gap is None:
        off['insulating'] = None
    if electronic is None:
        if ionic is None:
            return ''
        # nothing is known of the electronic part: it counts as nothing, and its gates are off
        electronic = np.zeros((3, 3))
        kept = IONIC_GATES | {'below_limit'}
        off |= dict.fromkeys(name for name in DEFAULT_THRESHOLDS if name not in kept)
    total = electronic if ionic is None else electronic + ionic
    parts = (
        (electronic, electronic, 'point_group'),
        (electronic if ionic is None else ionic, total, 'ionic_point_group'),
    )
    if all(_nearly_isotropic(tensor, scale, DEFAULT_THRESHOLDS[name]) for tensor, scale, name in parts):
        off |= dict.fromkeys(name for _, _, name in parts)
    response = DielectricResponse(crystal, electronic, ionic, born_charges, band_gap=band_gap)
    return failed_names(judge(response, off).gates)


def _nearly_isotropic(tensor: np.ndarray, scale: np.ndarray, threshold: float) -> bool:
    """Return whether a tensor passes the gate on the point group whatever the group is.

    The isotropic part obeys every group, and a projection makes nothing longer. To find the group takes milliseconds.
    """
    return bool(np.linalg.norm(tensor - np.trace(tensor) / 3 * np.eye(3)) <= threshold * np.linalg.norm(scale))
