"""Names of functionals."""

import re

import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.functionals import FUNCTIONALS, check_functional


@pytest.mark.parametrize('name', [*FUNCTIONALS, 'PBEsol+U', 'PBE+U(Fe 4.0, O 1.0)', 'PBE+D3(BJ)', 'HSE06(0.2)+SOC'])
def test_known_names(name):
    assert check_functional(name) == name


@pytest.mark.parametrize(
    ('name', 'nearest'),
    [
        ('PBEsoll', 'PBEsol'),
        ('pbesol', 'PBEsol'),
        ('PBE+UU', 'PBE+U'),
        ('r2scan', 'r2SCAN'),
        ('', None),
        ('PBE U', 'PBE'),
    ],
)
def test_unknown_names(name, nearest):
    with pytest.raises(FormatError, match='^functional: unknown value .*' + re.escape(nearest or '')):
        check_functional(name)
