"""Canonical cells, projection onto the point group, and infrared active directions."""

import numpy as np
import pytest
import spglib

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.equivalent import (
    DESCRIPTIONS,
    change_cell,
    make_supercell,
    permute_atoms,
    random_orthogonal,
    rotate,
    shift_origin,
)
from aiida_goectp.core.crystals.reduction import polar_rotation
from aiida_goectp.core.crystals.symmetry import (
    canonical_cell,
    infrared_directions,
    point_group_projector,
    primitive_crystal,
    primitive_crystals,
    project,
)
from aiida_goectp.core.crystals.symmetry_search import SYMPREC, SYSTEMS
from tests.core.network.random_crystals import SETTINGS, random_crystal


def _density(crystal):
    return len(crystal.atomic_numbers) / abs(np.linalg.det(crystal.lattice))


@pytest.mark.parametrize(
    ('name', 'atoms', 'order', 'frames'),
    [
        ('Si', 2, 48, 1),
        ('MgO', 2, 48, 1),
        ('GaAs', 2, 24, 1),
        ('SrTiO3', 5, 48, 1),
        ('TiO2', 6, 16, 1),
        ('AlN', 4, 12, 1),
    ],
)
def test_textbook_cells(crystal_set, name, atoms, order, frames):
    """GaAs has no inversion, but its Laue group m-3m is the holohedry of the lattice: one frame, since ε is even."""
    crystal = crystal_set[list(crystal_set.ids).index(name)]
    supercell = make_supercell(crystal, np.random.default_rng(0))
    for given in (crystal, supercell, change_cell(crystal, np.random.default_rng(1))):
        cell = canonical_cell(given)
        assert (len(cell.atomic_numbers), len(cell.operations), len(cell.frames)) == (atoms, order, frames)
        assert cell.symmetry_known


def test_a_crystal_of_low_symmetry_on_a_cubic_lattice_has_24_frames():
    """Two atoms in general positions: the Laue group is {1, −1}, the holohedry has 48 operations."""
    pair = Crystal('pair', np.eye(3) * 5, np.array([26, 16]), np.array([[0, 0, 0], [0.11, 0.23, 0.37]]))
    assert len(canonical_cell(pair).frames) == 24


def test_frames_and_operations_rotate_with_the_crystal(crystal_set):
    crystal = crystal_set[5]
    turn = random_orthogonal(np.random.default_rng(0))
    given, rotated = canonical_cell(crystal), canonical_cell(rotate(crystal, turn))
    for cell in (given, rotated):
        frames = cell.frames
        stretch = np.swapaxes(polar_rotation(frames), 1, 2) @ np.swapaxes(frames, 1, 2)
        np.testing.assert_allclose(stretch, np.swapaxes(stretch, 1, 2), atol=1e-9)
    operations = turn @ given.operations @ turn.T
    distance = np.abs(operations[:, None] - rotated.operations[None]).max(axis=(2, 3))
    assert distance.min(axis=1).max() < 1e-8


def test_noise_below_the_tolerance_is_symmetrised(crystal_set):
    """The canonical cell has the symmetry to rounding, the given cell only within the tolerance."""
    rng = np.random.default_rng(0)
    crystal = crystal_set[4]
    noisy = crystal._replace(
        lattice=crystal.lattice + rng.normal(scale=5e-4, size=(3, 3)),
        fractional_positions=crystal.fractional_positions + rng.normal(scale=1e-4, size=(6, 3)),
    )
    cell = canonical_cell(noisy)
    assert len(cell.operations) == 16
    tight = spglib.get_symmetry_dataset((cell.lattice, cell.fractional_positions, cell.atomic_numbers), symprec=1e-8)
    assert tight.number == 136
    identity = cell.operations @ np.swapaxes(cell.operations, 1, 2)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-12)
    np.testing.assert_allclose(np.sort(np.linalg.norm(cell.lattice, axis=1)), [2.959, 4.594, 4.594], atol=3e-3)


def _noisy(crystal, size, rng):
    """Return the crystal with each atom moved by normal displacements of a standard deviation in Å."""
    moves = rng.normal(scale=size, size=(len(crystal.atomic_numbers), 3)) @ np.linalg.inv(crystal.lattice)
    return crystal._replace(fractional_positions=crystal.fractional_positions + moves)


def _invariants(crystal):
    """Return what no description changes: counts, lengths of the reduced lattice, distances of all pairs of atoms."""
    cell = canonical_cell(crystal)
    near = np.array(list(np.ndindex(3, 3, 3))) - 1
    vectors = cell.fractional_positions[:, None, None] - cell.fractional_positions[:, None] + near
    distances = np.linalg.norm(vectors @ cell.lattice, axis=-1).min(axis=-1)
    counts = (len(cell.atomic_numbers), len(cell.operations), len(cell.frames), cell.symmetry_known)
    lengths = np.linalg.norm(cell.lattice, axis=1)
    return counts, np.concatenate([np.sort(lengths), np.sort(distances, axis=None)])


