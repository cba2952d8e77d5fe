"""Dielectric tensors: values from textbooks, covariance, shapes and NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aiida_goectp.core.dielectric import tensors

RUTILE = np.diag([6.843, 6.843, 8.427])
"""ε_∞ of TiO2 from its refractive indices n_o = 2.616, n_e = 2.903 (DeVore 1951, 590 nm)"""

TENSORS = arrays(np.float64, (3, 3), elements=st.floats(-100, 100, allow_subnormal=False))
FUNCTIONS = (tensors.polycrystalline_average, tensors.eigenvalues, tensors.anisotropy, tensors.refractive_index)


def orthogonal(seed: int) -> np.ndarray:
    """Return a random rotation or reflection."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def test_values_of_rutile():
    assert tensors.polycrystalline_average(RUTILE) == pytest.approx((2 * 6.843 + 8.427) / 3)
    assert tensors.eigenvalues(RUTILE).tolist() == [6.843, 6.843, 8.427]
    assert tensors.anisotropy(RUTILE) == pytest.approx(8.427 / 6.843)
    assert tensors.refractive_index(RUTILE) == pytest.approx(2.715, abs=1e-3)


def test_quarter_rotation():
    rotation = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # y → z
    assert np.allclose(tensors.rotate(np.diag([1, 2, 3]), rotation), np.diag([1, 3, 2]))
    assert np.allclose(tensors.rotate([[0, 1, 0], [1, 0, 0], [0, 0, 0]], rotation), [[0, 0, 1], [0, 0, 0], [1, 0, 0]])


def test_rotated_tensor_maps_rotated_field_to_rotated_displacement():
    rng = np.random.default_rng(1)
    tensor, field, rotation = rng.normal(size=(3, 3)), rng.normal(size=3), orthogonal(2)
    assert np.allclose(tensors.rotate(tensor, rotation) @ (rotation @ field), rotation @ (tensor @ field))


@given(TENSORS, st.integers(0, 10**6))
def test_invariants_do_not_depend_on_the_frame(tensor, seed):
    rotated = tensors.rotate(tensor, orthogonal(seed))
    assert np.allclose(tensors.polycrystalline_average(rotated), tensors.polycrystalline_average(tensor), atol=1e-9)
    assert np.allclose(tensors.eigenvalues(rotated), tensors.eigenvalues(tensor), atol=1e-9)
    assert np.allclose(tensors.symmetrise(rotated), tensors.rotate(tensors.symmetrise(tensor), orthogonal(seed)))


@given(TENSORS, st.integers(0, 10**6), st.integers(0, 10**6))
def test_rotations_compose_and_invert(tensor, first, second):
    a, b = orthogonal(first), orthogonal(second)
    assert np.allclose(tensors.rotate(tensors.rotate(tensor, a), b), tensors.rotate(tensor, b @ a), atol=1e-9)
    assert np.allclose(tensors.rotate(tensors.rotate(tensor, a), a.T), tensor, atol=1e-9)
    assert np.allclose(tensors.rotate(tensor, -np.eye(3)), tensor)


@given(TENSORS)
def test_eigenvalues_ascend_and_belong_to_the_symmetric_part(tensor):
    values = tensors.eigenvalues(tensor)
    assert (np.diff(values) >= 0).all()
    assert values.mean() == pytest.approx(tensors.polycrystalline_average(tensor), abs=1e-9)
    assert np.allclose(values, tensors.eigenvalues(tensor.T), atol=1e-9)


@given(TENSORS)
def test_anisotropy_is_at_least_one_or_nan(tensor):
    ratio = tensors.anisotropy(tensor)
    assert np.isnan(ratio) == (tensors.eigenvalues(tensor)[0] <= 0)
    assert np.isnan(ratio) or ratio >= 1


@pytest.mark.parametrize('function', FUNCTIONS)
def test_leading_axes_and_nan_rows_are_kept(function):
    batch = np.broadcast_to(RUTILE, (2, 4, 3, 3)).copy()
    batch[1, 2, 0, 0] = np.nan
    result = function(batch)
    assert result.shape[:2] == (2, 4)
    bad = np.isnan(result).reshape(8, -1).any(axis=1)
    assert np.flatnonzero(bad).tolist() == [6]
    assert np.array_equal(result[0, 0], function(RUTILE))
    assert function(np.zeros((0, 3, 3))).shape[0] == 0


def test_one_rotation_per_tensor():
    rotations = np.stack([orthogonal(seed) for seed in range(5)])
    rotated = tensors.rotate(RUTILE, rotations)
    assert rotated.shape == (5, 3, 3)
    assert np.allclose(rotated[3], tensors.rotate(RUTILE, rotations[3]))


@pytest.mark.parametrize(
    'matrix', [2 * np.eye(3), np.diag([1, 1, 0]), np.full((3, 3), np.nan), [[1, 1, 0], [0, 1, 0], [0, 0, 1]]]
)
def test_matrices_that_are_not_orthogonal_are_refused(matrix):
    with pytest.raises(ValueError, match='rotation'):
        tensors.rotate(RUTILE, matrix)


@pytest.mark.parametrize('function', [*FUNCTIONS, tensors.symmetrise])
def test_wrong_shapes_are_refused(function):
    with pytest.raises(ValueError, match=r'\(6,\)'):
        function(np.zeros(6))
