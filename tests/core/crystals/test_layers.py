"""Layers: found where they are, parted without a change within, diluted as electrostatics has it."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals.crystalset import Crystal
from aiida_goectp.core.crystals.layers import find_layers, vacuum_averaged, with_vacuum_reduced, with_vacuum_scaled

HEXAGONAL = np.array([[1, 0, 0], [-0.5, np.sqrt(3) / 2, 0], [0, 0, 1]])


def mos2():
    """2H-MoS2, a = 3.16, c = 12.29 Å (Bronsema et al., Z. Anorg. Allg. Chem. 540 (1986))."""
    lattice = HEXAGONAL * [[3.16], [3.16], [12.29]]
    positions = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    sulphur = [[1 / 3, 2 / 3, 0.621], [1 / 3, 2 / 3, -0.121], [2 / 3, 1 / 3, 0.379], [2 / 3, 1 / 3, 0.121]]
    return Crystal('MoS2', lattice, np.array([42, 42, 16, 16, 16, 16]), np.array(positions + sulphur))


def rocksalt():
    fcc = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.1
    return Crystal('MgO', fcc, np.array([12, 8]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def distances(crystal, radius=4.0):
    from ase.neighborlist import primitive_neighbor_list

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


def test_what_has_no_layers_is_left_alone():
    assert find_layers(rocksalt()) is None
    # molecules, and argon: nothing bonds to its own image
    assert find_layers(Crystal('Ar', np.eye(3) * 5.3, np.array([18]), np.zeros((1, 3)))) is None
    # a simple cubic metal with short bonds in all directions
    assert find_layers(Crystal('Po', np.eye(3) * 3.35, np.array([84]), np.zeros((1, 3)))) is None


@pytest.mark.parametrize('share', [0.0, 0.4, 1.0])
def test_parting_changes_nothing_within_the_layers(share):
    crystal = mos2()
    layers = find_layers(crystal)
    apart = with_vacuum_scaled(crystal, layers, share)
    # bonds and all distances below the narrowest gap stay
    np.testing.assert_allclose(distances(apart, 2.9), distances(crystal, 2.9), atol=1e-9)
    assert abs(np.linalg.det(apart.lattice)) / abs(np.linalg.det(crystal.lattice)) == pytest.approx(
        1 + share * layers.gaps.sum() / 12.29
    )
    again = find_layers(apart)
    assert again.gaps == pytest.approx(layers.gaps * (1 + share))
    if not share:
        np.testing.assert_allclose(distances(apart), distances(crystal), atol=1e-9)


def test_dilution_follows_sheets_in_vacuum():
    layers = find_layers(mos2())
    tensor = np.diag([15.0, 15.0, 6.4])
    np.testing.assert_allclose(vacuum_averaged(tensor, layers, 0.0), tensor)
    repeat, gaps = 12.29, layers.gaps.sum()
    for share in (0.5, 1.0, 50.0):
        found = vacuum_averaged(tensor, layers, share)
        thinner = repeat / (repeat + share * gaps)
        assert found[0, 0] - 1 == pytest.approx(14 * thinner)
        assert 1 - 1 / found[2, 2] == pytest.approx((1 - 1 / 6.4) * thinner)
    # far apart, nothing is left but vacuum
    np.testing.assert_allclose(vacuum_averaged(tensor, layers, 1e6), np.eye(3), atol=1e-4)


def test_gaps_are_narrowed_to_the_widest_and_no_further():
    crystal = mos2()
    layers = find_layers(crystal)
    same, ratio = with_vacuum_reduced(crystal, layers, widest=layers.gaps.max() + 0.1)
    assert ratio == 1
    np.testing.assert_allclose(same.lattice, layers.lattice)
    far = with_vacuum_scaled(crystal, layers, 2.0)
    near, ratio = with_vacuum_reduced(far, find_layers(far), widest=layers.gaps.max())
    np.testing.assert_allclose(find_layers(near).gaps, layers.gaps, atol=1e-9)
    assert ratio == pytest.approx(abs(crystal.lattice[2, 2] / far.lattice[2, 2]))
