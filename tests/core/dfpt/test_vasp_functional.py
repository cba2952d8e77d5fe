"""Names of functionals of VASP."""

from __future__ import annotations

import pytest

from aiida_goectp.core.dfpt.vasp_functional import functional_name
from aiida_goectp.core.formats.functionals import check_functional, is_unnamed

U = {'gga': 'pe', 'ldau': True, 'ldaul': [2, -1], 'ldauu': [5.3, 0.0], 'ldauj': [0.0, 0.0]}


@pytest.mark.parametrize(
    ('incar', 'name'),
    [
        ({'gga': 'PS'}, 'PBEsol'),
        ({}, 'PBE'),
        ({'GGA': ' ps ', 'encut': 600, 'lasph': True}, 'PBEsol'),
        ({'gga': '--'}, 'PBE'),
        ({'gga': 'XX'}, 'unnamed'),
        ({'gga': 'ps', 'metagga': 'SCAN'}, 'SCAN'),
        ({'metagga': 'R2scan'}, 'r2SCAN'),
        ({'gga': 'ps', 'metagga': 'NONE'}, 'PBEsol'),
        ({'metagga': 'MBJ'}, 'unnamed'),
        ({'gga': 'PS', 'lrpa': True}, 'PBEsol+LRPA'),
        ({'gga': 'PS', 'lrpa': '.TRUE.'}, 'PBEsol+LRPA'),
        ({'gga': 'PS', 'lrpa': 'F'}, 'PBEsol'),
        ({'gga': 'PS', 'lrpa': 'perhaps'}, 'unnamed'),
        ({'lhfcalc': True}, 'PBE0'),
        ({'lhfcalc': True, 'hfscreen': 0.2}, 'HSE06'),
        ({'lhfcalc': True, 'hfscreen': 0.2, 'lrhfcalc': True}, 'unnamed'),
        ({'lhfcalc': True, 'hfscreen': 0.3}, 'HSE03'),
        ({'lhfcalc': True, 'hfscreen': 0.25}, 'PBE(AEXX 0.25, HFSCREEN 0.25)'),
        ({'lhfcalc': True, 'hfscreen': 0.2, 'aexx': 0.3}, 'PBE(AEXX 0.3, HFSCREEN 0.2)'),
        ({'gga': 'ps', 'lhfcalc': True, 'hfscreen': 0.2}, 'HSEsol'),
        ({'lhfcalc': True, 'aexx': 1.0}, 'HF'),
        ({'gga': 'B3', 'lhfcalc': True, 'aexx': 0.2, 'aggax': 0.72}, 'unnamed'),
        ({'lhfcalc': True, 'aexx': 'nan'}, 'unnamed'),
        ({'gga': 'ps', 'aexx': 0.3}, 'PBEsol'),
        ({'gga': 'PE', 'ivdw': 12}, 'PBE+D3(BJ)'),
        ({'gga': 'PE', 'ivdw': 11}, 'PBE+D3'),
        ({'gga': 'PE', 'ivdw': 0}, 'PBE'),
        ({'gga': 'PE', 'ivdw': 99}, 'unnamed'),
        ({'gga': 'PE', 'ivdw': 11, 'vdw_s8': 0.9}, 'unnamed'),
        ({'gga': 'PE', 'lvdw': True}, 'PBE+D2'),
        ({'gga': 'MK', 'luse_vdw': True, 'param1': 0.1234}, 'unnamed'),
        ({'gga': 'RE', 'luse_vdw': True}, 'unnamed'),
        ({'libxc1': 'GGA_X_PBE_SOL'}, 'unnamed'),
        ({'gga': 'ps', 'lsorbit': True}, 'PBEsol+SOC'),
        (U, 'PBE+U(Fe-d 5.3)'),
        (U | {'ldauu': '5.3 0', 'ldauj': '1.0 0'}, 'PBE+U(Fe-d 4.3)'),
        (U | {'ldauu': [0, 0]}, 'PBE'),
        (U | {'ldautype': 1, 'ldauj': [1.0, 0.0]}, 'PBE+U(LDAUTYPE 1: Fe-d 5.3/1)'),
        (U | {'ldautype': 3}, 'unnamed'),
        (U | {'ldauu': [5.3]}, 'unnamed'),
        (U | {'ldauu': None}, 'unnamed'),
        (U | {'ldau': False}, 'PBE'),
        (U | {'gga': 'ps', 'ivdw': 12, 'lsorbit': True}, 'PBEsol+D3(BJ)+U(Fe-d 5.3)+SOC'),
    ],
)
def test_name_of_the_functional(incar, name):
    found = functional_name(incar, ('Fe', 'O'))
    assert found.partition(' (')[0] == name
    assert is_unnamed(found) or check_functional(name) == name


def test_values_of_u_without_species_have_no_name():
    assert functional_name(U) == 'unnamed (ldau)'


def test_kinds_of_one_element_must_agree():
    lists = {'ldaul': [2, -1, 2], 'ldauu': [5.3, 0, 5.3], 'ldauj': [0, 0, 0]}
    assert functional_name(U | lists, ('Fe', 'O', 'Fe')) == 'PBE+U(Fe-d 5.3)'
    assert functional_name(U | lists | {'ldauu': [5.3, 0, 4.0]}, ('Fe', 'O', 'Fe')) == 'unnamed (ldau)'


@pytest.mark.parametrize(
    ('potentials', 'name'),
    [(('CA', 'CA'), 'LDA'), (('PE', 'CA'), 'unnamed (gga, metagga, lhfcalc)'), ((), 'unknown'), (('',), 'unknown')],
)
def test_without_gga_the_potentials_count(potentials, name):
    assert functional_name({}, (), potentials) == name


@pytest.mark.parametrize(
    ('incar', 'name'),
    [
        ({'lsorbit': True}, 'unnamed (gga)'),
        ({'ivdw': 11}, 'unnamed (gga)'),
        ({'lhfcalc': True}, 'unnamed (lhfcalc)'),
        ({'luse_vdw': True, 'gga': 'RE', 'aggac': 0.0}, 'unnamed (aggac)'),
        ({'luse_vdw': True, 'gga': 'RE'}, 'unnamed (luse_vdw)'),
        ({'libxc1\x1b[31m': 'x'}, 'unnamed (libxc1??31m)'),
    ],
)
def test_settings_without_a_name_are_listed(incar, name):
    """A functional that is not stated is another case: a user may state it, but not for a run with additions."""
    assert functional_name(incar, (), ()) == name
