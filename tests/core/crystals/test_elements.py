"""Symbols and formulas."""

import numpy as np
import pytest

from aiida_goectp.core.crystals.elements import formula, reduced_formula, symbols_of


@pytest.mark.parametrize(
    ('numbers', 'whole', 'reduced'),
    [
        ([12, 8], 'MgO', 'MgO'),
        ([22, 22, 8, 8, 8, 8], 'O4Ti2', 'O2Ti'),
        ([1, 6, 6, 1], 'C2H2', 'CH'),
        ([14], 'Si', 'Si'),
    ],
)
def test_formulas(numbers, whole, reduced):
    assert formula(np.array(numbers)) == whole
    assert reduced_formula(np.array(numbers)) == reduced
    assert len(symbols_of(np.array(numbers))) == len(numbers)
