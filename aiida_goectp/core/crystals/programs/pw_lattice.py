"""Lattice vectors of ``pw.x`` for ``ibrav`` ≠ 0, with the axes that its manual defines (INPUT_PW, ``ibrav``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite, sqrt
from typing import Any

import numpy as np

from aiida_goectp.core.crystals.programs.units import BOHR
from aiida_goectp.core.crystals.validation import CrystalError

__all__ = ('pw_lattice',)

_LENGTHS = {1: 'a', 2: 'b', 3: 'c'}
"""number of celldm → key of the other notation, in Å"""
_COSINES = {5: 'cosac', 6: 'cosab', 4: 'cosbc'}
"""the same for the cosines of a triclinic lattice; one with a single angle has its cosine in cosab, or cosac"""


def _rhombohedral(cosine: float, along: str) -> np.ndarray:
    """Return the vectors with the threefold axis along z or [111]."""
    x, y, z = sqrt((1 - cosine) / 2), sqrt((1 - cosine) / 6), sqrt((1 + 2 * cosine) / 3)
    if along == 'z':
        return np.array([[x, -y, z], [0, 2 * y, z], [-x, -y, z]])
    u, v = z - 2 * sqrt(2) * y, z + sqrt(2) * y
    return np.array([[u, v, v], [v, u, v], [v, v, u]]) / sqrt(3)


def _triclinic(b: float, c: float, bc: float, ac: float, ab: float) -> np.ndarray:
    sine = sqrt(1 - ab**2)
    height = sqrt(1 + 2 * bc * ac * ab - bc**2 - ac**2 - ab**2)
    return np.array([[1, 0, 0], [b * ab, b * sine, 0], [c * ac, c * (bc - ac * ab) / sine, c * height / sine]])


def _scaled(vectors: list[list[float]]) -> Callable[..., np.ndarray]:
    """Return a function of b/a and c/a, one or neither, that scales the Cartesian components."""

    def scale(*lengths: float) -> np.ndarray:
        b, c = lengths if len(lengths) == 2 else (1.0, *lengths) if lengths else (1.0, 1.0)
        return np.array(vectors) * [1.0, b, c]

    return scale


_LATTICES: dict[int, tuple[tuple[int, ...], Callable[..., np.ndarray]]] = {
    1: ((), _scaled([[1, 0, 0], [0, 1, 0], [0, 0, 1]])),
    2: ((), _scaled([[-0.5, 0, 0.5], [0, 0.5, 0.5], [-0.5, 0.5, 0]])),
    3: ((), _scaled([[0.5, 0.5, 0.5], [-0.5, 0.5, 0.5], [-0.5, -0.5, 0.5]])),
    -3: ((), _scaled([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])),
    4: ((3,), _scaled([[1, 0, 0], [-0.5, sqrt(0.75), 0], [0, 0, 1]])),
    5: ((4,), lambda cosine: _rhombohedral(cosine, 'z')),
    -5: ((4,), lambda cosine: _rhombohedral(cosine, '111')),
    6: ((3,), _scaled([[1, 0, 0], [0, 1, 0], [0, 0, 1]])),
    7: ((3,), _scaled([[0.5, -0.5, 0.5], [0.5, 0.5, 0.5], [-0.5, -0.5, 0.5]])),
    8: ((2, 3), _scaled([[1, 0, 0], [0, 1, 0], [0, 0, 1]])),
    9: ((2, 3), _scaled([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]])),
    -9: ((2, 3), _scaled([[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])),
    91: ((2, 3), _scaled([[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]])),
    10: ((2, 3), _scaled([[0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0.5, 0.5]])),
    11: ((2, 3), _scaled([[0.5, 0.5, 0.5], [-0.5, 0.5, 0.5], [-0.5, -0.5, 0.5]])),
    12: ((2, 3, 4), lambda b, c, ab: _triclinic(b, c, 0, 0, ab)),
    -12: ((2, 3, 5), lambda b, c, ac: _triclinic(b, c, 0, ac, 0)),
    13: ((2, 3, 4), lambda b, c, ab: np.array([[0.5, 0, -c / 2], [b * ab, b * sqrt(1 - ab**2), 0], [0.5, 0, c / 2]])),
    14: ((2, 3, 4, 5, 6), _triclinic),
}
"""ibrav → numbers of the celldm, and the vectors in units of a as a function of them"""

_AMBIGUOUS = {-13: 'its axes are others before version 6.5'}


def pw_lattice(system: Mapping[str, Any]) -> tuple[np.ndarray, float]:
    """Return the lattice vectors and the lattice parameter a.

    :param system: the namelist ``&SYSTEM``, with ``ibrav`` ≠ 0 and ``celldm`` (bohr) or ``A``, ``B``, … (Å)
    :return: (3, 3) Å, rows; a in Å
    :raises CrystalError: ``unreadable_file`` for an unknown or ambiguous ``ibrav``, or missing or invalid parameters
    """
    ibrav = system['ibrav']
    if ibrav not in _LATTICES:
        reason = _AMBIGUOUS.get(ibrav, f'known are {", ".join(map(str, _LATTICES))}')
        raise _error(ibrav, f'is not read ({reason}); give ibrav = 0 with CELL_PARAMETERS')
    numbers, vectors = _LATTICES[ibrav]
    old, new = any(f'celldm({n})' in system for n in range(1, 7)), 'a' in system
    if old == new:
        raise _error(ibrav, f'needs celldm or A, B, C, …; {"both are" if old else "none is"} given')
    names = {n: f'celldm({n})' if old else _key(ibrav, n) for n in (1, *numbers)}
    values = {n: _number(ibrav, name, system.get(name)) for n, name in names.items()}
    for n, value in values.items():
        low = 0.0 if n in _LENGTHS else -0.5 if abs(ibrav) == 5 else -1.0
        if not (low < value and (n in _LENGTHS or value < 1)):
            raise _error(ibrav, f'{names[n]} = {value:g} is out of range')
    a = values[1] * BOHR if old else values[1]
    arguments = [values[n] / (1.0 if old or n not in _LENGTHS else a) for n in numbers]
    try:
        return a * vectors(*arguments), a
    except ValueError as error:  # the square root of a negative number
        raise CrystalError('bad_lattice', f'ibrav = {ibrav}: no lattice has these angles') from error


def _key(ibrav: int, number: int) -> str:
    """Return the key in the notation A, B, C, …, as ``pw.x`` reads it."""
    if number in _LENGTHS:
        return _LENGTHS[number]
    return _COSINES[number] if ibrav in (14, -12) else 'cosab'


def _number(ibrav: int, name: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    raise _error(ibrav, f'{name} is missing' if value is None else f'{name} = {value!r:.40} is not a number')


def _error(ibrav: Any, text: str) -> CrystalError:
    return CrystalError('unreadable_file', f'ibrav = {ibrav!r:.40}: {text}')
