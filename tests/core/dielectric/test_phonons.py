"""Lattice response at Γ, and output files of ph.x."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.core.dielectric.phonons import (
    frequencies,
    ionic_tensor,
    neutral,
    parse_dynamical_matrix,
    parse_tensors,
    project_translations,
    response_converged,
)
from aiida_goectp.core.formats.errors import FormatError
from tests.damaged import damaged, without_or_with_two

FILES = Path(__file__).parents[2] / 'data' / 'phx'
# rotation between the two cells of one skewed MgO crystal
ROTATION = np.array(
    [
        [0.8775825618903728, -0.29801569383990484, 0.3755469255513221],
        [0.479425538604203, 0.545514068451563, -0.6874340361485554],
        [0.0, 0.7833269096274834, 0.6216099682706644],
    ]
)


def read(name):
    matrix = parse_dynamical_matrix((FILES / name / 'dynamical-matrix-1').read_text())
    return matrix, parse_tensors((FILES / name / 'tensors.xml').read_text())


def ionic(matrix):
    return ionic_tensor(matrix.force_constants, matrix.born_charges, abs(np.linalg.det(matrix.lattice)))


def test_static_permittivity_of_mgo():
    matrix, (electronic, charges) = read('MgO')
    assert electronic == pytest.approx(np.eye(3) * 3.2356, abs=1e-4)
    assert electronic + ionic(matrix) == pytest.approx(np.eye(3) * 10.43, abs=5e-3)
    assert charges[0] == pytest.approx(np.eye(3) * 1.987, abs=1e-3)
    assert np.abs(np.linalg.det(matrix.lattice)) == pytest.approx(4.212**3 / 4, rel=1e-6)


def test_frequencies_agree_with_ph_x():
    matrix, _ = read('MgO')
    values = frequencies(matrix.force_constants, matrix.masses)
    assert values[:3] == pytest.approx(np.zeros(3), abs=0)
    assert values[3:] == pytest.approx(np.full(3, 11.59), abs=0.03)  # ph.x: 11.590 without the sum rule


def test_imaginary_modes_are_negative():
    matrix, _ = read('skewed')
    assert frequencies(matrix.force_constants, matrix.masses)[:2] == pytest.approx([-7.94, -6.12], abs=0.01)


def test_results_are_in_the_frame_of_the_input_cell():
    (original, tensors), (rotated, rotated_tensors) = read('skewed'), read('skewed_rotated')
    assert original.lattice @ ROTATION.T == pytest.approx(rotated.lattice, abs=1e-6)
    assert ROTATION @ tensors[0] @ ROTATION.T == pytest.approx(rotated_tensors[0], abs=1e-6)
    assert ROTATION @ tensors[1] @ ROTATION.T == pytest.approx(rotated_tensors[1], abs=1e-6)
    assert ROTATION @ ionic(original) @ ROTATION.T == pytest.approx(ionic(rotated), abs=2e-2)
    assert frequencies(original.force_constants, original.masses) == pytest.approx(
        frequencies(rotated.force_constants, rotated.masses), abs=1e-3
    )


@pytest.mark.parametrize('name', ['MgO', 'skewed', 'skewed_rotated'])
def test_both_files_agree(name):
    matrix, (electronic, charges) = read(name)
    assert electronic == pytest.approx(matrix.electronic, abs=1e-7)
    assert charges == pytest.approx(matrix.born_charges, abs=1e-11)
    # the skewed charges are not symmetric: field and displacement must not be swapped
    assert name == 'MgO' or np.abs(charges - charges.transpose(0, 2, 1)).max() > 0.01


def test_one_mode_analytically():
    """Two ions coupled by springs: ε = 8π/Ω Z² / k for the relative motion, in Rydberg units."""
    k, z, volume = 0.2, 1.5, 20.0
    constants = np.kron(np.array([[k, -k], [-k, k]]), np.eye(3))
    charges = np.array([np.eye(3) * z, -np.eye(3) * z])
    bohr = 0.529177210903
    expected = 8 * np.pi / (volume / bohr**3) * z**2 / k
    assert ionic_tensor(constants, charges, volume) == pytest.approx(np.eye(3) * expected)
    # ω² = k (1/m + 1/M); in Ry, 1 Ry = 3289.84 THz
    masses = np.array([1000.0, 3000.0])
    expected = np.sqrt(k * (1 / 1000 + 1 / 3000)) * 3289.8419602508
    assert frequencies(constants, masses)[3:] == pytest.approx(np.full(3, expected))


def test_violations_of_the_sum_rules_have_no_effect():
    matrix, _ = read('MgO')
    n = 2
    broken = matrix.force_constants + 0.01 * np.kron(np.ones((n, n)), np.eye(3))
    charged = matrix.born_charges + 0.3 * np.eye(3)
    volume = abs(np.linalg.det(matrix.lattice))
    assert ionic_tensor(broken, charged, volume) == pytest.approx(ionic(matrix), rel=1e-9)
    assert neutral(charged).sum(axis=0) == pytest.approx(np.zeros((3, 3)), abs=1e-12)
    translations = np.tile(np.eye(3), (n, 1))
    assert project_translations(broken) @ translations == pytest.approx(np.zeros((6, 3)), abs=1e-12)


def test_a_mode_without_stiffness_gives_a_finite_tensor():
    charges = np.array([np.eye(3), -np.eye(3)])
    assert np.isfinite(ionic_tensor(np.zeros((6, 6)), charges, 20.0)).all()


def text(name='MgO'):
    return (FILES / name / 'dynamical-matrix-1').read_text()


@pytest.mark.parametrize(
    ('spoil', 'found'),
    [
        (lambda t: '', 'DYN_MAT'),
        (lambda t: t.replace('Dynamical matrix file', 'Something else'), 'DYN_MAT'),
        (lambda t: t[:600], ''),
        (lambda t: t[:900], ''),
        (lambda t: t[: t.index('Effective Charges E-U') + 150], 'truncated'),
        (lambda t: t.replace('2    2   0   5.6', '2    2   2   5.6'), 'ibrav = 2'),
        (lambda t: t.replace('q = (    0.000000000', 'q = (    0.500000000', 1), 'Γ'),
        (lambda t: t.replace('0.11081642', '********', 1), ''),
    ],
)
def test_invalid_matrices_are_refused(spoil, found):
    with pytest.raises(FormatError, match=f'dynamical-matrix-1: .*{found}'):
        parse_dynamical_matrix(spoil(text()))


def test_matrix_without_field_has_no_tensors():
    matrix = parse_dynamical_matrix(text().split('     Dielectric Tensor:')[0])
    assert matrix.electronic is None
    assert matrix.born_charges is None


@pytest.mark.parametrize(
    ('spoil', 'found'),
    [
        (lambda t: t[:300], ''),
        (lambda t: t.replace('3.235602635470156E+00', ''), ''),
        (lambda t: t.replace('<Root>', '<!DOCTYPE x [<!ENTITY a "b">]><Root>'), 'entities'),
    ],
)
def test_invalid_tensors_are_refused(spoil, found):
    with pytest.raises(FormatError, match=rf'tensors\.xml: .*{found}'):
        parse_tensors(spoil((FILES / 'MgO' / 'tensors.xml').read_text()))


def test_tensors_that_were_not_computed_are_none():
    assert parse_tensors('<Root><EF_TENSORS/></Root>') == (None, None)


def steps(*values):
    rows = [f'      iter #   {i} total cpu time :     8.3 secs   av.it.:   5.0\n' for i, _ in values]
    ends = [f'      thresh= 1.000E-02 alpha_mix =  0.700 |ddv_scf|^2 =  {value}\n' for _, value in values]
    return '     convergence threshold     =      1.0E-08\n' + ''.join(a + b for a, b in zip(rows, ends, strict=True))


def test_an_unconverged_response_is_detected():
    """The lines are those of ph.x 6.7, which does not report an unconverged response to a field."""
    assert response_converged(steps((1, '1.148E-05'), (2, '3.4E-09'), (1, '2.0E-05'), (2, '9.9E-09')))
    assert not response_converged(steps((1, '1.148E-05'), (1, '2.0E-05'), (2, '9.9E-09')))
    assert not response_converged(steps((1, '2.0E-09'), (1, '2.0E-05')))
    assert not response_converged(steps((1, 'NaN')))
    assert not response_converged(steps((1, '********')))
    assert not response_converged(steps((1, '1.148E-05'), (2, '3.4E-09')).replace('1.0E-08', '*******'))
    assert not response_converged(steps((1, '1.148E-05'), (2, '3.4E-09')).rpartition('\n      thresh')[0])


def test_phonons_do_not_change_the_convergence_of_the_response_to_a_field():
    phonon = f'     Representation #   1 modes #   1   2   3\n{steps((1, "2.0E-05"))}'
    for field, converged in (((1, '9.0E-09'), True), ((1, '9.0E-05'), False)):
        assert response_converged(steps(field) + phonon, field_only=True) is converged
        assert not response_converged(steps(field) + phonon)


@pytest.mark.parametrize('text', ['', steps(), f'{steps()}\n     Restart after Phonon calculation\n'])
def test_without_iterations_the_response_was_finished_before(text):
    """With ``recover``, ``ph.x`` prints its threshold and no iteration if all systems are solved."""
    assert response_converged(text)


@pytest.mark.parametrize(
    ('old', 'new', 'found'),
    [
        ('2    2   0   5.6282351', '2    2   0   0.0000000', 'no cell'),
        ('2    2   0   5.6282351', '2    2   0   NaN', 'no cell'),
        ('2    2   0   5.6282351', '2    2   0   1e400', 'no cell'),
        ('2    2   0   5.6282351', '2    2   0   9999999.', 'no cell'),
        ('2    2   0   5.6282351', '2    9   0   5.6282351', 'matrix of 9 atoms'),
        ('    2    2      0.70710678', '    2    7      0.70710678', 'kind 7'),
        ('22152.652328755896', '0.0', 'mass'),
        ('22152.652328755896', '1e300', 'mass'),
        ('0.707106781    0.000000000    0.707106781', '0.000000000    0.707106781    0.707106781', 'no cell'),
        ('  0.11081642', '  1.1e200', 'force constant'),
        ('  0.11081642', '      nan ', 'not finite'),
        ('          3.235602635470', '      nan', 'not finite'),
        ('          3.235602635470', '      1e30', 'dielectric tensor'),
    ],
)
def test_impossible_numbers_are_refused(old, new, found):
    assert old in text()
    with pytest.raises(FormatError, match=f'dynamical-matrix-1: .*{found}'):
        parse_dynamical_matrix(text().replace(old, new, 1))


def test_a_line_too_many_or_too_few_changes_no_number():
    """A second copy of a line of numbers would shift the table."""
    whole = parse_dynamical_matrix(text('skewed'))
    read_anyway = 0
    for content in without_or_with_two(text('skewed').split('     Effective Charges U-E')[0]):
        try:
            found = parse_dynamical_matrix(content)
        except FormatError:
            continue
        read_anyway += 1
        for name, values in found._asdict().items():
            if name not in ('electronic', 'born_charges') or values is not None:
                np.testing.assert_array_equal(values, getattr(whole, name), err_msg=name)
    assert read_anyway > 10  # blank lines and comments


@given(data=st.data())
@pytest.mark.parametrize('name', ['MgO', 'skewed'])
def test_any_damage_of_a_matrix_is_refused_or_gives_finite_results(name, data):
    try:
        matrix = parse_dynamical_matrix(data.draw(damaged(text(name))))
    except FormatError:
        return
    assert np.isfinite(frequencies(matrix.force_constants, matrix.masses)).all()
    if matrix.born_charges is not None:
        assert np.isfinite(ionic(matrix)).all()


@given(data=st.data())
def test_any_damage_of_tensors_is_refused_or_gives_finite_results(data):
    try:
        found = parse_tensors(data.draw(damaged((FILES / 'skewed' / 'tensors.xml').read_text())))
    except FormatError:
        return
    assert all(values is None or np.isfinite(values).all() for values in found)


@given(data=st.data())
def test_any_damage_of_an_output_has_a_result(data):
    content = steps((1, '1.148E-05'), (2, '3.4E-09'), (1, '2.0E-05'), (2, '9.9E-09'))
    assert response_converged(data.draw(damaged(content))) in (True, False)
