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

from aiida_goectp.core.formats.npz import FormatError

__all__ = (
    'BOHR',
    'DynamicalMatrix',
    'frequencies',
    'ionic_tensor',
    'neutral',
    'parse_dynamical_matrix',
    'parse_tensors',
    'project_translations',
    'response_converged',
)

BOHR = 0.529177210903
"""Å, CODATA 2018"""

_RYDBERG = 3289.8419602508
"""THz: Rydberg frequency, CODATA 2018"""

_MIN_STIFFNESS = 1e-8
"""Ry/bohr²; prevents a division by zero for soft modes"""


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


def parse_dynamical_matrix(text: str, name: str = 'dynamical-matrix-1') -> DynamicalMatrix:
    """Read a dynamical matrix at Γ in the text format of ``ph.x``, computed with ``ibrav = 0``.

    :param text: content of the file
    :param name: of the file, for messages
    :raises FormatError: another format, a truncated file, another q point, or another ``ibrav``
    """
    lines = text.splitlines()
    if not lines or 'Dynamical matrix file' not in lines[0]:
        raise FormatError(f'{name}: not a dynamical matrix file of ph.x; retrieve DYN_MAT/dynamical-matrix-1')
    try:
        kinds, n, bravais = (int(word) for word in lines[2].split()[:3])
        if bravais != 0:
            raise FormatError(
                f'{name}: computed with ibrav = {bravais}, for which pw.x chooses the frame; use ibrav = 0'
            )
        scale = float(lines[2].split()[3]) * BOHR
        lattice = _numbers(lines[4:7]) * scale
        head = 7 + kinds
        weights = {int(line.split()[0]): float(line.rsplit(maxsplit=1)[1]) for line in lines[7:head]}
        sites = _numbers(lines[head : head + n])
        start = next(row for row, line in enumerate(lines) if line.split()[:2] == ['q', '='])
        if not np.allclose([float(word) for word in re.findall(r'[-\d.]+', lines[start])], 0):
            raise FormatError(f'{name}: computed at {lines[start].strip()}; expected Γ')
        blocks = [_numbers(lines[row + 1 : row + 4])[:, ::2] for row in range(start + 2, start + 2 + 4 * n * n, 4)]
        constants = np.array(blocks).reshape(n, n, 3, 3).transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
    except FormatError:
        raise
    except (ValueError, IndexError, StopIteration) as error:
        raise FormatError(f'{name}: truncated or invalid ({error}); run ph.x again') from error
    return DynamicalMatrix(
        lattice,
        np.array([weights[int(kind)] for kind in sites[:, 1]]),
        sites[:, 2:5] * scale,
        constants,
        *_response(lines, n, name),
    )


def _response(lines: list[str], n: int, name: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return ε_∞ and the Born charges after the matrix; None if the response to a field was not computed."""
    titles = {
        line.strip().split(':')[0]: row for row, line in enumerate(lines) if line.strip().endswith(':') or ':' in line
    }
    try:
        row = titles.get('Dielectric Tensor')
        electronic = None if row is None else _numbers(lines[row + 2 : row + 5])
        row = titles.get('Effective Charges E-U')
        charges = (
            None if row is None else np.array([_numbers(lines[row + 3 + 4 * i : row + 6 + 4 * i]) for i in range(n)])
        )
    except (ValueError, IndexError) as error:
        raise FormatError(f'{name}: tensors truncated or invalid ({error}); run ph.x again') from error
    return electronic, charges


def _numbers(lines: list[str]) -> np.ndarray:
    """Return lines of numbers as a matrix; words in quotes are ignored."""
    rows = [[float(word) for word in re.sub(r"'[^']*'", '', line).split()] for line in lines]
    if not rows or {len(row) for row in rows} != {len(rows[0])} or not rows[0]:
        raise ValueError(f'expected numbers, found {lines[:1]}')
    return np.array(rows)


def parse_tensors(text: str, name: str = 'tensors.xml') -> tuple[np.ndarray | None, np.ndarray | None]:
    """Read ``tensors.xml``, which ``ph.x`` writes before the phonons.

    :return: (3, 3) ε_∞ and (n, 3, 3) Born charges in e (atom, field, displacement); ``None`` where not computed
    :raises FormatError: invalid or truncated XML
    """
    try:
        if '<!DOCTYPE' in text or '<!ENTITY' in text:
            raise FormatError(f'{name}: declares entities, which ph.x does not write')
        root = ElementTree.fromstring(text)  # safe: entities are refused above
        found = {tag: root.find(f'EF_TENSORS/{tag}') for tag in ('DIELECTRIC_CONSTANT', 'EFFECTIVE_CHARGES_EU')}
        values = {
            tag: np.array((node.text or '').split(), dtype=float).reshape(-1, 3, 3)
            for tag, node in found.items()
            if node is not None
        }
    except (ElementTree.ParseError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f'{name}: truncated or invalid ({error}); run ph.x again') from error
    electronic, charges = values.get('DIELECTRIC_CONSTANT'), values.get('EFFECTIVE_CHARGES_EU')
    # Fortran order: the field index varies first, so a line belongs to one displacement
    return None if electronic is None else electronic[0], None if charges is None else charges.transpose(0, 2, 1)


def response_converged(text: str) -> bool:
    """Return whether all linear systems in the output of ``ph.x`` reached the convergence threshold.

    ``ph.x`` 6.7 continues without a message after an unconverged response to a field.

    :param text: standard output of ``ph.x``
    """
    limit = re.search(r'convergence threshold\s*=\s*([\d.E+-]+)', text)
    steps = re.findall(r'iter #\s*(\d+).*?\|ddv_scf\|\^2 =\s*([\d.E+-]+)', text, re.DOTALL)
    if limit is None:
        return True  # a run that only collects earlier results
    last = [value for (_, value), (after, _) in zip(steps, [*steps[1:], ('1', '')], strict=True) if after == '1']
    return all(float(value) < float(limit.group(1)) for value in last)


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
