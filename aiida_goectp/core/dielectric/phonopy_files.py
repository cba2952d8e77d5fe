"""Files of phonopy: ``BORN`` and ``FORCE_CONSTANTS`` of a primitive cell at Γ.

phonopy reads them with a supercell of one cell. ``BORN`` holds the charges of symmetrically independent atoms only, in
the order in which they occur in the cell; the index of the field comes first, as in VASP and here.
"""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.dielectric.gamma_modes import to_blocks

__all__ = ('born_text', 'force_constants_text')


def born_text(electronic: np.ndarray, born_charges: np.ndarray, equivalent_atoms: np.ndarray) -> str:
    """Return the content of ``BORN``.

    :param electronic: (3, 3) ε_∞
    :param born_charges: (n, 3, 3) e; indices atom, field, displacement
    :param equivalent_atoms: (n,) index of the first atom that is equivalent to each by symmetry
    """
    independent = np.unique(equivalent_atoms)
    lines = ['default']  # the factor for charges in e and lengths in Å
    lines += [_row(tensor) for tensor in (electronic, *np.asarray(born_charges)[independent])]
    return '\n'.join(lines) + '\n'


def _row(tensor: np.ndarray) -> str:
    return ' '.join(f'{value:13.8f}' for value in np.asarray(tensor).ravel())


def force_constants_text(force_constants: np.ndarray) -> str:
    """Return the content of ``FORCE_CONSTANTS``.

    :param force_constants: (3n, 3n) eV/Å²; an index is 3 × atom + direction
    """
    n = len(force_constants) // 3
    blocks = to_blocks(np.asarray(force_constants)).reshape(n, n, 3, 3)
    lines = [f'{n:4d} {n:4d}']
    for first in range(n):
        for second in range(n):
            lines.append(f'{first + 1} {second + 1}')
            lines += [' '.join(f'{value:22.15f}' for value in row) for row in blocks[first, second]]
    return '\n'.join(lines) + '\n'
