"""Names of functionals."""

import re

import pytest

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.functionals import FUNCTIONALS, check_functional, trained_as


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


U = ['PBEsol', 'PBEsol+U(Fe-d 5.3)', 'PBEsol+U(Fe-d 5.3, Ni-d 6.2)', 'PBE+U(Fe-d 5.3)', 'unknown']


@pytest.mark.parametrize(
    ('functionals', 'taken'),
    [
        ([], {}),
        (['PBEsol'], {'PBEsol': 'PBEsol'}),
        (['PBEsol+U'], dict.fromkeys(U[:3], 'PBEsol+U')),
        (['PBEsol', 'PBEsol+U'], {U[0]: 'PBEsol', U[1]: 'PBEsol+U', U[2]: 'PBEsol+U'}),
        (['PBEsol+U(Fe-d 5.3)', 'PBE+U'], {U[1]: U[1], U[3]: 'PBE+U'}),
    ],
)
def test_labels_with_dft_u_are_those_of_one_functional_in_a_training(functionals, taken):
    assert trained_as(U, functionals) == taken


def test_additions_after_u_are_kept():
    assert trained_as(['PBE+D3+U(Fe-d 4)+SOC', 'PBE+D3+SOC', 'PBE+D3'], ['PBE+D3+U+SOC']) == {
        'PBE+D3+U(Fe-d 4)+SOC': 'PBE+D3+U+SOC',
        'PBE+D3+SOC': 'PBE+D3+U+SOC',
    }


def test_equal_values_of_u_may_be_written_differently():
    names = ['PBE+U(Fe-d 5.3, Ni-d 6.2)', 'PBE+U(Fe-d 5.30)']
    assert trained_as(names, ['PBE+U']) == dict.fromkeys(names, 'PBE+U')


def test_different_values_of_u_are_not_of_one_protocol():
    names = ['PBE+U(Fe-d 4, Ni-d 6)', 'PBE+U(Fe-d 5.3)']
    with pytest.raises(FormatError, match=r'Fe-d 4 and Fe-d 5\.3'):
        trained_as(names, ['PBE+U'])
    assert set(trained_as(names, names)) == set(names)
