"""Orientation of cells for pw.x, and k-point meshes."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.workflows.dfpt.quantumespresso.orientation import (
    align_symmetry_axes,
    rotate_back,
    special_points,
    standard_rotation,
)

ALONG_X = np.array([[1, 0, 0], [0.5, 3**0.5 / 2, 0], [0.5, 3**0.5 / 6, (2 / 3) ** 0.5]]) * 2.978
FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.106
HEXAGONAL = np.array([[3.112, 0, 0], [-1.556, 1.556 * 3**0.5, 0], [0, 0, 4.982]])
WURTZITE = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.382], [2 / 3, 1 / 3, 0.882]]
ROTATION = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])


def rocksalt(lattice):
    return Crystal('MgO', np.array(lattice), np.array([12, 8]), np.array([[0.0] * 3, [0.5] * 3]))


def wurtzite(lattice=HEXAGONAL):
    return Crystal('AlN', np.array(lattice), np.array([13, 13, 7, 7]), np.array(WURTZITE))


@pytest.mark.parametrize('lattice', [ALONG_X, FCC @ ROTATION.T, FCC])
def test_cubic_axes_are_rotated_to_x_y_z(lattice):
    rotation = standard_rotation(rocksalt(lattice))
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)
    # components of the primitive vectors are multiples of half the cubic lattice constant
    steps = np.abs(lattice @ rotation.T) / 2.106
    assert steps == pytest.approx(np.round(steps), abs=1e-3)


def test_standard_orientation_is_not_changed():
    assert (standard_rotation(wurtzite()) == np.eye(3)).all()


def test_sixfold_axis_is_rotated_to_z():
    rotated = (HEXAGONAL @ ROTATION.T) @ standard_rotation(wurtzite(HEXAGONAL @ ROTATION.T)).T
    assert np.abs(rotated[2]) == pytest.approx([0, 0, 4.982], abs=1e-6)


def test_rotating_back_restores_all_positions(aiida_profile):
    from tests.workflows.dfpt.quantumespresso.quantum_espresso import crystal

    structure = crystal(('Al', 'Al', 'N', 'N'), HEXAGONAL @ ROTATION.T, WURTZITE)
    aligned = align_symmetry_axes(structure)
    assert np.array(aligned['structure'].cell) != pytest.approx(np.array(structure.cell), abs=0.1)
    back = rotate_back(aligned['structure'], aligned['rotation'])
    assert np.array(back.cell) == pytest.approx(np.array(structure.cell), abs=1e-9)
    positions = [np.array([site.position for site in cell.sites]) for cell in (structure, back)]
    assert positions[0] == pytest.approx(positions[1], abs=1e-9)
    assert [site.kind_name for site in back.sites] == [site.kind_name for site in structure.sites]


@pytest.mark.parametrize(
    ('crystal', 'mesh', 'offset'),
    [
        (rocksalt(FCC), [4, 4, 4], [0.5, 0.5, 0.5]),
        (wurtzite(), [4, 4, 2], [0, 0, 0.5]),
        (rocksalt(np.diag([3.0, 3.0, 4.0])), [4, 4, 3], [0.5, 0.5, 0.5]),
    ],
)
def test_mesh_is_shifted_where_the_symmetry_allows(crystal, mesh, offset):
    assert special_points(crystal, 0.65) == (mesh, offset)


def test_steps_of_the_mesh_do_not_exceed_the_distance():
    mesh, _ = special_points(wurtzite(), 0.3)
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(HEXAGONAL), axis=0)
    assert (lengths / mesh <= 0.3).all()


def test_distance_of_zero_is_refused():
    with pytest.raises(ValueError, match='kpoints_distance'):
        special_points(wurtzite(), 0.0)
