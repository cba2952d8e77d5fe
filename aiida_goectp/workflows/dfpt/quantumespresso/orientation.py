"""Orientation of a cell in which ``pw.x`` finds its symmetry, and k-point meshes that keep it."""

from __future__ import annotations

import itertools

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.symmetry_search import find_symmetry, standard_orientation
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.workflows.dfpt.rotation import rotate_structure

__all__ = ('align_symmetry_axes', 'rotate_back', 'special_points', 'special_points_mesh', 'standard_rotation')

_SYMPREC = 1e-3  # Å


@calcfunction
def align_symmetry_axes(structure: orm.StructureData) -> dict[str, orm.Data]:
    """Rotate a cell so that its symmetry axes have the directions in which ``pw.x`` searches for them.

    ``pw.x`` tries rotations about x, y, z and the diagonals of a cube, and sixfold ones about z only. For a cubic
    primitive cell with its first vector along x it misses most of the symmetry, at ten times the cost. Lattice vectors
    and atoms are the same before and after.

    :return: ``structure``, and ``rotation`` with an array of that name: the matrix R that maps a vector v of the given
        frame to R v
    """
    rotation = standard_rotation(crystal_from_structure(structure.get_formula(), structure))
    array = orm.ArrayData()
    array.set_array('rotation', rotation)
    return {'structure': rotate_structure(structure, rotation), 'rotation': array}


@calcfunction
def rotate_back(structure: orm.StructureData, rotation: orm.ArrayData) -> orm.StructureData:
    """Undo the rotation of :func:`align_symmetry_axes`, also for a cell that was relaxed since."""
    return rotate_structure(structure, rotation.get_array('rotation').T)


def standard_rotation(crystal: Crystal) -> np.ndarray:
    """Return the proper rotation of the symmetry axes to x, y, z as in spglib's standard cell.

    :return: (3, 3), to be applied to column vectors; exactly the identity if the axes are there already
    """
    rotation = standard_orientation(crystal.lattice, crystal.fractional_positions, crystal.atomic_numbers, _SYMPREC)
    return np.eye(3) if rotation is None or np.abs(rotation - np.eye(3)).max() < 1e-6 else rotation


@calcfunction
def special_points_mesh(structure: orm.StructureData, distance: orm.Float) -> orm.KpointsData:
    """Return a Monkhorst-Pack mesh, see :func:`special_points`."""
    mesh, offset = special_points(crystal_from_structure(structure.get_formula(), structure), distance.value)
    points = orm.KpointsData()
    points.set_cell_from_structure(structure)
    points.set_kpoints_mesh(mesh, offset=offset)
    return points


def special_points(crystal: Crystal, distance: float) -> tuple[list[int], list[float]]:
    """Return a Monkhorst-Pack mesh, shifted by half a step in as many directions as the symmetry allows.

    A shifted mesh converges like a Γ-centred one of nearly twice the density. In a cubic cell, primitive or not, all
    three directions are shifted (Chadi and Cohen, Phys. Rev. B 8, 5747 (1973); pw.x completes them by symmetry). In
    other cells, shifts that break the point group are left out, for example in the plane of a hexagonal cell.

    :param distance: largest step, 1/Å
    :return: three divisions, and three offsets in steps (0 or 0.5)
    :raises ValueError: a distance that is not positive
    """
    if not distance > 0:
        raise ValueError(f'kpoints_distance: {distance} 1/Å; give a positive number, for example 0.65')
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    mesh = np.maximum(np.ceil(lengths / distance - 1e-6), 1).astype(int)
    found = find_symmetry(crystal.lattice, crystal.fractional_positions, crystal.atomic_numbers, _SYMPREC)
    if found is None:
        return mesh.tolist(), [0.0, 0.0, 0.0]
    if found.number >= 195 and len(set(mesh)) == 1:
        return mesh.tolist(), [0.5, 0.5, 0.5]
    # reciprocal coordinates transform with the inverse transpose
    operations = [np.linalg.inv(rotation).T for rotation in np.unique(found.rotations, axis=0)]
    for shift in sorted(itertools.product((0.5, 0.0), repeat=3), key=sum, reverse=True):
        start = np.array(shift) / mesh
        moved = np.array([(operation @ start - start) * mesh for operation in operations])
        if np.abs(moved - np.round(moved)).max() < 1e-6:
            break
    return mesh.tolist(), list(shift)
