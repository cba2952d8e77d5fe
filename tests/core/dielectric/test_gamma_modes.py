"""Vibrations at Γ against closed formulas of a diatomic crystal."""

import numpy as np
import pytest
from scipy.linalg import eig

from aiida_goectp.core.crystals.equivalent import random_orthogonal
from aiida_goectp.core.dielectric.gamma_modes import (
    DIPOLE_STRENGTH,
    THZ,
    degenerate_modes,
    gamma_modes,
    longitudinal_frequencies,
    mode_groups,
    permittivity_spectrum,
    reflectivity,
)
from aiida_goectp.core.dielectric.phonons import RYDBERG_PER_BOHR2, frequencies, ionic_tensor

MASSES = np.array([24.305, 15.999])
VOLUME, SPRING, CHARGE, ELECTRONIC = 18.7, 12.0, 1.96, 3.1
REDUCED = MASSES.prod() / MASSES.sum()
ELECTRON_MASSES = 2 * 5.48579909065e-4
"""u, unit of mass of Rydberg atomic units"""


def diatomic(spring=SPRING):
    sign = np.array([[1.0, -1.0], [-1.0, 1.0]])
    charges = np.array([1, -1])[:, None, None] * np.eye(3) * CHARGE
    return np.kron(sign, np.eye(3)) * spring, charges


def random_crystal(n=5, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3 * n, 3 * n))
    blocks = (root @ root.T).reshape(n, 3, n, 3)
    blocks = blocks - blocks.mean(0, keepdims=True)
    blocks = blocks - blocks.mean(2, keepdims=True)
    charges = rng.normal(size=(n, 3, 3))
    return blocks.reshape(3 * n, 3 * n), charges - charges.mean(0), rng.uniform(5, 200, n)


def test_a_diatomic_crystal():
    modes = gamma_modes(*diatomic(), MASSES, VOLUME)
    np.testing.assert_allclose(modes.frequencies, THZ * np.sqrt(SPRING / REDUCED))
    static = DIPOLE_STRENGTH / VOLUME * CHARGE**2 / SPRING
    np.testing.assert_allclose(modes.contributions.sum(0), static * np.eye(3), atol=1e-12)
    assert modes.active.all()


def test_frequencies_and_permittivity_are_those_of_rydberg_units():
    constants, charges, masses = random_crystal()
    modes = gamma_modes(constants, charges, masses, 90.0)
    expected = frequencies(constants / RYDBERG_PER_BOHR2, masses / ELECTRON_MASSES)
    np.testing.assert_allclose(modes.frequencies, expected[np.abs(expected) > 1e-6], rtol=1e-6)
    static = ionic_tensor(constants / RYDBERG_PER_BOHR2, charges, 90.0)
    np.testing.assert_allclose(modes.contributions.sum(0), static, rtol=1e-6, atol=1e-6 * np.abs(static).max())


def test_the_relation_of_lyddane_sachs_and_teller():
    constants, charges = diatomic()
    electronic = np.eye(3) * ELECTRONIC
    static = ELECTRONIC + DIPOLE_STRENGTH / VOLUME * CHARGE**2 / SPRING
    found = longitudinal_frequencies(constants, charges, electronic, MASSES, VOLUME, np.array([0, 0.3, 0]))
    transverse = THZ * np.sqrt(SPRING / REDUCED)
    np.testing.assert_allclose(found[:2], transverse)
    assert (found[2] / transverse) ** 2 == pytest.approx(static / ELECTRONIC, rel=1e-6)


def test_an_unstable_mode_is_negative():
    modes = gamma_modes(*diatomic(-3.0), MASSES, VOLUME)
    assert (modes.frequencies < 0).all()
    assert np.trace(modes.contributions.sum(0)) < 0


def test_a_mode_without_charge_is_inactive():
    constants, charges = diatomic()
    charges[:, 2, 2] = 0
    modes = gamma_modes(constants, charges, MASSES, VOLUME)
    assert modes.active.sum() == 2
    for noise in (0.0, 1e-7):  # the charges of an element are zero up to the rounding of single precision
        assert not gamma_modes(constants, noise * charges, MASSES, VOLUME).active.any()
    assert gamma_modes(constants, 1e-3 * charges, MASSES, VOLUME).active.sum() == 2


def test_a_mode_without_stiffness_has_no_static_permittivity():
    constants, charges = diatomic()
    modes = gamma_modes(0 * constants, charges, MASSES, VOLUME)
    assert np.isinf(np.trace(modes.contributions, axis1=1, axis2=2)).all()
    with pytest.raises(ValueError, match='zero frequency'):
        permittivity_spectrum(modes, np.eye(3), VOLUME, np.array([0.0, 1.0]), 0.1)
    apart = gamma_modes(0 * constants, 0 * charges, MASSES, VOLUME)  # distant atoms of a rare gas
    assert (apart.contributions == 0).all()
    assert (permittivity_spectrum(apart, np.eye(3) * 1.2, VOLUME, np.array([0.0, 1.0]), 0.1) == np.eye(3) * 1.2).all()


