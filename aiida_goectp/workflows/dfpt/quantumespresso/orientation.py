"""How a cell is best put to ``pw.x``: turned so that it sees the symmetry, with the k points that suit it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.data.crystals import crystal_from_structure

__all__ = ('align_symmetry_axes', 'special_points', 'special_points_mesh', 'standard_rotation', 'rotate_back')

_SYMPREC = 1e-3  # Å


@calcfunction
def align_symmetry_axes(structure: orm.StructureData) -> dict[str, orm.Data]:
    """Turn a cell, all its vectors and atoms kept, so that its axes of symmetry lie as ``pw.x`` looks for them.

    ``pw.x`` knows rotations about x, y, z, the diagonals of a cube, and sixfold ones about z alone. A cubic primitive
    cell with its first vector along x would lose most of its symmetry and cost ten times as much.

    :return: ``structure`` and ``rotation``, an array R of that name: v in the given frame is R v in the new one
    """
    rotation = standard_rotation(crystal_from_structure(structure.get_formula(), structure))
    array = orm.ArrayData()
    array.set_array('rotation', rotation)
    return {'structure': _turned(structure, rotation), 'rotation': array}


@calcfunction
def rotate_back(structure: orm.StructureData, rotation: orm.ArrayData) -> orm.StructureData:
    """Undo the turn of :func:`align_symmetry_axes`, for a cell that was relaxed since."""
    return _turned(structure, rotation.get_array('rotation').T)


def _turned(structure: orm.StructureData, rotation: np.ndarray) -> orm.StructureData:
    new = structure.clone()
    new.set_cell((np.array(structure.cell) @ rotation.T).tolist())
    new.reset_sites_positions((np.array([site.position for site in structure.sites]) @ rotation.T).tolist())
    return new


def standard_rotation(crystal: Crystal) -> np.ndarray:
    """Return the proper rotation that brings the axes of symmetry along x, y, z; the identity if they lie there.

    :return: (3, 3), to be applied to column vectors
    """
    dataset = _symmetry(crystal)
    if dataset is None:
        return np.eye(3)
    rotation = np.asarray(dataset.std_rotation_matrix)
    return np.eye(3) if np.abs(rotation - np.eye(3)).max() < 1e-6 else rotation


def _symmetry(crystal: Crystal) -> Any:
    import spglib

    cell: Any = (crystal.lattice, crystal.fractional_positions, crystal.atomic_numbers)
    return spglib.get_symmetry_dataset(cell, symprec=_SYMPREC)


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

    A shifted mesh converges as a Γ-centred one of nearly twice the density. In a cubic cell, also a primitive one,
    all three directions are shifted (the special points of Chadi and Cohen; pw.x completes them by symmetry). In others
    a shift that breaks the point group, as in the plane of a hexagonal cell, is left out.

    :param distance: 1/Å, largest step
    :return: three divisions and three offsets in steps (0 or 0.5)
    :raises ValueError: a distance that is not positive
    """
    if not distance > 0:
        raise ValueError(f'distance of k points: {distance} 1/Å; give a positive one, e.g. 0.65')
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    mesh = np.maximum(np.ceil(lengths / distance - 1e-6), 1).astype(int)
    dataset = _symmetry(crystal)
    if dataset is None:
        return mesh.tolist(), [0.0, 0.0, 0.0]
    if dataset.number >= 195 and len(set(mesh)) == 1:
        return mesh.tolist(), [0.5, 0.5, 0.5]
    # reciprocal coordinates are turned by the inverse transposed
    turns = [np.linalg.inv(rotation).T for rotation in np.unique(dataset.rotations, axis=0)]
    for shift in sorted(itertools.product((0.5, 0.0), repeat=3), key=sum, reverse=True):
        start = np.array(shift) / mesh
        moved = np.array([(turn @ start - start) * mesh for turn in turns])
        if np.abs(moved - np.round(moved)).max() < 1e-6:
            break
    return mesh.tolist(), list(shift)
