"""Predicted and computed tensors in one frame."""

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.symmetry import canonical_cell, project
from aiida_goectp.core.dielectric.frames import compare, in_frame_of, rotation_and_strain
from aiida_goectp.core.dielectric.response import DielectricResponse


def turn(seed):
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix * np.linalg.det(matrix)


@pytest.fixture
def quartz_like():
    """A hexagonal cell with an anisotropic response, stretched as by a relaxation and turned as by an engine."""
    lattice = np.array([[3.11, 0, 0], [-1.555, 1.555 * np.sqrt(3), 0], [0, 0, 4.98]])
    sites = np.array([[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.38], [2 / 3, 1 / 3, 0.88]])
    numbers = np.array([13, 13, 7, 7], np.int16)
    relaxed = lattice @ np.diag([1.02, 1.02, 0.99])
    response = DielectricResponse(
        Crystal('AlN', relaxed, numbers, sites), np.diag([4.4, 4.4, 4.7]), np.diag([4.0, 4.0, 5.5]), engine='x'
    )
    return lattice, response


def test_the_stretch_of_a_relaxation_is_no_rotation(quartz_like):
    lattice, response = quartz_like
    rotation, strain = rotation_and_strain(response.crystal.lattice, lattice)
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-12)
    assert strain == pytest.approx(0.02)


@pytest.mark.parametrize('seed', range(4))
def test_whatever_the_engine_does_to_the_frame(quartz_like, seed):
    lattice, response = quartz_like
    here = in_frame_of(response.rotated(turn(seed)), lattice)
    np.testing.assert_allclose(here.electronic, response.electronic, atol=1e-10)
    np.testing.assert_allclose(here.crystal.lattice, response.crystal.lattice, atol=1e-10)
    # and whatever frame the prediction has
    there = in_frame_of(response, lattice @ turn(seed + 10).T)
    operations = canonical_cell(there.crystal).operations
    np.testing.assert_allclose(project(there.electronic, operations), there.electronic, atol=1e-8)
    axis = turn(seed + 10)[:, 2]
    assert axis @ there.electronic @ axis == pytest.approx(4.7)


def test_a_shear_is_split_into_stretch_and_rotation():
    lattice = np.diag([3.0, 4.0, 5.0])
    sheared = lattice @ (np.eye(3) + 0.1 * np.eye(3, k=1)).T
    rotation, strain = rotation_and_strain(sheared, lattice)
    gradient = np.linalg.solve(lattice, sheared).T
    stretch = rotation.T @ gradient
    np.testing.assert_allclose(stretch, stretch.T, atol=1e-12)
    assert 0 < strain < 0.1


def test_numbers_of_a_comparison(quartz_like):
    lattice, response = quartz_like
    predicted = {'electronic': 1.1 * response.electronic, 'ionic': None, 'total': 9.0}
    result = compare(response.rotated(turn(5)), lattice, predicted)
    assert result['strain'] == pytest.approx(0.02)
    assert 0 < result['angle'] <= 180
    electronic = result['electronic']
    np.testing.assert_allclose(electronic['dfpt'], response.electronic, atol=1e-10)
    assert electronic['error'] == pytest.approx(0.1)
    assert electronic['tensor_error'] == pytest.approx(0.1)
    assert result['ionic']['predicted'] is None
    assert result['ionic']['dfpt_average'] == pytest.approx(4.5)
    assert result['ionic']['error'] is None
    # an average alone is compared with an average
    assert result['total']['predicted'] is None
    assert result['total']['error'] == pytest.approx(0.0)
    assert result['total']['tensor_error'] is None


def test_unknown_predictions_are_not_compared(quartz_like):
    lattice, response = quartz_like
    result = compare(response, lattice, {'electronic': np.full((3, 3), np.nan)})
    assert result['electronic']['predicted'] is None
    assert result['electronic']['error'] is None


def test_cells_that_do_not_belong_together_are_refused(quartz_like):
    lattice, response = quartz_like
    with pytest.raises(ValueError, match=r'a strain of 1\.04'):
        compare(response, lattice / 2, {})
    with pytest.raises(ValueError, match='mirror image'):
        compare(response, lattice * np.array([1, 1, -1]), {})
