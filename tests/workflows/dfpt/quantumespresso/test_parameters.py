"""Occupations and number of bands of pw.x, and the parameters of charge and spin that are refused."""

from __future__ import annotations

import pytest

pytest.importorskip('aiida_quantumespresso')

from aiida_goectp.workflows.dfpt.quantumespresso.parameters import (
    electrons_errors,
    ground_state_errors,
    occupations,
    ph_errors,
    pw_errors,
)
from aiida_goectp.workflows.dfpt.quantumespresso.pseudopotentials import with_cutoffs


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


@pytest.mark.parametrize(
    ('check', 'namelist', 'name', 'right', 'wrong'),
    [
        (pw_errors, 'SYSTEM', 'ecutwfc', [60, 60.5], ['60', -5, 0, True, float('nan'), None]),
        (pw_errors, 'ELECTRONS', 'conv_thr', [1e-12], ['1e-8', '1.d-8', 0.0]),
        (pw_errors, 'SYSTEM', 'nosym', [True, False], ['yes', '.true.', 1]),
        (pw_errors, 'SYSTEM', 'nbnd', [8, 8.0], [8.5, '8', 0]),
        (pw_errors, 'SYSTEM', 'occupations', ['fixed'], [1, True]),
        (pw_errors, 'SYSTEM', 'starting_magnetization', [{'Fe': 0.5}, [0.1, 0.2]], []),
        (pw_errors, 'SYSTEM', 'Hubbard_U(1)', [4.0], []),
        (pw_errors, 'SYSTEM', 'tot_magnetization', [0, -2.0], ['0']),
        (ph_errors, 'INPUTPH', 'tr2_ph', [1e-14], ['1.0d-14', -1e-14]),
        (ph_errors, 'INPUTPH', 'epsil', [True], ['true']),
        (ph_errors, 'INPUTPH', 'niter_ph', [50], [0, 1.5]),
    ],
)
def test_types_and_signs_of_values(check, namelist, name, right, wrong):
    for value in right:
        assert not list(check('p', {namelist: {name: value}})), value
    for value in wrong:
        (error,) = check('p', {namelist: {name: value}})
        assert error.startswith(f'p.{namelist}.{name}: '), value


def test_the_cutoff_of_the_density_follows_that_of_the_wave_functions():
    assert [
        error.partition(':')[0] for error in ground_state_errors('p', {'SYSTEM': {'ecutwfc': 60, 'ecutrho': 160}})
    ] == ['p.SYSTEM.ecutrho']
    assert not list(ground_state_errors('p', {'SYSTEM': {'ecutwfc': 60, 'ecutrho': 240}}))
    family = {'ecutwfc': 40.0, 'ecutrho': 320.0}
    given = {'CONTROL': {'disk_io': 'low'}, 'SYSTEM': {'ecutwfc': 60}}
    found = with_cutoffs(given, family)
    assert found == {'CONTROL': {'disk_io': 'low'}, 'SYSTEM': {'ecutwfc': 60, 'ecutrho': 480.0}}
    assert with_cutoffs({'SYSTEM': {'ecutwfc': 60, 'ecutrho': 300}}, family)['SYSTEM']['ecutrho'] == 300
    assert with_cutoffs({}, family)['SYSTEM'] == family
    assert with_cutoffs(given, {}) == given
