"""Comparison of predicted and computed tensors in a common frame."""

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dielectric.frames import compare, rotation_and_strain
from aiida_goectp.core.dielectric.response import DielectricResponse


def random_rotation(seed):
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix * np.linalg.det(matrix)


@pytest.fixture
def wurtzite():
    """Cell of AlN before the relaxation, and the response of the relaxed cell."""
    lattice = np.array([[3.11, 0, 0], [-1.555, 1.555 * np.sqrt(3), 0], [0, 0, 4.98]])
    sites = np.array([[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.38], [2 / 3, 1 / 3, 0.88]])
    numbers = np.array([13, 13, 7, 7], np.int16)
    relaxed = lattice @ np.diag([1.02, 1.02, 0.99])
    response = DielectricResponse(
        Crystal('AlN', relaxed, numbers, sites), np.diag([4.4, 4.4, 4.7]), np.diag([4.0, 4.0, 5.5]), engine='x'
    )
    return lattice, response


def test_a_stretch_has_no_rotation(wurtzite):
    lattice, response = wurtzite
    rotation, strain = rotation_and_strain(response.crystal.lattice, lattice)
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-12)
    assert strain == pytest.approx(0.02)


@pytest.mark.parametrize('seed', range(4))
def test_rotations_by_the_engine_are_undone(wurtzite, seed):
    lattice, response = wurtzite
    engine, frame = random_rotation(seed), random_rotation(seed + 10)
    result = compare(response.rotated(engine), lattice @ frame.T, {})
    np.testing.assert_allclose(result['electronic']['dfpt'], frame @ response.electronic @ frame.T, atol=1e-10)
    assert result['strain'] == pytest.approx(0.02)


def test_a_shear_is_stretch_and_rotation():
    lattice = np.diag([3.0, 4.0, 5.0])
    sheared = lattice @ (np.eye(3) + 0.1 * np.eye(3, k=1)).T
    rotation, strain = rotation_and_strain(sheared, lattice)
    gradient = np.linalg.solve(lattice, sheared).T
    stretch = rotation.T @ gradient
    np.testing.assert_allclose(stretch, stretch.T, atol=1e-12)
    assert 0 < strain < 0.1


def test_compare(wurtzite):
    lattice, response = wurtzite
    predicted = {'electronic': 1.1 * response.electronic, 'ionic': None, 'total': 9.0}
    result = compare(response.rotated(random_rotation(5)), lattice, predicted)
    assert result['strain'] == pytest.approx(0.02)
    assert 0 < result['angle'] <= 180
    electronic = result['electronic']
    np.testing.assert_allclose(electronic['dfpt'], response.electronic, atol=1e-10)
    assert electronic['error'] == pytest.approx(0.1)
    assert electronic['tensor_error'] == pytest.approx(0.1)
    assert result['ionic']['predicted'] is None
    assert result['ionic']['dfpt_average'] == pytest.approx(4.5)
    assert result['ionic']['error'] is None
    # a predicted average is compared with the average of the tensor
    assert result['total']['predicted'] is None
    assert result['total']['error'] == pytest.approx(0.0)
    assert result['total']['tensor_error'] is None


def test_unknown_predictions_give_no_errors(wurtzite):
    lattice, response = wurtzite
    result = compare(response, lattice, {'electronic': np.full((3, 3), np.nan)})
    assert result['electronic']['predicted'] is None
    assert result['electronic']['error'] is None


def test_cells_of_another_crystal_are_refused(wurtzite):
    lattice, response = wurtzite
    with pytest.raises(ValueError, match=r'1\.04'):
        compare(response, lattice / 2, {})
    with pytest.raises(ValueError, match='mirror'):
        compare(response, lattice * np.array([1, 1, -1]), {})
