"""Names of functionals of Quantum ESPRESSO."""

from __future__ import annotations

import pytest

from aiida_goectp.core.dfpt.espresso_functional import functional_name
from aiida_goectp.core.formats.functionals import check_functional, is_unnamed


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ('PBESOL', 'PBEsol'),
        ('SLA PW PSX PSC', 'PBEsol'),
        ('SLA-PW-PBX-PBC', 'PBE'),
        ('SLA+PZ+NOGX+NOGC', 'LDA'),
        ('pbe', 'PBE'),
        ('SCAN', 'SCAN'),
        ('HSE', 'HSE06'),
        ('SLA PW RPB PBC', 'SLA PW RPB PBC'),
        ('NOX PW PSX PSC', 'NOX PW PSX PSC'),
        ('', 'unknown'),
        ('PBE\x1b[31m', 'unnamed'),
    ],
)
def test_name_of_the_functional(text, name):
    assert functional_name(text).partition(' (')[0] == name


@pytest.mark.parametrize(
    ('system', 'name'),
    [
        ({}, 'PBEsol'),
        ({'ecutwfc': 50, 'nosym': True, 'vdw_corr': 'none'}, 'PBEsol'),
        ({'vdw_corr': 'Grimme-D2'}, 'PBEsol+D2'),
        ({'vdw_corr': 'dft-d3'}, 'PBEsol+D3'),
        ({'vdw_corr': 'dft-d3', 'dftd3_version': 4}, 'PBEsol+D3(BJ)'),
        ({'vdw_corr': 'dft-d3', 'dftd3_version': 6}, 'unnamed'),
        ({'vdw_corr': 'dft-d3', 'dftd3_threebody': False}, 'unnamed'),
        ({'vdw_corr': 'ts-vdw'}, 'PBEsol+TS'),
        ({'vdw_corr': 'xdm'}, 'unnamed'),
        ({'london': True}, 'unnamed'),
        ({'exx_fraction': 0.3}, 'unnamed'),
        ({'lda_plus_u': True}, 'unnamed'),
        ({'lda_plus_u': True, 'Hubbard_U(1)': 4.0}, 'unnamed'),
        ({'lda_plus_u': True, 'hubbard_u': {'Fe1': 4.6, 'Fe2': 4.6, 'O': 0.0}}, 'PBEsol+U(Fe 4.6)'),
        ({'lda_plus_u': True, 'hubbard_u': {'Fe1': 4.6, 'Fe2': 4.0}}, 'unnamed'),
        ({'lda_plus_u': True, 'hubbard_u': {'Fe': 4.6}, 'U_projection_type': 'ortho-atomic'},
         'PBEsol+U(ortho-atomic: Fe 4.6)'),
        ({'hubbard_u': {'Fe': 4.6}, 'hubbard_j0': {'Fe': 1.0}}, 'unnamed'),
        ({'lspinorb': True, 'noncolin': True}, 'PBEsol+SOC'),
    ],
)  # fmt: skip
def test_parameters_are_named(system, name):
    found = functional_name('PBESOL', {'SYSTEM': system})
    assert found.partition(' (')[0] == name
    assert is_unnamed(found) or check_functional(name) == name


@pytest.mark.parametrize(
    ('response', 'name'), [({'lrpa': True}, 'PBEsol+LRPA'), ({'lnoloc': True}, 'unnamed (lnoloc)')]
)
def test_response_is_named(response, name):
    assert functional_name('PBESOL', {'INPUTPH': {'tr2_ph': 1e-14, **response}}) == name


def test_additions_to_a_functional_that_is_not_stated_have_no_name():
    assert functional_name('', {'SYSTEM': {'vdw_corr': 'dft-d3'}}) == 'unnamed (input_dft)'
    assert functional_name('', has_hubbard=True) == 'unnamed (hubbard_u)'
