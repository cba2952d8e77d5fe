"""Layers: detection, change of the gaps, and average with vacuum."""

from __future__ import annotations

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.layers import find_layers, vacuum_averaged, with_vacuum_reduced, with_vacuum_scaled

from .builders import mos2, rocksalt


def distances(crystal, radius=4.0):
    found = primitive_neighbor_list(
        'd', (True,) * 3, crystal.lattice, crystal.fractional_positions @ crystal.lattice, radius
    )
    return np.sort(found)


def test_layers_are_found_in_any_cell():
    crystal = mos2()
    layers = find_layers(crystal)
    assert layers is not None
    assert layers.order.max() == 1
    assert sorted(np.bincount(layers.order)) == [3, 3]
    assert layers.gaps == pytest.approx([2.974, 2.974], abs=0.01)
    assert abs(layers.normal[2]) == pytest.approx(1)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    mixed = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 2]]) @ crystal.lattice @ turn.T
    positions = crystal.fractional_positions @ crystal.lattice @ turn.T @ np.linalg.inv(mixed)
    other = find_layers(Crystal('x', mixed, crystal.atomic_numbers, positions))
    assert other is not None
    assert other.gaps == pytest.approx(layers.gaps)
    assert abs(other.normal @ (turn @ layers.normal)) == pytest.approx(1)
    left = Crystal('l', crystal.lattice[[1, 0, 2]], crystal.atomic_numbers, crystal.fractional_positions[:, [1, 0, 2]])
    assert find_layers(left).gaps == pytest.approx(layers.gaps)


def test_crystals_without_layers():
    assert find_layers(rocksalt()) is None
    # argon: no bonds at all
    assert find_layers(Crystal('Ar', np.eye(3) * 5.3, np.array([18]), np.zeros((1, 3)))) is None
    # a simple cubic metal: bonds in all directions
    assert find_layers(Crystal('Po', np.eye(3) * 3.35, np.array([84]), np.zeros((1, 3)))) is None


@pytest.mark.parametrize('widening', [0.0, 0.4, 1.0])
def test_wider_gaps_change_nothing_within_the_layers(widening):
    crystal = mos2()
    layers = find_layers(crystal)
    wider = with_vacuum_scaled(crystal, layers, widening)
    # bonds and all distances below the narrowest gap
    np.testing.assert_allclose(distances(wider, 2.9), distances(crystal, 2.9), atol=1e-9)
    assert abs(np.linalg.det(wider.lattice)) / abs(np.linalg.det(crystal.lattice)) == pytest.approx(
        1 + widening * layers.gaps.sum() / 12.29
    )
    assert find_layers(wider).gaps == pytest.approx(layers.gaps * (1 + widening))
    if not widening:
        np.testing.assert_allclose(distances(wider), distances(crystal), atol=1e-9)


def test_average_with_vacuum_is_that_of_sheets_in_parallel_and_in_series():
    layers = find_layers(mos2())
    tensor = np.diag([15.0, 15.0, 6.4])
    np.testing.assert_allclose(vacuum_averaged(tensor, layers, 0.0), tensor)
    repeat, gaps = 12.29, layers.gaps.sum()
    for widening in (0.5, 1.0, 50.0):
        found = vacuum_averaged(tensor, layers, widening)
        ratio = repeat / (repeat + widening * gaps)
        assert found[0, 0] - 1 == pytest.approx(14 * ratio)
        assert 1 - 1 / found[2, 2] == pytest.approx((1 - 1 / 6.4) * ratio)
    # the limit of wide gaps is vacuum
    np.testing.assert_allclose(vacuum_averaged(tensor, layers, 1e6), np.eye(3), atol=1e-4)


def test_average_with_vacuum_is_that_of_a_laminate():
    """Reference: the fields in layers and vacuum under continuous E within and D across the layers."""
    layers, widening = find_layers(mos2()), 0.7
    root = np.random.default_rng(0).normal(size=(3, 3))
    tensor = root @ root.T + np.eye(3)
    repeat = layers.lattice[2] @ layers.normal
    share = repeat / (repeat + widening * layers.gaps.sum())  # of the layers
    expected = np.zeros((3, 3))
    for axis, mean in enumerate(np.eye(3)):
        # unknown: E_z of the layers and of vacuum
        equations = np.array([[share, 1 - share], [tensor[2, 2], -1.0]])
        across = np.linalg.solve(equations, [mean[2], -tensor[2, :2] @ mean[:2]])
        fields = [np.append(mean[:2], value) for value in across]
        expected[:, axis] = share * tensor @ fields[0] + (1 - share) * fields[1]
    found = vacuum_averaged(tensor, layers, widening)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(vacuum_averaged(tensor, layers, 0.0), tensor, rtol=1e-12)


def test_gaps_are_reduced_to_the_maximum_and_narrower_ones_kept():
    crystal = mos2()
    layers = find_layers(crystal)
    same, ratio = with_vacuum_reduced(crystal, layers, widest=layers.gaps.max() + 0.1)
    assert ratio == 1
    np.testing.assert_allclose(same.lattice, layers.lattice)
    far = with_vacuum_scaled(crystal, layers, 2.0)
    near, ratio = with_vacuum_reduced(far, find_layers(far), widest=layers.gaps.max())
    np.testing.assert_allclose(find_layers(near).gaps, layers.gaps, atol=1e-9)
    assert ratio == pytest.approx(abs(crystal.lattice[2, 2] / far.lattice[2, 2]))
