"""Remark about cells that are larger than primitive ones."""

import numpy as np

from aiida_goectp.cli.cells import remark_on_cells
from aiida_goectp.core.crystals import Crystal

CUBE = np.eye(3) * 4.2
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
SHIFT = np.array([0.5, 0, 0])
CONVENTIONAL = Crystal('conventional', CUBE, np.repeat([12, 8], 4), np.concatenate([FCC, FCC + SHIFT]))
PRIMITIVE = Crystal('primitive', (1 - np.eye(3)) * 2.1, np.array([12, 8]), np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]))


def test_larger_cells_are_named_with_their_atoms():
    assert remark_on_cells([PRIMITIVE]) == ''
    assert 'the cell of conventional has 8 atoms, its primitive cell 2; ' in remark_on_cells([PRIMITIVE, CONVENTIONAL])
    twice = remark_on_cells([CONVENTIONAL, PRIMITIVE, CONVENTIONAL._replace(id='other')])
    assert 'conventional has 8 atoms, its primitive cell 2 (the first of 2 such crystals)' in twice
