"""DFT+U of a run of ``pw.x``, from its XML output."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np

from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.formats.numbers import fortran_number

__all__ = ('hubbard_parameters', 'is_usual_orbital')

_HARTREE = 27.211386245988
"""eV, CODATA 2018"""
_UNITS = ((_HARTREE / 2, 1.0), (_HARTREE, 1.0), (1.0, _HARTREE), (0.5, _HARTREE))
"""(number in the input / number in the output, eV of the number in the input).

Versions to 7.0 repeat the eV of the input and write Rydberg into the output; later ones write Hartree into both.
"""
_TOLERANCE = 1e-4  # relative
_DIGITS = 6
_STATE = ('Hubbard_Occ', 'Hubbard_ns', 'Hubbard_ns_nc', 'Hubbard_ns_mag', 'starting_ns', 'Hub_m_order')
"""elements with occupations, which define no functional"""
_READ = ('lda_plus_u_kind', 'Hubbard_U', 'U_projection_type')
_SHELLS = {'s': ((1, 2),), 'd': ((21, 30), (39, 48), (57, 57), (72, 80)), 'f': ((58, 71), (89, 103))}
"""orbital → atomic numbers of the elements to whose U it belongs in versions without the card HUBBARD; others: p"""


def hubbard_parameters(root: ElementTree.Element) -> dict[str, Any]:
    """Return the parameters of DFT+U, as in the namelist SYSTEM of older versions; empty without DFT+U.

    ``hubbard_u`` is a mapping from kind to U in eV; it is missing if the unit of the values is not known. J, V and
    others, and U of another orbital than that of older versions, are only listed, in ``hubbard_parameters`` and
    ``hubbard_orbital``.

    :param root: of ``data-file-schema.xml``
    """
    found = root.find('output/dft/dftU')
    if found is None:
        return {}
    parameters: dict[str, Any] = {
        'lda_plus_u': True,
        'lda_plus_u_kind': (found.findtext('lda_plus_u_kind') or '0').strip(),
        'u_projection_type': (found.findtext('U_projection_type') or 'atomic').strip(),
    }
    if others := sorted({child.tag for child in found} - {*_STATE, *_READ}):
        parameters['hubbard_parameters'] = others
    output, given = _values(found), _values(root.find('input/dft/dftU'))
    if labels := {kind: label for kind, label in output if not is_usual_orbital(kind, label)}:
        parameters['hubbard_orbital'] = labels
    values: dict[str, float] = {}
    for (kind, label), number in output.items():
        unit = _unit(given.get((kind, label), np.nan), number)
        if unit is None or kind in values:  # a second orbital of the kind
            return parameters
        values[kind] = round(given[kind, label] * unit, _DIGITS)
    return {**parameters, 'hubbard_u': values}


def _values(element: ElementTree.Element | None) -> dict[tuple[str, str], float]:
    """Return (kind, orbital such as 3d) → U in the unit of the file."""
    if element is None:
        return {}
    return {
        (item.get('specie', ''), item.get('label', '')): fortran_number((item.text or '').strip())
        for item in element.findall('Hubbard_U')
    }


def _unit(given: float, written: float) -> float | None:
    """Return the eV of the unit of U in the input; None if it is not known."""
    if given == written == 0:
        return 1.0
    ratio = given / written if written else np.nan
    return next((unit for expected, unit in _UNITS if abs(ratio / expected - 1) < _TOLERANCE), None)


def is_usual_orbital(kind: str, label: str) -> bool:
    """Return whether an orbital is the one to which U of the element belongs where none is given.

    :param kind: such as ``Fe1``
    :param label: such as ``3d``
    """
    number = ATOMIC_NUMBERS.get(re.sub(r'[^A-Za-z].*', '', kind).capitalize(), 0)
    usual = next((name for name, ranges in _SHELLS.items() if any(a <= number <= b for a, b in ranges)), 'p')
    return label[-1:] == usual
