"""Reduced bases, which depend on the lattice but not on its cell, and the polar decomposition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.core.crystals.reduction import polar_rotation, reduced_bases

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.0
BCC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) * 2.0
HEXAGONAL = np.array([[3, 0, 0], [-1.5, 1.5 * np.sqrt(3), 0], [0, 0, 5.0]])
TRICLINIC = np.array([[3.1, 0.2, -0.4], [0.5, 4.3, 0.3], [-0.6, 0.9, 5.2]])

HOLOHEDRIES = [
    (np.diag([4.0, 4, 4]), 48),
    (FCC, 48),
    (BCC, 48),
    (HEXAGONAL, 24),
    (np.diag([3.0, 3, 5]), 16),
    (np.diag([3.0, 4, 5]), 8),
    (np.array([[3.0, 0, 0], [0, 4, 0], [1, 0, 5]]), 4),
    (TRICLINIC, 2),
]


@pytest.mark.parametrize(('lattice', 'order'), HOLOHEDRIES)
def test_number_of_bases_is_the_order_of_the_holohedry(lattice, order):
    """Orders of the seven holohedries: International Tables A, 3.1."""
    reduced, bases = reduced_bases(lattice)
    assert len(bases) == order
    assert len(np.unique(bases, axis=0)) == order
    rows = bases @ reduced
    metrics = rows @ np.swapaxes(rows, 1, 2)
    np.testing.assert_allclose(metrics, np.broadcast_to(metrics[0], metrics.shape), atol=1e-8)


@pytest.mark.parametrize(('lattice', 'order'), HOLOHEDRIES)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_set_of_bases_does_not_depend_on_the_cell(lattice, order, seed):
    rng = np.random.default_rng(seed)
    while True:
        matrix = rng.integers(-2, 3, (3, 3))
        if round(abs(np.linalg.det(matrix))) == 1:
            break
    sets = []
    for rows in (lattice, matrix @ lattice):
        reduced, bases = reduced_bases(rows + rng.normal(scale=1e-9, size=(3, 3)))
        found = np.round(bases @ reduced, 5).reshape(-1, 9) + 0.0
        sets.append(found[np.lexsort(found.T)])
    np.testing.assert_allclose(*sets, atol=1e-4)


def test_reduced_vectors_are_the_shortest():
    skew = np.array([[1, 3, 0], [0, 1, 2], [0, 0, 1]]) @ TRICLINIC
    reduced, bases = reduced_bases(skew)
    lengths = np.linalg.norm(bases[0] @ reduced, axis=1)
    np.testing.assert_allclose(lengths, np.sort(np.linalg.norm(TRICLINIC, axis=1)), atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1))
def test_polar_rotation_rotates_with_the_crystal(seed):
    rng = np.random.default_rng(seed)
    lattice = np.eye(3) * 3 + rng.uniform(-1, 1, (3, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.choice([-1, 1])
    q = polar_rotation(lattice)
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(polar_rotation(lattice @ turn.T), turn @ q, atol=1e-9)
    stretch = q.T @ lattice.T
    np.testing.assert_allclose(stretch, stretch.T, atol=1e-9)
    assert np.linalg.eigvalsh(stretch).min() > 0
