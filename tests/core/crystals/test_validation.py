"""Validation: a code for each fault, and the search for close atoms compared with brute force."""

from __future__ import annotations

import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aiida_goectp.core.crystals import check_crystal, read_structures, split_valid, validation
from aiida_goectp.core.crystals.crystalset import Failure
from aiida_goectp.core.crystals.validation import MIN_DISTANCE
from aiida_goectp.core.formats.errors import FormatError
from tests.rows import MP20, PETOUSIS, PHONONDB, PHONONDB_LARGE

from .builders import crystal_of, crystals, rocksalt

TWO = [[0, 0, 0], [0.5, 0.5, 0.5]]


def test_valid_crystals():
    assert check_crystal(rocksalt()) is None
    assert check_crystal(crystal_of(TWO)) is None


def test_left_handed_lattices_and_atoms_outside_the_cell_are_valid():
    assert check_crystal(crystal_of(TWO, np.diag([5, 5, -5]))) is None
    assert check_crystal(crystal_of([[7, -3, 0], [0.5, 12.5, -0.5]])) is None


@pytest.mark.parametrize(
    ('crystal', 'code', 'named'),
    [
        (crystal_of([]), 'no_atoms', ''),
        (crystal_of(TWO, np.eye(2)), 'bad_shape', '(2, 2)'),
        (crystal_of(TWO, numbers=[14]), 'bad_shape', '(2, 3)'),
        (crystal_of(TWO, np.diag([5, np.nan, 5])), 'not_finite', 'nan'),
        (crystal_of(TWO, np.diag([5, np.inf, 5])), 'not_finite', 'inf'),
        (crystal_of([[0, 0, 0], [0.5, np.nan, 0]]), 'not_finite', 'atom 2'),
        (crystal_of([[0, 0, 0], [0.5, np.inf, 0]]), 'not_finite', 'atom 2'),
        (crystal_of([[1e12, 0, 0], [0.5, 0, 0]]), 'not_finite', 'atom 1'),
        (crystal_of(TWO, np.zeros((3, 3))), 'bad_lattice', '0 Å³'),
        (crystal_of(TWO, [[5, 0, 0], [0, 5, 0], [5, 5, 0]]), 'bad_lattice', '0 Å³'),
        (crystal_of(TWO, [[5, 0, 0], [0, 5, 0], [5, 5, 1e-7]]), 'bad_lattice', '2.5e-06 Å³'),
        (crystal_of(TWO, np.diag([5e5, 5, 5])), 'bad_lattice', '5e+05 Å'),
        (crystal_of(TWO, np.eye(3) * 1e200), 'bad_lattice', '1e+200 Å'),
        (crystal_of(TWO, np.eye(3) * 0.5), 'bad_lattice', '2 atoms'),
        (crystal_of(TWO, numbers=[14, 0]), 'unknown_element', 'atom 2 has the atomic number 0'),
        (crystal_of(TWO, numbers=[119, 14]), 'unknown_element', 'atom 1 has the atomic number 119'),
        (crystal_of(TWO, numbers=[-1, 14]), 'unknown_element', '-1'),
        (crystal_of(TWO, numbers=[70000, 14]), 'unknown_element', '70000'),
        (crystal_of(TWO, numbers=[14.0, 14.5]), 'unknown_element', 'float64'),
        (crystal_of([[0, 0, 0], [0, 0, 0]]), 'atoms_too_close', 'atoms 1 (Si) and 2 (Si) are 0.000 Å apart'),
        (crystal_of([[0, 0, 0], [0.0998, 0, 0]]), 'atoms_too_close', '0.499 Å'),
        (crystal_of([[0.01, 0.5, 0.99], [0.99, 0.5, 0.01]]), 'atoms_too_close', '0.141 Å'),
        (crystal_of([[0, 0, 0], [3, -2, 5]]), 'atoms_too_close', '0.000 Å'),
        (crystal_of([[0, 0, 0]], np.diag([0.4, 5, 5])), 'atoms_too_close', '0.400 Å'),
    ],
)
def test_each_fault_has_a_code(crystal, code, named):
    failure = check_crystal(crystal)
    assert failure is not None
    assert (failure.id, failure.code) == ('x', code)
    assert named in failure.message


def test_distances_just_above_the_limit_are_valid():
    assert check_crystal(crystal_of([[0, 0, 0], [0.1001, 0, 0]])) is None
    assert check_crystal(crystal_of([[0, 0, 0]], np.diag([0.51, 5, 5]))) is None


