"""Crystals, and strategies that make them, for the tests of this folder."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from aiida_goectp.core.crystals import Crystal


def rocksalt(id='MgO', edge=4.212, numbers=(12, 8)) -> Crystal:
    lattice = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * edge / 2
    return Crystal(id, lattice, np.array(numbers, np.int16), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def crystal_of(positions, lattice=None, numbers=None, id='x') -> Crystal:
    positions = np.array(positions, dtype=float).reshape(-1, 3)
    lattice = np.eye(3) * 5 if lattice is None else np.array(lattice, dtype=float)
    numbers = np.full(len(positions), 14, np.int16) if numbers is None else np.array(numbers)
    return Crystal(id, lattice, numbers, positions)


@st.composite
def crystals(draw, max_atoms=6, id='x'):
    """Any crystal of reasonable lattice; its atoms may lie on one another."""
    count = draw(st.integers(1, max_atoms))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.uniform(2, 9, 3)) + rng.uniform(-1.5, 1.5, (3, 3)) * draw(st.sampled_from([0.0, 1.0]))
    return Crystal(id, lattice, rng.integers(1, 119, count).astype(np.int16), rng.uniform(-2, 2, (count, 3)))
