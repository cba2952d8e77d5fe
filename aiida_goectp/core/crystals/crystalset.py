"""``CrystalSet``: many crystals as flat arrays, and its file format ``crystals.npz``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.elements import formula
from aiida_goectp.core.formats.dataframe import make_frame
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import check_shape
from aiida_goectp.core.formats.ragged import ranges
from aiida_goectp.core.formats.table import Column, ColumnGroup, Stored, Table, TextColumn

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ('Crystal', 'CrystalSet', 'Failure')


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
    :param ids: (n,) names, unique within the set
    :param properties: name → column of n numbers, booleans or strings
    :param failures: rows that could not be read
    :raises FormatError: inconsistent shapes, or a duplicate id
    """

    KIND = 'crystals'
    IGNORES_UNKNOWN_ARRAYS = True

    lattices: Annotated[np.ndarray, Column('<f8', ('rows', 3, 3))]
    atom_offsets: Annotated[np.ndarray, Column('<i8', ('offsets',))]
    atomic_numbers: Annotated[np.ndarray, Column('<i2', ('atoms',))]
    fractional_positions: Annotated[np.ndarray, Column('<f8', ('atoms', 3))]
    ids: TextColumn
    failures: Annotated[tuple[Failure, ...], _Failures()] = field(default=(), kw_only=True)
    properties: Annotated[Mapping[str, np.ndarray], ColumnGroup('property:', Column())] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        n, atoms, offsets = len(self.ids), len(self.atomic_numbers), self.atom_offsets
        if len(offsets) != n + 1 or offsets[0] != 0 or offsets[-1] != atoms or np.any(np.diff(offsets) < 0):
            raise FormatError(f'crystals: atom_offsets must be {n + 1} numbers that rise from 0 to {atoms}')
        unique, counts = np.unique(self.ids, return_counts=True)
        if len(unique) != n:
            raise FormatError(f'crystals: duplicate id {str(unique[counts > 1][0])!r}; ids must be unique')

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
        return np.array([_hash_row(crystal) for crystal in self], dtype='<U32')

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


def _hash_row(crystal: Crystal) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in (crystal.lattice, crystal.fractional_positions):
        # + 0.0 converts −0.0 to 0.0, so that equal numbers give equal bytes
        digest.update((np.round(np.asarray(array, dtype=np.float64), 8) + 0.0).astype('<f8').tobytes())
    digest.update(crystal.atomic_numbers.astype('<i2').tobytes())
    return digest.hexdigest()