def _assert_same(found, expected):
    assert found[0] == expected[0]
    np.testing.assert_allclose(found[1], expected[1], atol=1e-7)


@pytest.mark.parametrize('noise', [0, 0.1, 0.15, 0.3, 1, 3])
@pytest.mark.parametrize('system', SYSTEMS)
def test_descriptions_of_noisy_crystals_have_one_canonical_cell(system, noise):
    """At 0.1 to 0.3 times the tolerance, some operations are within it and others are not."""
    rng = np.random.default_rng(SYSTEMS.index(system))
    for hall in SETTINGS[system]:
        crystal = _noisy(random_crystal(system, hall, rng), noise * SYMPREC, rng)
        expected = _invariants(crystal)
        _assert_same(_invariants(rotate(crystal, random_orthogonal(rng))), expected)
        for change in DESCRIPTIONS.values():
            _assert_same(_invariants(change(crystal, rng)), expected)


@pytest.mark.parametrize('centred', [False, True])
def test_elongated_cells_near_the_tolerance(centred):
    """Operations within 0.8 of the tolerance are all found, although atoms are on both sides of the faces."""
    rng = np.random.default_rng(0)
    lattice = np.array([[4.2, 0, 0], [-2.1, 2.1 * np.sqrt(3), 0], [0, 0, 48]])
    heights = np.array([0, 0.05, 0.11, 0.18, 0.26])
    axes = np.array([[0, 0], [1 / 3, 2 / 3], [2 / 3, 1 / 3]])[[0, 1, 0, 2, 1]]
    positions = np.column_stack([axes, heights])
    numbers = np.array([48, 53, 30, 53, 16])
    if centred:
        shifts = np.array([[0, 0, 0], [2 / 3, 1 / 3, 1 / 3], [1 / 3, 2 / 3, 2 / 3]])
        positions, numbers = (positions[:, None] + shifts).reshape(-1, 3), np.repeat(numbers, 3)
    ideal = Crystal('stack', lattice, numbers, positions)
    for _ in range(10):
        moves = rng.normal(size=positions.shape)
        moves *= 0.4 * SYMPREC * rng.uniform(0.5, 1, (len(moves), 1)) / np.linalg.norm(moves, axis=1, keepdims=True)
        crystal = ideal._replace(fractional_positions=positions + moves @ np.linalg.inv(lattice))
        for change in (shift_origin, permute_atoms, change_cell, make_supercell):
            cell = canonical_cell(change(crystal, rng))
            assert (len(cell.atomic_numbers), len(cell.operations)) == (5, 6)


def test_cell_keeps_the_density(crystal_set):
    for crystal in crystal_set:
        cell = canonical_cell(crystal)
        assert len(cell.atomic_numbers) / abs(np.linalg.det(cell.lattice)) == pytest.approx(_density(crystal), rel=1e-9)


@pytest.mark.parametrize('system', SYSTEMS)
def test_a_primitive_crystal_has_the_atoms_of_the_crystal(system):
    """In the Cartesian frame of the crystal, whatever its supercell, orientation and handedness."""
    rng = np.random.default_rng(SYSTEMS.index(system))
    for hall in SETTINGS[system]:
        plain = random_crystal(system, hall, rng)
        crystal = rotate(make_supercell(plain, rng), random_orthogonal(rng))
        found = primitive_crystal(crystal)
        assert len(found.atomic_numbers) == len(canonical_cell(plain).atomic_numbers) < len(crystal.atomic_numbers)
        assert np.linalg.det(found.lattice) > 0
        assert _density(found) == pytest.approx(_density(crystal))
        inverse = np.linalg.inv(found.lattice)
        whole = crystal.lattice @ inverse
        assert np.allclose(whole, np.rint(whole), atol=1e-6)
        steps = (crystal.fractional_positions @ crystal.lattice @ inverse)[:, None] - found.fractional_positions
        same = np.abs(steps - np.rint(steps)).max(axis=2) < 1e-6
        assert (same.sum(axis=1) == 1).all()
        assert (found.atomic_numbers[same.argmax(axis=1)] == crystal.atomic_numbers).all()
        assert primitive_crystal(found) is found


def test_primitive_crystals_keep_ids_properties_and_failures(crystal_set):
    found = primitive_crystals(crystal_set)
    assert found.ids.tolist() == crystal_set.ids.tolist()
    assert found.failures == crystal_set.failures
    assert {name: column.tolist() for name, column in found.properties.items()} == {
        name: column.tolist() for name, column in crystal_set.properties.items()
    }


