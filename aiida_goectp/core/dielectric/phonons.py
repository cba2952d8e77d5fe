"""Lattice response at Γ from force constants and Born charges, and the output files of ``ph.x``.

``ph.x`` does not print the static dielectric constant. It follows from the force constants C at Γ, the Born charges Z*
and the volume Ω (Gonze and Lee, Phys. Rev. B 55, 10355 (1997), eqs. 51 to 58), in Rydberg atomic units

.. math:: ε^{ion} = \\frac{8π}{Ω} Z^* C^{-1} Z^{*T}

with the three translations projected out of C and the mean charge subtracted from Z*.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from aiida_goectp.core.crystals.programs.units import BOHR
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.numbers import fortran_number

__all__ = (
    'RYDBERG_PER_BOHR2',
    'DynamicalMatrix',
    'check_matrix',
    'frequencies',
    'ionic_tensor',
    'neutral',
    'parse_dynamical_matrix',
    'parse_tensors',
    'project_translations',
    'response_converged',
)

RYDBERG_PER_BOHR2 = 13.605693122994 / BOHR**2
"""eV/Å², CODATA 2018"""

_RYDBERG = 3289.8419602508
"""THz: Rydberg frequency, CODATA 2018"""

_MIN_STIFFNESS = 1e-8
"""Ry/bohr²; prevents a division by zero for soft modes"""

# limits of numbers that a crystal can have, with a wide margin
_MAX_LENGTH = 1e5  # Å
_MIN_VOLUME = 1e-3  # Å³
_MAX_MASS = 1e7  # Rydberg units, 10⁴ amu
_MAX_STIFFNESS = 1e3  # Ry/bohr²
_MAX_RESPONSE = 1e12

_THRESHOLD = re.compile(r'convergence threshold\s*=\s*(\S+)')
_ITERATION = re.compile(r'iter #\s*(\d{1,9})')
_CHANGE = re.compile(r'\|ddv_scf\|\^2 =\s*(\S+)')


class DynamicalMatrix(NamedTuple):
    """Content of a dynamical matrix file of ``ph.x`` at Γ."""

    lattice: np.ndarray
    """(3, 3) Å, rows a, b, c, in the frame of the calculation"""
    masses: np.ndarray
    """(n,) masses of the atoms in Rydberg units, twice the electron mass"""
    positions: np.ndarray
    """(n, 3) Å, Cartesian"""
    force_constants: np.ndarray
    """(3n, 3n) Ry/bohr²; an index is 3 × atom + direction"""
    electronic: np.ndarray | None
    """(3, 3) ε_∞"""
    born_charges: np.ndarray | None
    """(n, 3, 3) e, as computed; indices atom, field, displacement"""


def parse_dynamical_matrix(
    text: str, name: str = 'dynamical-matrix-1', lattice: np.ndarray | None = None
) -> DynamicalMatrix:
    """Read a dynamical matrix at Γ in the text format of ``ph.x``.

    :param text: content of the file
    :param name: of the file, for messages
    :param lattice: (3, 3) Å, rows, that ``pw.x`` printed; a file computed with another ``ibrav`` than 0 contains none
    :raises FormatError: another format, a truncated file, another q point, or no lattice
    """
    lines = text.splitlines()
    if not lines or 'Dynamical matrix file' not in lines[0]:
        raise FormatError(f'{name}: not a dynamical matrix file of ph.x; retrieve DYN_MAT/dynamical-matrix-1')
    try:
        matrix = DynamicalMatrix(*_cell_and_matrix(lines, lattice), *_response(lines))
    except IndexError as error:
        raise FormatError(f'{name}: the file is truncated; run ph.x again') from error
    except ValueError as error:
        raise FormatError(f'{name}: {error}; run ph.x again') from error
    check_matrix(matrix, name)
    return matrix


def _cell_and_matrix(
    lines: list[str], lattice: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return lattice, masses, positions and force constants.

    :param lattice: of a file without lattice vectors
    :raises ValueError: invalid lines
    :raises IndexError: missing lines
    """
    kinds, n, bravais = (int(word) for word in lines[2].split()[:3])
    if bravais != 0 and lattice is None:
        raise ValueError(f'computed with ibrav = {bravais}, for which pw.x chooses the frame; use ibrav = 0')
    if not (0 < kinds <= n and 4 * n * n < len(lines)):
        raise ValueError(f'a matrix of {n} atoms of {kinds} kinds in {len(lines)} lines')
    scale = fortran_number(lines[2].split()[3]) * BOHR
    if not scale > 0:
        raise ValueError(f'a lattice constant of {lines[2].split()[3]}: no cell')
    above = 7 if bravais == 0 else 3
    head = above + kinds
    masses = {int(line.split()[0]): float(line.rsplit(maxsplit=1)[1]) for line in lines[above:head]}
    sites = _numbers(lines[head : head + n], (n, 5))
    _require_blank(lines, head + n)
    if set(masses) != set(range(1, kinds + 1)) or sites[:, 0].tolist() != list(range(1, n + 1)):
        raise ValueError('kinds or atoms are not numbered from 1')
    if unknown := set(sites[:, 1]) - set(masses):
        raise ValueError(f'an atom of the kind {min(unknown):g}, which is not in the list of masses')
    start = next((row for row, line in enumerate(lines) if line.split()[:2] == ['q', '=']), len(lines))
    point = [float(word) for word in re.findall(r'[-\d.]+', lines[start])]
    if len(point) != 3 or any(point):
        raise ValueError(f'computed at {lines[start].strip()}; expected Γ')
    constants = np.empty((n, 3, n, 3))
    row = start + 2
    for first in range(n):
        for second in range(n):
            if lines[row].split() != [str(first + 1), str(second + 1)]:
                raise ValueError(f'expected the block of the atoms {first + 1} and {second + 1}, found {lines[row]!r}')
            constants[first, :, second] = _numbers(lines[row + 1 : row + 4], (3, 6))[:, ::2]
            row += 4
    _require_blank(lines, row)
    return (
        _numbers(lines[4:7], (3, 3)) * scale if bravais == 0 or lattice is None else lattice,
        np.array([masses[int(kind)] for kind in sites[:, 1]]),
        sites[:, 2:] * scale,
        constants.reshape(3 * n, 3 * n),
    )


