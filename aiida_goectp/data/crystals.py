"""``goectp.crystals``: many crystals in one node, and conversion from and to ``StructureData``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from aiida.orm import Data, StructureData

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.crystals.convert import as_crystal, as_crystal_set, instance_of
from aiida_goectp.core.crystals.crystalset import CrystalFile
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS, SYMBOLS, formula, symbols_of
from aiida_goectp.core.crystals.validation import CrystalError
from aiida_goectp.data.pymatgen_convert import from_pymatgen
from aiida_goectp.data.table import TableData

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = (
    'CrystalsData',
    'crystal_from_structure',
    'crystals_of',
    'structure_from_crystal',
    'to_crystal',
    'to_structure',
)


class CrystalsData(TableData):
    """A :class:`~aiida_goectp.core.crystals.CrystalSet` as one node, failed rows included.

    Attributes: ``number`` of crystals, ``atoms`` (total number), ``failures`` (number of rows that could not be read),
    ``columns`` (names of the property columns), ``elements`` (symbols), ``content_hash``.

    :param table: the crystals
    """

    _TABLE = CrystalSet

    @property
    def crystals(self) -> CrystalSet:
        """The crystals as flat arrays."""
        table: CrystalSet = self._table()
        return table

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the property columns."""
        return tuple(self.base.attributes.get('columns', ()))

    @contextmanager
    def open_rows(self) -> Iterator[CrystalFile]:
        """Open the crystals, to read parts of them as the memory for all is large."""
        with self.open_file() as stream, CrystalFile(stream) as rows:
            yield rows

    def structure(self, row: int) -> StructureData:
        """Return an unstored ``StructureData`` of one row, in its own frame.

        It has no provenance; within a workflow use the calcfunction ``select_top``.
        """
        return structure_from_crystal(self.crystals[row])

    def to_dataframe(self) -> DataFrame:
        """Return a pandas data frame, see :meth:`.CrystalSet.to_dataframe`."""
        return self.crystals.to_dataframe()

    @classmethod
    def _summary(cls, table: CrystalSet) -> dict[str, Any]:
        numbers = np.unique(table.atomic_numbers)
        return {
            'number': len(table),
            'atoms': len(table.atomic_numbers),
            'failures': len(table.failures),
            'columns': sorted(table.properties),
            'elements': symbols_of(numbers[(numbers > 0) & (numbers < len(SYMBOLS))]),
        }


def structure_from_crystal(crystal: Crystal) -> StructureData:
    """Return an unstored ``StructureData`` in the same Cartesian frame; positions Å.

    :param crystal: one crystal
    """
    structure = StructureData(cell=crystal.lattice.tolist())
    positions = crystal.fractional_positions @ crystal.lattice
    for symbol, position in zip(symbols_of(crystal.atomic_numbers), positions, strict=True):
        structure.append_atom(position=position.tolist(), symbols=symbol)
    structure.label = crystal.id[:255]
    return structure


def crystal_from_structure(name: str, structure: StructureData) -> Crystal:
    """Return the crystal of a ``StructureData``, in its Cartesian frame.

    :param name: id of the crystal
    :raises CrystalError: not periodic in three directions, partial occupancy, an unknown element, no volume
    """
    if not all(structure.pbc):
        message = f'{name}: periodic in {sum(structure.pbc)} directions; a crystal is periodic in three'
        raise CrystalError('not_periodic', message)
    numbers_of_kinds = {}
    for kind in structure.kinds:
        if kind.is_alloy or kind.has_vacancies:
            message = (
                f'{name}: kind {kind.name} is partially occupied ({kind.get_symbols_string()}); order the cell first'
            )
            raise CrystalError('partial_occupancy', message)
        if kind.symbol not in ATOMIC_NUMBERS:
            raise CrystalError('unknown_element', f'{name}: kind {kind.name} is not a known element ({kind.symbol})')
        numbers_of_kinds[kind.name] = ATOMIC_NUMBERS[kind.symbol]
    lattice = np.array(structure.cell, dtype=np.float64)
    positions = np.array([site.position for site in structure.sites], dtype=np.float64).reshape(-1, 3)
    try:
        fractional = np.linalg.solve(lattice.T, positions.T).T
    except np.linalg.LinAlgError as error:
        raise CrystalError(
            'bad_lattice', f'{name}: the cell has no volume; give three independent lattice vectors'
        ) from error
    numbers = np.array([numbers_of_kinds[site.kind_name] for site in structure.sites], dtype=np.int16)
    return Crystal(name, lattice, numbers, fractional)


def to_crystal(value: Any, id: str | None = None) -> Crystal:
    """Return a structure of any library as a crystal, in its Cartesian frame.

    :param value: pymatgen ``Structure``, ASE ``Atoms``, ``StructureData`` or :class:`.Crystal`
    :param id: name of the crystal; without it that of a :class:`.Crystal`, else the formula of the cell
    :raises CrystalError: not a crystal
    :raises TypeError: a value of another type
    """
    if isinstance(value, StructureData):
        if id is not None:
            return crystal_from_structure(id, value)
        crystal = crystal_from_structure(value.get_formula('hill'), value)
        return crystal._replace(id=formula(crystal.atomic_numbers))
    if instance_of(value, 'pymatgen.core.structure', 'IStructure'):
        return from_pymatgen(value, id)
    try:
        return as_crystal(value, id)
    except TypeError as error:
        allowed = (
            'a pymatgen Structure, ASE Atoms, StructureData, CrystalSet, a goectp.crystals node, or a list of these'
        )
        raise TypeError(f'{type(value).__name__} is not a crystal: give {allowed}') from error


def to_structure(value: Any) -> StructureData:
    """Return an unstored ``StructureData`` of a pymatgen ``Structure``, ASE ``Atoms`` or :class:`.Crystal`.

    A ``StructureData`` is returned as it is. The Cartesian frame is kept.

    :raises CrystalError: not a crystal
    :raises TypeError: a value of another type
    """
    return value if isinstance(value, StructureData) else structure_from_crystal(to_crystal(value))


def crystals_of(node: Data, hashes: np.ndarray) -> CrystalSet | None:
    """Return the crystals of the rows of a table, found by its provenance; None if they are not known.

    :param node: predictions, a ranking or picks
    :param hashes: content hashes of its rows
    """
    creator = node.creator
    source = creator.inputs['crystals'] if creator is not None and 'crystals' in creator.inputs else None
    if isinstance(source, CrystalsData):
        crystals = source.crystals
    elif isinstance(source, StructureData):
        crystals = as_crystal_set(source, to_crystal)
    else:
        return None
    return crystals if np.array_equal(hashes[: len(crystals)], crystals.hashes) else None