def test_the_spectrum_begins_with_the_static_permittivity_and_ends_with_the_electronic_one():
    constants, charges, masses = random_crystal()
    modes = gamma_modes(constants, charges, masses, 90.0)
    electronic = np.diag([2.0, 3.0, 4.0])
    spectrum = permittivity_spectrum(modes, electronic, 90.0, np.array([0.0, 1e4]), 0.1)
    np.testing.assert_allclose(spectrum[0].real, electronic + modes.contributions.sum(0), rtol=1e-9)
    np.testing.assert_allclose(spectrum[1], electronic, atol=1e-3)
    between = permittivity_spectrum(modes, electronic, 90.0, np.linspace(0.5, 20, 200), 0.1)
    assert np.linalg.eigvalsh(between.imag).min() > -1e-9  # absorption is not negative


def test_light_is_reflected_between_the_transverse_and_the_longitudinal_frequency():
    constants, charges = diatomic()
    modes = gamma_modes(constants, charges, MASSES, VOLUME)
    electronic = np.eye(3) * ELECTRONIC
    transverse, longitudinal = (
        modes.frequencies[0],
        longitudinal_frequencies(constants, charges, electronic, MASSES, VOLUME, np.array([1.0, 0, 0]))[-1],
    )
    at = np.array([0.0, (transverse + longitudinal) / 2, 1e4])
    found = reflectivity(permittivity_spectrum(modes, electronic, VOLUME, at, 1e-4), *np.eye(3)[:2])
    static = ELECTRONIC + DIPOLE_STRENGTH / VOLUME * CHARGE**2 / SPRING
    for value, epsilon in ((found[0], static), (found[2], ELECTRONIC)):
        assert value == pytest.approx(((np.sqrt(epsilon) - 1) / (np.sqrt(epsilon) + 1)) ** 2, rel=1e-3)
    assert found[1] > 0.99


def test_reflectivity_of_a_crystal_without_symmetry_is_that_of_the_wave_equation():
    """Reference: the waves E of N² (1 − n nᵀ) E = ε E, and continuous E and H = N n × E across n."""
    constants, charges, masses = random_crystal()
    electronic = np.diag([2.0, 3.0, 4.0]) + 0.3
    at = np.linspace(0.1, 25, 60)
    spectrum = permittivity_spectrum(gamma_modes(constants, charges, masses, 90.0), electronic, 90.0, at, 0.2)
    normal, field = (random_orthogonal(np.random.default_rng(4)).T)[:2]
    plane = np.array([field, np.cross(normal, field)])
    expected = []
    for epsilon in spectrum:
        squares, waves = eig(epsilon, np.eye(3) - np.outer(normal, normal))
        order = np.argsort(np.abs(squares))[:2]  # the third is infinite
        index, waves = np.sqrt(squares[order]), plane @ waves[:, order]
        inside = np.linalg.solve(waves * (1 + index), [2.0, 0.0])
        expected.append((np.abs(waves @ inside - [1.0, 0.0]) ** 2).sum())
    found = reflectivity(spectrum, field * 1e-200, normal * 1e200)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    along = np.einsum('a,kab,b->k', field, spectrum, field)
    assert np.abs(found - np.abs((np.sqrt(along) - 1) / (np.sqrt(along) + 1)) ** 2).max() > 0.1


def test_vectors_without_direction_and_light_that_is_amplified_are_refused():
    constants, charges = diatomic()
    modes = gamma_modes(constants, charges, MASSES, VOLUME)
    for vector in ([0, 0, 0], [np.nan, 0, 1], [np.inf, 0, 0]):
        with pytest.raises(ValueError, match='direction'):
            longitudinal_frequencies(constants, charges, np.eye(3), MASSES, VOLUME, np.array(vector))
        with pytest.raises(ValueError, match='polarisation'):
            reflectivity(np.eye(3)[None] * 2, np.array(vector), np.eye(3)[0])
    with pytest.raises(ValueError, match='perpendicular'):
        reflectivity(np.eye(3)[None] * 2, np.array([1.0, 0.1, 0]), np.eye(3)[1])
    for damping in (0.0, -0.2, np.nan, np.inf):
        with pytest.raises(ValueError, match='damping'):
            permittivity_spectrum(modes, np.eye(3), VOLUME, np.array([1.0]), damping)
    along = [
        longitudinal_frequencies(constants, charges, np.eye(3), MASSES, VOLUME, [x, 0, 0]) for x in (1e-200, 1e200)
    ]
    np.testing.assert_allclose(along[0], along[1])


def test_stable_and_unstable_modes_are_in_different_groups():
    frequencies = np.array([-0.004, 0.003, 0.005, 2.0])
    assert degenerate_modes(frequencies) == [slice(0, 1), slice(1, 3), slice(3, 4)]


def test_groups_of_equal_frequency():
    constants, charges = diatomic()
    charges[:, 2, 2] = 0
    constants = constants + np.kron([[1.0, -1.0], [-1.0, 1.0]], np.diag([0, 0, 1.0]))
    modes = gamma_modes(constants, charges, MASSES, VOLUME)
    first, second = mode_groups(modes.frequencies, modes.contributions, modes.active)
    assert (first.degeneracy, first.active, second.degeneracy, second.active) == (2, True, 1, False)
    assert first.frequency == pytest.approx(THZ * np.sqrt(SPRING / REDUCED))
    assert first.contribution == pytest.approx(2 / 3 * DIPOLE_STRENGTH / VOLUME * CHARGE**2 / SPRING)
    assert second.modes == slice(2, 3)
