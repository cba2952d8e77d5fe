"""``CrystalSet``: many crystals as flat arrays, and its file format ``crystals.npz``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.formats.dataframe import make_frame
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import BLOCK_ROWS, NpzContext, NpzFile, check_shape, reading
from aiida_goectp.core.formats.ragged import ranges
from aiida_goectp.core.formats.table import Column, ColumnGroup, Stored, Table, TextColumn

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ('Crystal', 'CrystalFile', 'CrystalSet', 'Failure')

_PROPERTY = 'property:'
"""begins the names of the arrays of property columns"""

_BLOCK = 8192
"""rows that are hashed together, which bounds the memory for their rounded numbers"""


class Crystal(NamedTuple):
    """One crystal in its Cartesian frame."""

    id: str
    """name"""
    lattice: np.ndarray
    """(3, 3) Å, rows a, b, c"""
    atomic_numbers: np.ndarray
    """(n,) integers"""
    fractional_positions: np.ndarray
    """(n, 3), not necessarily within [0, 1)"""


class Failure(NamedTuple):
    """A row that could not be read or is not a valid crystal."""

    id: str
    """name of the row"""
    code: str
    """reason, such as ``partial_occupancy``"""
    message: str
    """reason, file and row, and remedy"""


class _Failures(Stored):
    """Failures, stored as an array of three texts for each."""

    def check(self, label: str, name: str, value: Any, lengths: dict[str, int]) -> tuple[Failure, ...]:
        """Return the failures, decoded from an array if necessary."""
        if isinstance(value, np.ndarray):
            value = check_shape(label, name, value, (None, 3), 'U').tolist()
        failures = tuple(Failure(*item) for item in value)
        for number, failure in enumerate(failures, 1):
            if not failure.code or not failure.message:
                raise FormatError(f'{label}: row {number} of {name!r} ({failure.id!r}) lacks its code or its message')
        return failures

    def encode(self, name: str, value: Any) -> dict[str, np.ndarray]:
        """Return one array, (m, 3)."""
        return {name: np.array([tuple(item) for item in value], dtype=np.str_).reshape(-1, 3)}


@dataclass(frozen=True, eq=False)
class CrystalSet(Table):
    """Many crystals as flat arrays.

    Shapes are checked; :func:`aiida_goectp.core.crystals.validation.check_crystal` checks the crystals.

    :param lattices: (n, 3, 3) Å, rows a, b, c
    :param atom_offsets: (n + 1,) crystal i owns the atoms ``atom_offsets[i]:atom_offsets[i + 1]``
    :param atomic_numbers: (N,)
    :param fractional_positions: (N, 3)
    :param ids: (n,) names, not empty, unique within the set
    :param properties: name → column of n numbers, booleans or strings
    :param failures: rows that could not be read
    :raises FormatError: inconsistent shapes, or an empty or duplicate id
    """

    KIND = 'crystals'
    IGNORES_UNKNOWN_ARRAYS = True

    lattices: Annotated[np.ndarray, Column('<f8', ('rows', 3, 3))]
    atom_offsets: Annotated[np.ndarray, Column('<i8', ('offsets',))]
    atomic_numbers: Annotated[np.ndarray, Column('<i2', ('atoms',))]
    fractional_positions: Annotated[np.ndarray, Column('<f8', ('atoms', 3))]
    ids: TextColumn
    failures: Annotated[tuple[Failure, ...], _Failures()] = field(default=(), kw_only=True)
    properties: Annotated[Mapping[str, np.ndarray], ColumnGroup(_PROPERTY, Column())] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        n, atoms, offsets = len(self.ids), len(self.atomic_numbers), self.atom_offsets
        if len(offsets) != n + 1 or offsets[0] != 0 or offsets[-1] != atoms or np.any(np.diff(offsets) < 0):
            raise FormatError(f'crystals: atom_offsets must be {n + 1} numbers that rise from 0 to {atoms}')
        unique, counts = np.unique(self.ids, return_counts=True)
        if len(unique) != n:
            raise FormatError(f'crystals: duplicate id {str(unique[counts > 1][0])!r}; ids must be unique')
        if n and not unique[0]:
            raise FormatError(f'crystals: empty id in row {int(np.argmin(self.ids != ""))}; give each crystal an id')

    def __len__(self) -> int:
        return len(self.lattices)

    def __getitem__(self, row: int) -> Crystal:
        start, stop = self.atom_offsets[row], self.atom_offsets[row + 1]
        return Crystal(
            str(self.ids[row]),
            self.lattices[row],
            self.atomic_numbers[start:stop],
            self.fractional_positions[start:stop],
        )

    def __iter__(self) -> Iterator[Crystal]:
        return (self[row] for row in range(len(self)))

    @property
    def atom_counts(self) -> np.ndarray:
        """(n,) number of atoms of each crystal."""
        return np.diff(self.atom_offsets)

    @cached_property
    def hashes(self) -> np.ndarray:
        """(n,) content hash of each row: lattice and positions to 1e-8, atomic numbers; neither id nor properties."""
        return _hash_rows(self)

    @cached_property
    def formulas(self) -> np.ndarray:
        """(n,) formula of each cell in Hill order."""
        return np.array([formula(crystal.atomic_numbers) for crystal in self], dtype=np.str_).reshape(-1)

    def to_dataframe(self) -> DataFrame:
        """Return a pandas data frame with the index ``id``, a row a crystal; failures are not included.

        Columns: ``formula``, ``atoms``, ``volume`` (Å³, of the cell) and the properties.
        """
        columns = {'formula': self.formulas, 'atoms': self.atom_counts, 'volume': np.abs(np.linalg.det(self.lattices))}
        return make_frame(self.ids, columns, self.properties)

    def frame_columns(self, hashes: np.ndarray) -> tuple[dict[str, list], dict[str, list]]:
        """Return the column ``formula`` and the property columns for the data frame of another table.

        :param hashes: content hashes of the rows of that table: these crystals, then any number of failures
        :raises FormatError: rows of other crystals
        """
        if not np.array_equal(hashes[: len(self)], self.hashes):
            raise FormatError(f'the rows are not those of these {len(self)} crystals; give the set that was predicted')
        missing = [None] * (len(hashes) - len(self))
        properties = {name: [*column.tolist(), *missing] for name, column in self.properties.items()}
        return {'formula': [*self.formulas.tolist(), *missing]}, properties

    def take(self, rows: Sequence[int] | np.ndarray, *, keep_failures: bool = False) -> CrystalSet:
        """Return the given rows in the given order.

        :param rows: indices
        :param keep_failures: keep the failures of the set, which are dropped by default
        """
        chosen = np.asarray(rows, dtype=np.int64)
        atoms, offsets = ranges(self.atom_offsets, chosen)
        return CrystalSet(
            self.lattices[chosen],
            offsets,
            self.atomic_numbers[atoms],
            self.fractional_positions[atoms],
            self.ids[chosen],
            {name: column[chosen] for name, column in self.properties.items()},
            failures=self.failures if keep_failures else (),
        )

    @classmethod
    def from_crystals(
        cls,
        crystals: Iterable[Crystal],
        properties: Mapping[str, Sequence] | None = None,
        failures: Iterable[Failure] = (),
    ) -> CrystalSet:
        """Return a set of single crystals.

        :param crystals: ids must be unique
        :param properties: name → one value a crystal
        :param failures: rows that could not be read
        :raises FormatError: a property of another length, or a duplicate id
        """
        rows = list(crystals)
        counts = [len(row.atomic_numbers) for row in rows]
        return cls(
            np.array([row.lattice for row in rows], dtype=np.float64).reshape(-1, 3, 3),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.concatenate([np.zeros(0, np.int16), *(row.atomic_numbers for row in rows)]).astype(np.int16),
            np.concatenate([np.zeros((0, 3)), *(row.fractional_positions for row in rows)]).astype(np.float64),
            np.array([row.id for row in rows], dtype=np.str_).reshape(-1),
            {name: np.asarray(column) for name, column in (properties or {}).items()},
            failures=tuple(failures),
        )


class CrystalFile(NpzContext):
    """A file of a :class:`CrystalSet` that is read in blocks of rows, as a context.

    Ids are compared within a block only.

    :param source: path or seekable binary stream
    :param name: of the file in error messages; the path if not given
    :raises FormatError: as by :meth:`.Table.load`
    """

    def __init__(self, source: str | Path | IO[bytes], name: str = '') -> None:
        self.npz = NpzFile(source, CrystalSet.KIND, range(1, CrystalSet.VERSION + 1), name)
        label, shapes = self.npz.label, self.npz.shapes
        self._offsets = check_shape(label, 'atom_offsets', self.npz.array('atom_offsets'), (None,), 'iu')
        columns = ('lattices', 'ids', *(f'{_PROPERTY}{key}' for key in self.property_names))
        lengths = {shapes.get(column, ())[:1] for column in columns}
        atoms = {shapes.get(column, ())[:1] for column in ('atomic_numbers', 'fractional_positions')}
        offsets = self._offsets
        if not len(offsets) or offsets[0] or np.any(np.diff(offsets) < 0) or atoms != {(int(offsets[-1]),)}:
            raise FormatError(f'{label}: atom_offsets do not divide the atoms')
        if lengths != {(len(self),)}:
            raise FormatError(f'{label}: columns of different lengths')

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def property_names(self) -> tuple[str, ...]:
        """Names of the property columns."""
        return tuple(name.removeprefix(_PROPERTY) for name in self.npz.shapes if name.startswith(_PROPERTY))

    def property_column(self, name: str) -> np.ndarray | None:
        """Return a whole property column, None without one of this name."""
        return self.npz.array(f'{_PROPERTY}{name}') if name in self.property_names else None

    def empty_properties(self) -> dict[str, np.ndarray]:
        """Return the property columns without rows, for checks of their names and types."""
        return {name: np.zeros(0, self.npz.dtype(f'{_PROPERTY}{name}')) for name in self.property_names}

    def failures(self) -> tuple[Failure, ...]:
        """Return the rows that could not be read."""
        found = self.npz.array('failures') if 'failures' in self.npz.shapes else ()
        failures: tuple[Failure, ...] = _Failures().check(self.npz.label, 'failures', found, {})
        return failures

    def blocks(self, start: int = 0, stop: int | None = None, size: int = BLOCK_ROWS) -> Iterator[CrystalSet]:
        """Yield the rows from ``start`` to ``stop`` in order, in blocks with their properties, without failures.

        :param size: rows of a block
        :raises FormatError: a damaged file
        """
        stop = len(self) if stop is None else stop
        names = [f'{_PROPERTY}{name}' for name in self.property_names]
        rows = {name: self.npz.rows(name) for name in ('lattices', 'ids', *names)}
        atoms = {name: self.npz.rows(name) for name in ('atomic_numbers', 'fractional_positions')}
        with reading(self.npz.label, CrystalSet.KIND):
            for reader in rows.values():
                reader.skip(start)
            for reader in atoms.values():
                reader.skip(int(self._offsets[start]))
            for first in range(start, stop, size):
                last = min(first + size, stop)
                offsets = self._offsets[first : last + 1].astype(np.int64)
                columns: dict[str, Any] = {name: reader.read(last - first) for name, reader in rows.items()}
                columns |= {name: reader.read(int(offsets[-1] - offsets[0])) for name, reader in atoms.items()}
                properties = {name.removeprefix(_PROPERTY): columns.pop(name) for name in names}
                block = CrystalSet(atom_offsets=offsets - offsets[0], properties=properties, **columns)
                yield block

    def rows(self, start: int, stop: int) -> CrystalSet:
        """Return the rows from ``start`` to ``stop``, with their properties.

        :raises FormatError: a damaged file, or a duplicate id among them
        """
        return next(self.blocks(start, stop, max(stop - start, 1)), CrystalSet.from_crystals([]))

    def take(self, rows: Sequence[int] | np.ndarray) -> CrystalSet:
        """Return the given rows in the given order, found in one pass through the file.

        :param rows: distinct indices
        """
        chosen = np.asarray(rows, dtype=np.int64)
        order, parts, first = np.argsort(chosen, kind='stable'), [], 0
        ascending = chosen[order]
        for block in self.blocks(stop=int(ascending[-1]) + 1 if len(ascending) else 0):
            begin, end = np.searchsorted(ascending, [first, first + len(block)])
            if end > begin:
                parts.append(block.take(ascending[begin:end] - first))
            first += len(block)
        found = _joined(parts)
        return found if np.array_equal(ascending, chosen) else found.take(np.argsort(order, kind='stable'))


def _joined(parts: Sequence[CrystalSet]) -> CrystalSet:
    """Return the rows of parts with the same property columns."""
    counts = np.concatenate([np.zeros(0, np.int64), *(part.atom_counts for part in parts)])
    names = parts[0].properties if parts else ()
    return CrystalSet(
        np.concatenate([np.zeros((0, 3, 3)), *(part.lattices for part in parts)]),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([np.zeros(0, np.int16), *(part.atomic_numbers for part in parts)]),
        np.concatenate([np.zeros((0, 3)), *(part.fractional_positions for part in parts)]),
        np.concatenate([np.zeros(0, '<U1'), *(part.ids for part in parts)]),
        {name: np.concatenate([part.properties[name] for part in parts]) for name in names},
    )


def _hash_rows(crystals: CrystalSet) -> np.ndarray:
    """Return the content hash of each row, (n,); the numbers of a block of rows are rounded at once."""
    found = np.zeros(len(crystals), dtype='<U32')
    for first in range(0, len(crystals), _BLOCK):
        last = min(first + _BLOCK, len(crystals))
        offsets = crystals.atom_offsets[first : last + 1].tolist()
        lattices = _rounded(crystals.lattices[first:last])
        positions = _rounded(crystals.fractional_positions[offsets[0] : offsets[-1]])
        numbers = memoryview(crystals.atomic_numbers[offsets[0] : offsets[-1]].astype('<i2').tobytes())
        found[first:last] = [
            _digest(
                lattices[72 * row : 72 * row + 72],
                positions[24 * (start - offsets[0]) : 24 * (stop - offsets[0])],
                numbers[2 * (start - offsets[0]) : 2 * (stop - offsets[0])],
            )
            for row, (start, stop) in enumerate(pairwise(offsets))
        ]
    return found


def _rounded(array: np.ndarray) -> memoryview:
    # + 0.0 converts −0.0 to 0.0, so that equal numbers give equal bytes
    return memoryview((np.round(np.asarray(array, dtype=np.float64), 8) + 0.0).astype('<f8').tobytes())


def _digest(*parts: memoryview) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
