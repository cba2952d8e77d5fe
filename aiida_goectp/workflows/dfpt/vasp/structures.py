"""Structures for VASP: right-handed cells, and the kinds of the input in structures parsed from its outputs."""

from __future__ import annotations

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

__all__ = ('invert_lattice', 'is_left_handed', 'restore_kinds', 'with_kinds_of')


def is_left_handed(structure: orm.StructureData) -> bool:
    """Return whether the triple product of the lattice vectors is negative; VASP stops on such a cell."""
    return bool(np.linalg.det(structure.cell) < 0)


@calcfunction
def invert_lattice(structure: orm.StructureData) -> orm.StructureData:
    """Return a structure with the lattice vectors −a, −b, −c, which changes the handedness of the cell.

    The lattice, the Cartesian positions and with them all tensors are the same; fractional positions change their sign.
    A second call restores the cell.
    """
    inverted = structure.clone()
    inverted.set_cell((0.0 - np.array(structure.cell)).tolist())  # no -0.0, for equal hashes
    return inverted


def with_kinds_of(structure: orm.StructureData, original: orm.StructureData) -> orm.StructureData:
    """Return a structure parsed from outputs of VASP with the kinds of the input structure.

    The parser of aiida-vasp names kinds by element, while U, magnetic moments and potentials are given by kind.

    :param structure: parsed structure, stored
    :param original: input structure, stored; of another type (``CifData``) it has no kinds
    :return: ``structure`` itself if its sites have these kinds
    :raises ValueError: the sites are not the same elements in the same order
    """
    if not isinstance(original, orm.StructureData) or structure.get_site_kindnames() == original.get_site_kindnames():
        return structure
    restored: orm.StructureData = restore_kinds(structure=structure, original=original)
    return restored


@calcfunction
def restore_kinds(structure: orm.StructureData, original: orm.StructureData) -> orm.StructureData:
    """Return the cell and the positions of a structure with the kinds of another; VASP keeps the order of the sites.

    :raises ValueError: the sites are not the same elements in the same order
    """
    found, expected = ([node.get_kind(site.kind_name).symbol for site in node.sites] for node in (structure, original))
    if found != expected:
        raise ValueError(
            f'the structure parsed from the outputs of VASP has the sites {" ".join(found)}; expected '
            f'{" ".join(expected)}, in this order: kinds, and with them U and magnetic moments, cannot be assigned'
        )
    restored = original.clone()
    restored.set_cell(structure.cell)
    restored.reset_sites_positions([site.position for site in structure.sites])
    return restored