def brute_force(crystal, reach):
    """Return the shortest distance of two atoms, including images within ±reach cells."""
    shifts = np.array([shift for shift in product(range(-reach, reach + 1), repeat=3)])
    positions = crystal.fractional_positions - np.floor(crystal.fractional_positions)
    delta = (positions[:, None] - positions)[:, :, None] + shifts
    distances = np.linalg.norm(delta @ crystal.lattice, axis=-1)
    distances[:, :, len(shifts) // 2][np.diag_indices(len(positions))] = np.inf
    return distances.min()


@given(crystals(max_atoms=12), st.booleans())
@settings(max_examples=150)
def test_close_atoms_are_found_as_by_brute_force(crystal, squeeze):
    if squeeze:  # a flat cell, where images beyond the nearest ones matter
        crystal = crystal._replace(lattice=crystal.lattice * np.array([[1.0], [1.0], [0.2]]))
    shortest = brute_force(crystal, 4)
    assume(abs(shortest - MIN_DISTANCE) > 1e-9)
    failure = check_crystal(crystal)
    assert (failure is not None) == (shortest < MIN_DISTANCE)
    if failure is not None and ' apart' in failure.message:
        assert f'{shortest:.3f} Å' in failure.message


@given(crystals(max_atoms=5), st.lists(st.integers(-3, 3), min_size=3, max_size=3))
@settings(max_examples=60)
def test_the_code_does_not_depend_on_the_cell(crystal, shears):
    a, b, c = shears
    change = np.array([[1, a, b], [0, 1, c], [0, 0, 1]]) @ np.array([[1, 0, 0], [c, 1, 0], [a, b, 1]])
    skewed = crystal._replace(
        lattice=change @ crystal.lattice, fractional_positions=crystal.fractional_positions @ np.linalg.inv(change)
    )
    first, second = check_crystal(crystal), check_crystal(skewed)
    assert (first and first.code) == (second and second.code)


def test_close_atoms_in_a_large_cell():
    rng = np.random.default_rng(0)
    grid = np.array(list(product(range(13), repeat=3))) / 13
    positions = grid + rng.uniform(-0.01, 0.01, grid.shape)
    assert check_crystal(crystal_of(positions, np.eye(3) * 30)) is None
    positions[2000] = positions[7] + 0.005
    failure = check_crystal(crystal_of(positions, np.eye(3) * 30))
    assert failure is not None
    assert 'atoms 8 (Si) and 2001 (Si)' in failure.message


def test_split_valid_keeps_order_properties_and_failures():
    rows = [rocksalt('a'), crystal_of([], id='b'), rocksalt('c'), crystal_of(TWO, numbers=[14, 0], id='d')]
    split = split_valid(
        rows, {'gap': [1.0, 2.0, 3.0, 4.0], 'name': list('abcd')}, [Failure('z', 'unreadable_file', 'cut off')]
    )
    assert split.ids.tolist() == ['a', 'c']
    assert split.properties['gap'].tolist() == [1.0, 3.0]
    assert split.properties['name'].tolist() == ['a', 'c']
    assert [(failure.id, failure.code) for failure in split.failures] == [
        ('z', 'unreadable_file'),
        ('b', 'no_atoms'),
        ('d', 'unknown_element'),
    ]


def test_split_valid_of_a_generator_and_without_valid_crystals():
    assert len(split_valid(rocksalt(str(number)) for number in range(3))) == 3
    nothing = split_valid([crystal_of([])], {'gap': [1.0]})
    assert len(nothing) == 0
    assert nothing.properties['gap'].shape == (0,)


def test_split_valid_refuses_columns_of_another_length():
    with pytest.raises(FormatError, match="'gap'"):
        split_valid([rocksalt('a'), rocksalt('b')], {'gap': [1.0]})


def test_published_crystals_are_valid():
    crystal_set = read_structures([PHONONDB, PHONONDB_LARGE, PETOUSIS, MP20])
    assert len(crystal_set) > 500
    assert not crystal_set.failures
    assert not split_valid(crystal_set).failures


@pytest.mark.parametrize('seed', range(4))
def test_large_cells_are_searched_like_small_ones(seed, monkeypatch):
    random = np.random.default_rng(seed)
    lattice = np.eye(3) * random.uniform(8, 14) + random.normal(size=(3, 3))
    crystal = crystal_of(random.uniform(-2, 2, size=(200, 3)), lattice)
    expected = check_crystal(crystal)
    assert expected is not None
    monkeypatch.setattr(validation, 'FEW_ATOMS', 10)
    assert check_crystal(crystal) == expected


def test_a_large_cell_takes_memory_in_proportion_to_its_atoms():
    grid = np.stack(np.meshgrid(*[np.arange(46)] * 3, indexing='ij'), axis=-1).reshape(-1, 3) / 46
    tracemalloc.start()
    assert check_crystal(crystal_of(grid, np.eye(3) * 100)) is None
    assert check_crystal(crystal_of(grid * 1e-4, np.eye(3) * 100)).code == 'atoms_too_close'
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2000 * len(grid), peak  # all pairs would take 76 GB
