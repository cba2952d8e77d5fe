"""``goectp.crystals``: many crystals in one node."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.orm import StructureData

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.data.table import TableData

__all__ = ('CrystalsData', 'crystal_from_structure', 'structure_from_crystal')


class CrystalsData(TableData):
    """A :class:`~aiida_goectp.core.crystals.CrystalSet` as one node, the rows that could not be read included.

    Attributes: ``number`` of crystals, ``atoms`` in all, ``failures`` (number of rows that could not be read),
    ``columns`` (names of the property columns), ``elements`` (symbols), ``content_hash``.

    :param table: the crystals
    """

    _FILE = 'crystals.npz'
    _KIND = 'crystals'

    @property
    def crystals(self) -> CrystalSet:
        """The crystals as flat arrays."""
        table: CrystalSet = self._read()
        return table

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the property columns."""
        return tuple(self.base.attributes.get('columns', ()))

    def structure(self, row: int) -> StructureData:
        """Return an unstored ``StructureData`` of one row, in its own frame.

        For a look; in a workflow the calcfunction ``select_top`` makes structures that know where they come from.
        """
        return structure_from_crystal(self.crystals[row])

    @classmethod
    def _load(cls, stream: Any) -> CrystalSet:
        return CrystalSet.load(stream)

    @classmethod
    def _summary(cls, table: CrystalSet) -> dict[str, Any]:
        from ase.data import chemical_symbols

        numbers = np.unique(table.atomic_numbers)
        known = numbers[(numbers > 0) & (numbers < len(chemical_symbols))]
        return {
            'number': len(table),
            'atoms': len(table.atomic_numbers),
            'failures': len(table.failures),
            'columns': sorted(table.properties),
            'elements': [chemical_symbols[number] for number in known],
        }


def structure_from_crystal(crystal: Crystal) -> StructureData:
    """Return an unstored ``StructureData`` in the same Cartesian frame; positions Å.

    :param crystal: one crystal
    """
    from ase.data import chemical_symbols

    structure = StructureData(cell=crystal.lattice.tolist())
    positions = crystal.fractional_positions @ crystal.lattice
    for number, position in zip(crystal.atomic_numbers, positions, strict=True):
        structure.append_atom(position=position.tolist(), symbols=chemical_symbols[int(number)])
    structure.label = crystal.id[:255]
    return structure


def crystal_from_structure(name: str, structure: StructureData) -> Crystal:
    """Return the crystal of a ``StructureData``, in its Cartesian frame.

    :param name: id of the crystal
    :raises CrystalError: not periodic in three directions, partial occupancy, an unknown element, no volume
    """
    from ase.data import atomic_numbers

    if not all(structure.pbc):
        message = f'{name}: periodic in {sum(structure.pbc)} directions only; a crystal needs three'
        raise CrystalError('not_periodic', message)
    symbols = {}
    for kind in structure.kinds:
        if kind.is_alloy or kind.has_vacancies:
            message = (
                f'{name}: kind {kind.name} is partially occupied ({kind.get_symbols_string()}); order the cell first'
            )
            raise CrystalError('partial_occupancy', message)
        if kind.symbol not in atomic_numbers or kind.symbol == 'X':
            raise CrystalError('unknown_element', f'{name}: kind {kind.name} is no known element ({kind.symbol})')
        symbols[kind.name] = atomic_numbers[kind.symbol]
    lattice = np.array(structure.cell, dtype=np.float64)
    positions = np.array([site.position for site in structure.sites], dtype=np.float64).reshape(-1, 3)
    try:
        fractional = np.linalg.solve(lattice.T, positions.T).T
    except np.linalg.LinAlgError as error:
        raise CrystalError('bad_lattice', f'{name}: the cell has no volume; give three lattice vectors') from error
    numbers = np.array([symbols[site.kind_name] for site in structure.sites], dtype=np.int16)
    return Crystal(name, lattice, numbers, fractional)
