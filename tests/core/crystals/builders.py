"""Crystals and hypothesis strategies for tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from aiida_goectp.core.crystals import Crystal


def rocksalt(id='MgO', edge=4.212, numbers=(12, 8)) -> Crystal:
    lattice = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * edge / 2
    return Crystal(id, lattice, np.array(numbers, np.int16), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def mos2() -> Crystal:
    """2H-MoS2, a = 3.16, c = 12.29 Å (Bronsema et al., Z. Anorg. Allg. Chem. 540 (1986))."""
    lattice = np.array([[1, 0, 0], [-0.5, np.sqrt(3) / 2, 0], [0, 0, 1]]) * [[3.16], [3.16], [12.29]]
    positions = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    sulphur = [[1 / 3, 2 / 3, 0.621], [1 / 3, 2 / 3, -0.121], [2 / 3, 1 / 3, 0.379], [2 / 3, 1 / 3, 0.121]]
    return Crystal('MoS2', lattice, np.array([42, 42, 16, 16, 16, 16]), np.array(positions + sulphur))


def crystal_of(positions, lattice=None, numbers=None, id='x') -> Crystal:
    positions = np.array(positions, dtype=float).reshape(-1, 3)
    lattice = np.eye(3) * 5 if lattice is None else np.array(lattice, dtype=float)
    numbers = np.full(len(positions), 14, np.int16) if numbers is None else np.array(numbers)
    return Crystal(id, lattice, numbers, positions)


@st.composite
def crystals(draw, max_atoms=6, id='x'):
    """Crystals with random lattice and positions; atoms may coincide."""
    count = draw(st.integers(1, max_atoms))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.uniform(2, 9, 3)) + rng.uniform(-1.5, 1.5, (3, 3)) * draw(st.sampled_from([0.0, 1.0]))
    return Crystal(id, lattice, rng.integers(1, 119, count).astype(np.int16), rng.uniform(-2, 2, (count, 3)))
