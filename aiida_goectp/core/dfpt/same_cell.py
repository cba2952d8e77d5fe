"""Comparison of the cells of several files of one calculation."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.dfpt.errors import CollectError, Refusal

__all__ = ('check_same_cell',)

_TOLERANCE = 1e-3  # Å

_Cell = tuple[np.ndarray, np.ndarray]


def check_same_cell(name: str, expected: _Cell, found: _Cell, file: str) -> None:
    """Check that two structures are the same cell, in one Cartesian frame and order of atoms, up to lattice vectors.

    :param name: id of the crystal
    :param expected: lattice (3, 3) Å, rows, and fractional positions (n, 3)
    :param found: lattice and Cartesian positions (n, 3) Å, as in the file
    :param file: name of the file, for messages
    :raises CollectError: another cell
    """
    (lattice, positions), (other, moved) = expected, found
    if len(moved) != len(positions):
        raise CollectError(Refusal.OTHER_CELL, f'{name}: {len(positions)} atoms, {len(moved)} in {file}')
    deviation = np.abs(other - lattice).max()
    if deviation > _TOLERANCE:
        raise CollectError(
            Refusal.OTHER_CELL,
            f'{name}: the lattice in {file} differs by {deviation:.3g} Å: another cell or Cartesian frame',
        )
    steps = moved @ np.linalg.inv(other) - positions
    deviation = np.abs((steps - np.round(steps)) @ other).max()
    if deviation > _TOLERANCE:
        raise CollectError(
            Refusal.OTHER_CELL,
            f'{name}: a position in {file} differs by {deviation:.3g} Å: another cell or order of atoms',
        )