def _response(lines: list[str]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return ε_∞ and the Born charges after the matrix; None if the response to a field was not computed.

    :raises ValueError: invalid or missing lines
    """
    titles = {line.strip().split(':')[0]: row for row, line in enumerate(lines) if ':' in line}
    electronic = charges = None
    if (row := titles.get('Dielectric Tensor')) is not None:
        electronic = _numbers(lines[row + 2 : row + 5], (3, 3))
        _require_blank(lines, row + 5)
    if (row := titles.get('Effective Charges E-U')) is not None:
        n = int(lines[2].split()[1])
        blocks = [lines[row + 2 + 4 * atom : row + 6 + 4 * atom] for atom in range(n)]
        wrong = [atom for atom, block in enumerate(blocks, 1) if block[0].split() != ['atom', '#', str(atom)]]
        if wrong:
            raise ValueError(f'no effective charges of atom {wrong[0]}')
        charges = np.array([_numbers(block[1:], (3, 3)) for block in blocks])
        _require_blank(lines, row + 2 + 4 * n)
    return electronic, charges


def _require_blank(lines: list[str], row: int) -> None:
    """Check that a table ends, so that no line before is a second copy.

    :raises ValueError: it does not
    """
    if lines[row].strip():
        raise ValueError(f'expected the end of a table, found {lines[row]!r}')


def _numbers(lines: list[str], shape: tuple[int, int]) -> np.ndarray:
    """Return lines of numbers as a matrix.

    :raises ValueError: another shape, or words that are no finite numbers
    """
    rows = [[float(word) for word in line.split()] for line in lines]
    if (len(rows), {len(row) for row in rows}) != (shape[0], {shape[1]}):
        raise ValueError(f'expected {shape[0]} lines with {shape[1]} numbers each, found {lines[:1]}')
    matrix = np.array(rows)
    if not np.isfinite(matrix).all():
        raise ValueError(f'numbers that are not finite: {lines[:1]}')
    return matrix


def check_matrix(matrix: DynamicalMatrix, name: str) -> None:
    """Check that numbers are of a possible magnitude, so that no later step overflows.

    :param name: of the file, for messages
    :raises FormatError: they are not
    """
    volume = float(np.linalg.det(matrix.lattice)) if np.abs(matrix.lattice).max() < _MAX_LENGTH else np.inf
    largest = {
        'a position in Å': (np.abs(matrix.positions).max(), _MAX_LENGTH),
        'a mass in Rydberg units': (matrix.masses.max(), _MAX_MASS),
        'a force constant in Ry/bohr²': (np.abs(matrix.force_constants).max(), _MAX_STIFFNESS),
    }
    if not _MIN_VOLUME < abs(volume) < np.inf:
        raise FormatError(f'{name}: lattice vectors {matrix.lattice.tolist()} Å span no cell; run ph.x again')
    if not matrix.masses.min() > 0:
        raise FormatError(f'{name}: a mass of {matrix.masses.min():g}; run ph.x again')
    for meaning, (value, limit) in largest.items():
        if not value < limit:
            raise FormatError(f'{name}: {meaning} is {value:g}, beyond {limit:g}; run ph.x again')
    _check_response(matrix.electronic, matrix.born_charges, name)


def _check_response(electronic: np.ndarray | None, born_charges: np.ndarray | None, name: str) -> None:
    """Check ε_∞ and Born charges, likewise.

    :raises FormatError: they are not of a possible magnitude
    """
    for meaning, values in (('dielectric tensor', electronic), ('effective charges', born_charges)):
        if values is not None and not np.abs(values).max() < _MAX_RESPONSE:
            raise FormatError(f'{name}: {meaning} beyond {_MAX_RESPONSE:g} or not finite; run ph.x again')


def parse_tensors(text: str, name: str = 'tensors.xml') -> tuple[np.ndarray | None, np.ndarray | None]:
    """Read ``tensors.xml``, which ``ph.x`` writes before the phonons.

    :return: (3, 3) ε_∞ and (n, 3, 3) Born charges in e (atom, field, displacement); ``None`` where not computed
    :raises FormatError: invalid or truncated XML
    """
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise FormatError(f'{name}: declares entities, which ph.x does not write')
    try:
        root = ElementTree.fromstring(text)  # safe: entities are refused above
        found = {tag: root.find(f'EF_TENSORS/{tag}') for tag in ('DIELECTRIC_CONSTANT', 'EFFECTIVE_CHARGES_EU')}
        values = {
            tag: np.array((node.text or '').split(), dtype=float).reshape(-1, 3, 3)
            for tag, node in found.items()
            if node is not None
        }
    except (ElementTree.ParseError, ValueError) as error:
        raise FormatError(f'{name}: truncated or invalid ({error}); run ph.x again') from error
    tensor, charges = values.get('DIELECTRIC_CONSTANT'), values.get('EFFECTIVE_CHARGES_EU')
    if (tensor is not None and len(tensor) != 1) or (charges is not None and not len(charges)):
        raise FormatError(f'{name}: a tensor has another number of elements; run ph.x again')
    # Fortran order: the field index varies first, so a line belongs to one displacement
    electronic = None if tensor is None else tensor[0]
    charges = None if charges is None else charges.transpose(0, 2, 1)
    _check_response(electronic, charges, name)
    return electronic, charges


def response_converged(text: str, *, field_only: bool = False) -> bool:
    """Return whether all linear systems in the output of ``ph.x`` reached the convergence threshold.

    ``ph.x`` 6.7 continues without a message after an unconverged response to a field. Without any iteration the result
    is true: a run with ``recover`` that finds all systems solved prints none.

    :param text: standard output of ``ph.x``
    :param field_only: consider only the response to a field, which ``ph.x`` computes before the first phonon
    """
    limit = np.nan
    last: list[float] = []  # of each system
    for line in text.splitlines():
        if field_only and 'Representation #' in line:
            break
        if 'convergence threshold' in line and (match := _THRESHOLD.search(line)):
            limit = fortran_number(match.group(1))
        elif 'iter #' in line and (match := _ITERATION.search(line)):
            if int(match.group(1)) == 1 or not last:
                last.append(np.nan)
            last[-1] = np.nan
        elif 'ddv_scf' in line and last and (match := _CHANGE.search(line)):
            last[-1] = fortran_number(match.group(1))
    return all(value < limit for value in last)


def neutral(born_charges: np.ndarray) -> np.ndarray:
    """Return Born charges (n, 3, 3) with their mean subtracted: the acoustic sum rule."""
    return born_charges - born_charges.mean(axis=0)


def project_translations(force_constants: np.ndarray) -> np.ndarray:
    """Return symmetrised force constants (3n, 3n) with the three translations projected out (acoustic sum rule)."""
    shift = _translations(len(force_constants) // 3)
    projector = np.eye(len(force_constants)) - shift @ shift.T
    return projector @ (force_constants + force_constants.T) @ projector / 2


def frequencies(force_constants: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Return the frequencies at Γ in ascending order, without the non-analytic term.

    :param force_constants: (3n, 3n) Ry/bohr²; the translations are projected out
    :param masses: (n,) Rydberg units, twice the electron mass
    :return: (3n,) THz; imaginary ones are negative, the three translations zero
    """
    weights = np.repeat(masses, 3)[:, None]
    inner = _complement(np.sqrt(weights) * _translations(len(masses)))
    scaled = project_translations(force_constants) / np.sqrt(weights * weights.T)
    squares = np.linalg.eigvalsh(inner.T @ scaled @ inner)
    return np.sort(np.concatenate([np.zeros(3), np.sign(squares) * np.sqrt(np.abs(squares)) * _RYDBERG]))


def ionic_tensor(force_constants: np.ndarray, born_charges: np.ndarray, volume: float) -> np.ndarray:
    """Return the ionic part of the static permittivity, (3, 3).

    A mode with a negative force constant contributes a negative part without physical meaning; check the frequencies.

    :param force_constants: (3n, 3n) Ry/bohr²; the translations are projected out
    :param born_charges: (n, 3, 3) e; indices atom, field, displacement; the mean is subtracted
    :param volume: Å³
    """
    inner = _complement(_translations(len(born_charges)))
    values, modes = np.linalg.eigh(inner.T @ project_translations(force_constants) @ inner)
    strengths = neutral(born_charges).transpose(1, 0, 2).reshape(3, -1) @ inner @ modes
    stiffness = np.where(values < 0, -1.0, 1.0) * np.maximum(np.abs(values), _MIN_STIFFNESS)
    return 8 * np.pi / (volume / BOHR**3) * (strengths / stiffness) @ strengths.T


def _translations(n: int) -> np.ndarray:
    """Return the translations of n atoms along x, y, z as orthonormal columns, (3n, 3)."""
    return np.kron(np.full((n, 1), n**-0.5), np.eye(3))


def _complement(vectors: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis, as columns, of the orthogonal complement of the given columns."""
    return np.linalg.svd(vectors, full_matrices=True)[0][:, vectors.shape[1] :]