def test_projection_is_the_invariant_part(crystal_set):
    operations = canonical_cell(crystal_set[5]).operations
    projector = point_group_projector(operations)
    np.testing.assert_allclose(projector @ projector, projector, atol=1e-12)
    assert np.trace(projector) == pytest.approx(2, abs=1e-9)  # 6mm: two independent components, both symmetric
    tensor = np.random.default_rng(0).normal(size=(4, 3, 3))
    found = project(tensor, operations)
    turned = operations[:, None] @ found @ np.swapaxes(operations, 1, 2)[:, None]
    np.testing.assert_allclose(turned, np.broadcast_to(found, turned.shape), atol=1e-12)
    np.testing.assert_allclose(np.trace(found, axis1=1, axis2=2), np.trace(tensor, axis1=1, axis2=2), atol=1e-12)
    np.testing.assert_allclose(found[:, 2, 2], tensor[:, 2, 2], atol=1e-9)


def test_without_a_space_group_the_given_cell_is_kept():
    """Two atoms of one kind within the tolerance: no space group is found."""
    close = Crystal('close', np.eye(3) * 4, np.array([8, 8]), np.array([[0, 0, 0], [0.001, 0, 0]]))
    cell = canonical_cell(close)
    assert not cell.symmetry_known
    assert len(cell.operations) == 1


def _directions(lattice, numbers, positions):
    cell = canonical_cell(Crystal('x', np.asarray(lattice, dtype=float), np.array(numbers), np.array(positions)))
    return infrared_directions(cell.operations, cell.permutations)


FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2


def test_crystals_without_infrared_active_modes_have_no_directions():
    """Optical modes: T2g in diamond, none with one atom in the cell, T2 in zincblende, T1u in rock salt."""
    np.testing.assert_allclose(_directions(FCC * 3.57, [6, 6], [[0, 0, 0], [0.25] * 3]), 0, atol=1e-12)
    np.testing.assert_allclose(_directions(FCC * 5.3, [18], [[0, 0, 0]]), 0, atol=1e-12)
    np.testing.assert_allclose(_directions(FCC * 4.36, [14, 6], [[0, 0, 0], [0.25] * 3]), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(_directions(FCC * 4.21, [12, 8], [[0, 0, 0], [0.5] * 3]), np.eye(3), atol=1e-12)
    # a supercell of diamond with another order of atoms
    supercell = [[0, 0, 0], [0.125, 0.125, 0.125], [0.5, 0, 0], [0.625, 0.125, 0.125]]
    stretched = np.diag([2.0, 2, 2]) @ FCC * 3.57
    eight = [np.array(p) + np.array(q) for q in ([0, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0, 0.5, 0.5]) for p in supercell]
    np.testing.assert_allclose(_directions(stretched, [6] * 16, eight), 0, atol=1e-12)


def test_graphite_is_infrared_active_along_all_directions():
    """P6₃/mmc graphite: E1u and A2u are infrared active (Nemanich et al., Solid State Commun. 23, 1977)."""
    lattice = [[2.46, 0, 0], [-1.23, 2.1304, 0], [0, 0, 6.71]]
    positions = [[0, 0, 0.25], [0, 0, 0.75], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    np.testing.assert_allclose(_directions(lattice, [6] * 4, positions), np.eye(3), atol=1e-9)


def test_homonuclear_molecules_have_no_directions():
    """N₂ molecules along z, one in the cell: inversion and the acoustic sum rule make all Born charges zero."""
    lattice = np.diag([3.0, 3.0, 4.0])
    np.testing.assert_allclose(_directions(lattice, [7, 7], [[0, 0, 0.14], [0, 0, -0.14]]), 0, atol=1e-12)
    # with a third atom of another kind all directions are active
    found = _directions(lattice, [7, 7, 8], [[0, 0, 0.14], [0, 0, -0.14], [0.5, 0.5, 0.5]])
    np.testing.assert_allclose(found, np.eye(3), atol=1e-9)


def test_infrared_directions_rotate_with_the_crystal():
    turn = random_orthogonal(np.random.default_rng(3))
    lattice = np.diag([4.0, 5.0, 6.0])
    positions = [[0.1, 0, 0], [0.9, 0, 0], [0.4, 0.5, 0.5], [0.6, 0.5, 0.5]]
    straight = _directions(lattice, [6, 6, 6, 6], positions)
    np.testing.assert_allclose(_directions(lattice @ turn.T, [6] * 4, positions), turn @ straight @ turn.T, atol=1e-9)
