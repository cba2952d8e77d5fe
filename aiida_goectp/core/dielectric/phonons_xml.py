"""Dynamical matrix files of ``ph.x`` in XML format, which it writes if the name in ``fildyn`` ends in ``.xml``.

Written by ``io_dyn_mat.f90`` of Quantum ESPRESSO: arrays are in the order of Fortran, whose first index varies first.
"""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from aiida_goectp.core.crystals.programs.units import BOHR
from aiida_goectp.core.dielectric.phonons import DynamicalMatrix, check_matrix
from aiida_goectp.core.formats.errors import FormatError

__all__ = ('parse_matrix_xml',)

_DALTON = 1822.888486209 / 2
"""Rydberg units of mass, twice the electron mass; CODATA 2018"""
_MAX_ATOMS = 10_000


def parse_matrix_xml(text: str, name: str = 'dynamical matrix') -> DynamicalMatrix:
    """Read a dynamical matrix at Γ in the XML format of ``ph.x``; it contains the lattice for any ``ibrav``.

    :param text: content of the file
    :param name: of the file, for messages
    :raises FormatError: invalid or truncated XML, another q point, or numbers that no crystal has
    """
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise FormatError(f'{name}: declares entities, which ph.x does not write')
    try:
        root = ElementTree.fromstring(text)  # safe: entities are refused above
        matrix = _matrix(root)
    except (ElementTree.ParseError, ValueError) as error:
        raise FormatError(f'{name}: {error}; run ph.x again') from error
    check_matrix(matrix, name)
    return matrix


def _matrix(root: ElementTree.Element) -> DynamicalMatrix:
    """Return the content of the file.

    :raises ValueError: missing or damaged elements
    """
    geometry, response = _child(root, 'GEOMETRY_INFO'), root.find('DIELECTRIC_PROPERTIES')
    blocks = _child(root, 'DYNAMICAL_MAT_.1')
    if _numbers(_child(blocks, 'Q_POINT').text, (3,)).any():
        raise ValueError('computed at another q point than Γ')
    n = int(_child(geometry, 'NUMBER_OF_ATOMS').text or '')
    atoms = [_child(geometry, f'ATOM.{atom}') for atom in range(1, n + 1)] if 0 < n <= _MAX_ATOMS else []
    if not atoms:
        raise ValueError(f'{n} atoms')
    scale = _numbers(_child(geometry, 'CELL_DIMENSIONS').text, (6,))[0] * BOHR
    masses = [_numbers(_child(geometry, f'MASS.{atom.get("INDEX")}').text, (1,))[0] for atom in atoms]
    constants = np.empty((n, 3, n, 3))
    for first in range(n):
        for second in range(n):
            block = _numbers(_child(blocks, f'PHI.{first + 1}.{second + 1}').text, (3, 3, 2))
            constants[first, :, second] = block[..., 0].T
    return DynamicalMatrix(
        lattice=_numbers(_child(geometry, 'AT').text, (3, 3)) * scale,
        masses=np.array(masses) * _DALTON,
        positions=np.array([_numbers(atom.get('TAU'), (3,)) for atom in atoms]) * scale,
        force_constants=constants.reshape(3 * n, 3 * n),
        electronic=_electronic(response),
        born_charges=_charges(response, n),
    )


def _electronic(response: ElementTree.Element | None) -> np.ndarray | None:
    """Return ε_∞, (3, 3); None if it was not computed."""
    tensor = None if response is None else response.find('EPSILON')
    return None if tensor is None else _numbers(tensor.text, (3, 3)).T


def _charges(response: ElementTree.Element | None, n: int) -> np.ndarray | None:
    """Return the Born charges, (n, 3, 3) e: atom, field, displacement; None if they were not computed."""
    charges = None if response is None else response.find('ZSTAR')
    if charges is None:
        return None
    return np.array([_numbers(_child(charges, f'Z_AT_.{atom}').text, (3, 3)).T for atom in range(1, n + 1)])


def _child(element: ElementTree.Element, tag: str) -> ElementTree.Element:
    """Return the only child with a tag.

    :raises ValueError: none, or several
    """
    found = element.findall(tag)
    if len(found) != 1:
        raise ValueError(f'{len(found)} elements {tag} in {element.tag}, expected one')
    return found[0]


def _numbers(text: str | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers as an array.

    :raises ValueError: another number of them, or words that are no finite numbers
    """
    values = np.array([float(word) for word in (text or '').split()])
    if values.size != np.prod(shape) or not np.isfinite(values).all():
        raise ValueError(f'expected {np.prod(shape)} finite numbers, found {(text or "").strip()[:40]!r}')
    return values.reshape(shape)
