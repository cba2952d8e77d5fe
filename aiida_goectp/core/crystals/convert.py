"""Conversion from lists, from and to ASE, and of what a caller may give as crystals; the Cartesian frame is kept."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.crystals.concatenate import concatenate_crystals
from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet, Failure
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS, formula
from aiida_goectp.core.crystals.entries import Entry, collect, scalars
from aiida_goectp.core.crystals.validation import CrystalError

if TYPE_CHECKING:
    from ase import Atoms
    from pandas import DataFrame

__all__ = (
    'as_crystal',
    'as_crystal_set',
    'from_ase',
    'from_lists',
    'instance_of',
    'labelled',
    'to_ase',
    'warn_of_failures',
)


_STRUCTURE, _ID_COLUMNS = 'structure', ('id', 'material_id')
"""columns of a data frame"""


def from_ase(atoms: Atoms, id: str | None = None) -> Crystal:
    """Return an ASE structure as a crystal.

    :param atoms: structure, periodic along three directions
    :param id: id of the crystal; by default the formula of the cell
    :raises CrystalError: ``bad_lattice`` (no cell), ``not_periodic`` or ``partial_occupancy``
    """
    if atoms.cell.rank < 3:
        raise CrystalError('bad_lattice', f'the cell has no volume: {atoms.cell.array.tolist()}')
    if not all(atoms.pbc):
        raise CrystalError(
            'not_periodic', f'pbc is {atoms.pbc.tolist()}; a crystal is periodic along all axes (pbc="T T T")'
        )
    for kind, shares in atoms.info.get('occupancy', {}).items():
        if len(shares) != 1 or abs(sum(shares.values()) - 1) > 1e-3:
            raise CrystalError('partial_occupancy', f'site {kind} is occupied by {shares}; give an ordered structure')
    occupancies = atoms.arrays.get('occupancy', np.ones(1))
    if occupancies.dtype.kind in 'fiub' and not (np.abs(occupancies - 1.0) < 1e-3).all():
        raise CrystalError(
            'partial_occupancy', f'a site is occupied by {occupancies.min():g}; give an ordered structure'
        )
    numbers = np.asarray(atoms.numbers, dtype=np.int16)
    return Crystal(
        formula(numbers) if id is None else id,
        np.array(atoms.cell.array, dtype=np.float64),
        numbers,
        atoms.get_scaled_positions(wrap=False),
    )


def from_lists(id: str, lattice: Any, species: list[Any], positions: Any, *, cartesian: bool = False) -> Crystal:
    """Return a crystal of lists from outside, whose form is checked.

    :param id: id of the crystal
    :param lattice: (3, 3) Å, rows a, b, c
    :param species: n chemical symbols
    :param positions: (n, 3) fractional positions
    :param cartesian: the positions are Cartesian, in Å
    :raises CrystalError: ``unreadable_row`` (not numbers, or inconsistent shapes), ``unknown_element``,
        ``partial_occupancy`` (several elements on a site) or ``bad_lattice``
    """
    try:
        cell = np.array(lattice, dtype=np.float64)
        points = np.array(positions, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        text = f'lattice or positions (frac_coords) is not a table of numbers ({error})'
        raise CrystalError('unreadable_row', text) from error
    if cell.shape != (3, 3) or (points.shape != (len(species), 3) and species):
        raise CrystalError(
            'unreadable_row',
            f'inconsistent shapes: lattice {cell.shape}, positions {points.shape}, {len(species)} species; '
            'expected (3, 3), (n, 3) and n',
        )
    if cartesian and species:
        try:
            points = np.linalg.solve(cell.T, points.T).T
        except np.linalg.LinAlgError as error:
            raise CrystalError('bad_lattice', f'the lattice has no volume: {cell.tolist()}') from error
    return Crystal(id, cell, np.array([_number(item) for item in species], np.int16), points.reshape(-1, 3))


def _number(symbol: Any) -> int:
    try:
        return ATOMIC_NUMBERS[symbol]
    except (KeyError, TypeError):
        pass
    if isinstance(symbol, dict | list):
        raise CrystalError(
            'partial_occupancy', f'site with several elements: {symbol!r:.80}; an ordered structure is needed'
        )
    raise CrystalError('unknown_element', f'{symbol!r:.40} is not a chemical element')


def to_ase(crystal: Crystal) -> Atoms:
    """Return a crystal as an ASE structure in the same Cartesian frame."""
    from ase import Atoms

    return Atoms(
        numbers=np.array(crystal.atomic_numbers),
        cell=np.array(crystal.lattice),
        scaled_positions=np.array(crystal.fractional_positions),
        pbc=True,
    )


def instance_of(value: Any, module: str, name: str) -> bool:
    """Return whether a value is an instance of a class of an optional package, without importing the package.

    A module that is not imported has no instances.

    :param module: full name of the module that defines the class
    """
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def as_crystal(value: Any, id: str | None = None) -> Crystal:
    """Return a :class:`.Crystal` or ASE ``Atoms`` as a crystal.

    :param id: new id; without it that of the crystal, or the formula of the atoms
    :raises CrystalError: not a crystal, see :func:`from_ase`
    :raises TypeError: a value of another type
    """
    if isinstance(value, Crystal):
        return value if id is None else value._replace(id=id)
    if instance_of(value, 'ase.atoms', 'Atoms'):
        return from_ase(value, id)
    raise TypeError(f'{type(value).__name__}: give a CrystalSet, a Crystal, ASE Atoms, or a list or dict of these')


def labelled(values: Any) -> list[tuple[str | None, Any]]:
    """Return what a caller gave as crystals as pairs of an id and one value.

    :param values: one value; a list or tuple, whose values have no id; or a dict, id → value
    """
    if isinstance(values, Mapping):
        return [(str(name), value) for name, value in values.items()]
    if isinstance(values, list | tuple) and not isinstance(values, Crystal):
        return [(None, value) for value in values]
    return [(None, values)]


def as_crystal_set(values: Any, convert: Callable[[Any, str | None], Crystal] = as_crystal) -> CrystalSet:
    """Return the crystals of one value, a list or a mapping of ids.

    A value of a list that is not a valid crystal is a failure of the set. Duplicate ids get ``#2``, ``#3``, ….

    :param values: a value that ``convert`` takes, a :class:`.CrystalSet`, a list of these, a dict id → value, or a
        data frame of pandas with a column ``structure``: ids are its column ``id`` or ``material_id``, or its index of
        texts, and
        numbers, booleans and texts of the other columns become properties
    :param convert: conversion of a single crystal
    :raises ValueError: a single value that is not a valid crystal
    :raises TypeError: a value of another type
    """
    if isinstance(values, CrystalSet):
        return values
    if instance_of(values, 'pandas', 'DataFrame'):
        return collect(_rows_of_frame(values, convert))
    parts = []
    for whole, pairs in groupby(labelled(values), lambda pair: isinstance(pair[1], CrystalSet)):
        rows = list(pairs)
        parts += [part for _, part in rows] if whole else [collect([Entry(_row(*pair, convert), {}) for pair in rows])]
    crystals = parts[0] if len(parts) == 1 else concatenate_crystals(parts)
    if crystals.failures and (isinstance(values, Crystal) or not isinstance(values, list | tuple | Mapping)):
        raise CrystalError(crystals.failures[0].code, crystals.failures[0].message)
    return crystals


def warn_of_failures(crystals: CrystalSet, values: Any) -> None:
    """Warn if values are no valid crystals: what is computed of the set has fewer rows than the caller gave.

    :param values: what :func:`as_crystal_set` made the set of; the failures of a set that is given are known
    """
    if crystals.failures and not isinstance(values, CrystalSet):
        first = crystals.failures[0]
        warnings.warn(
            f'{len(crystals.failures)} values are no valid crystals and have no row in the result; the first is '
            f'{first.id}: {first.message}. Find rows by their id, not by their place',
            stacklevel=3,
        )


def _rows_of_frame(frame: DataFrame, convert: Callable[[Any, str | None], Crystal]) -> Iterator[Entry]:
    """Yield the rows of a data frame.

    :raises ValueError: no column ``structure``
    """
    if _STRUCTURE not in frame.columns:
        raise ValueError(f'the data frame has no column {_STRUCTURE!r}; it has {", ".join(map(str, frame.columns))}')
    named = next((name for name in _ID_COLUMNS if name in frame.columns), None)
    for index, row in zip(frame.index, frame.to_dict('records'), strict=True):
        label = str(row[named]) if named else index if isinstance(index, str) else None
        texts = {str(name): value for name, value in row.items()}
        yield Entry(_row(label, row[_STRUCTURE], convert), scalars(texts, (_STRUCTURE, named or '')))


def _row(name: str | None, value: Any, convert: Callable[[Any, str | None], Crystal]) -> Crystal | Failure:
    try:
        return convert(value, name)
    except CrystalError as error:
        return Failure(name or type(value).__name__, error.code, str(error))
