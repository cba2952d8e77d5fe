"""Occupations and number of bands of pw.x, and the parameters of charge and spin that are refused."""

from __future__ import annotations

import pytest

pytest.importorskip('aiida_quantumespresso')

from aiida_goectp.workflows.dfpt.quantumespresso.parameters import electrons_errors, occupations


@pytest.mark.parametrize(
    ('electrons', 'system', 'bands'),
    [
        (16, {}, 10),  # MgO
        (16, {'nspin': 1, 'tot_magnetization': 6}, 10),
        (16, {'nspin': 2}, 10),
        (16, {'nspin': 2, 'tot_magnetization': 6}, 13),  # 11 up, 5 down
        (16, {'nspin': 2, 'tot_magnetization': -6.0}, 13),
        (16, {'noncolin': True}, 18),
        (16, {'nspin': 4}, 18),
        (17, {'nspin': 2, 'tot_magnetization': 1}, 11),
        (17, {'noncolin': True}, 19),
        (17, {}, None),
        (17, {'noncolin': False}, None),
    ],
)
def test_bands_of_each_spin(electrons, system, bands):
    expected = None if bands is None else {'occupations': 'fixed', 'nbnd': bands}
    assert occupations(electrons, system) == expected


@pytest.mark.parametrize(
    ('system', 'names'),
    [
        ({}, []),
        ({'tot_charge': 0.0}, []),
        ({'tot_charge': 2}, ['tot_charge']),
        ({'Tot_Charge': -1.0}, ['tot_charge']),
        ({'nspin': 2}, ['tot_magnetization']),
        ({'nspin': 2, 'occupations': 'fixed'}, ['tot_magnetization']),
        ({'NSPIN': 2}, ['tot_magnetization']),
        ({'nspin': 2, 'tot_magnetization': 0}, []),
        ({'nspin': 2, 'occupations': 'smearing', 'degauss': 0.01}, []),
        ({'nspin': 4}, []),
        ({'noncolin': True}, []),
        ({'nspin': 2, 'tot_charge': 1}, ['tot_charge', 'tot_magnetization']),
    ],
)
def test_charge_and_missing_moment_are_errors(system, names):
    errors = list(electrons_errors('scf.pw.parameters', {'SYSTEM': system}))
    assert [error.partition(':')[0] for error in errors] == [f'scf.pw.parameters.SYSTEM.{name}' for name in names]
