"""Rotation of a ``StructureData``: cell and sites together, kinds kept."""

from __future__ import annotations

import numpy as np
from aiida import orm

__all__ = ('rotate_structure',)


def rotate_structure(structure: orm.StructureData, rotation: np.ndarray) -> orm.StructureData:
    """Return an unstored copy of a structure in which every vector v has become R v.

    :param rotation: (3, 3) rotation matrix R, applied to column vectors
    """
    rotated = structure.clone()
    rotated.set_cell((np.array(structure.cell) @ rotation.T).tolist())
    positions = np.array([site.position for site in structure.sites]) @ rotation.T
    rotated.reset_sites_positions(positions.tolist())
    return rotated
