"""``CrystalSet``: many crystals as flat arrays, and the file ``crystals.npz``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from aiida_goectp.core.formats.npz import FormatError, check_shape, read_npz, write_npz

__all__ = ('Crystal', 'CrystalSet', 'Failure')

_KIND, _VERSION = 'crystals', 1
_PROPERTY = 'property:'


class Crystal(NamedTuple):
    """One crystal, in the Cartesian frame in which it was given."""

    id: str
    lattice: np.ndarray
    """(3, 3) Å, rows a, b, c"""
    atomic_numbers: np.ndarray
    """(n,) integers"""
    fractional_positions: np.ndarray
    """(n, 3), not necessarily within [0, 1)"""


class Failure(NamedTuple):
    """A row that could not become a crystal."""

    id: str
    code: str
    """short name of what is wrong, e.g. ``partial_occupancy``"""
    message: str
    """what is wrong, where, and what to do"""


@dataclass(frozen=True, eq=False)
class CrystalSet:
    """Many crystals as flat arrays.

    The set holds what it is given; :func:`aiida_goectp.core.crystals.validation.check_crystal` says whether a row is a
    crystal that can be computed.

    :param lattices: (n, 3, 3) Å, rows a, b, c
    :param atom_offsets: (n + 1,) crystal i owns the atoms ``atom_offsets[i]:atom_offsets[i + 1]``
    :param atomic_numbers: (N,)
    :param fractional_positions: (N, 3)
    :param ids: (n,) names, unique within the set
    :param properties: name → column of n numbers, booleans or strings
    :param failures: the rows that could not be read
    :raises FormatError: shapes that do not fit together, or an id twice
    """

    lattices: np.ndarray
    atom_offsets: np.ndarray
    atomic_numbers: np.ndarray
    fractional_positions: np.ndarray
    ids: np.ndarray
    properties: Mapping[str, np.ndarray] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        _check(self)

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
        """(n,) atoms of each crystal."""
        return np.diff(self.atom_offsets)

    @cached_property
    def hashes(self) -> np.ndarray:
        """(n,) content hash of each row: lattice and positions to 1e-8, atomic numbers; neither id nor properties."""
        return np.array([_hash_row(crystal) for crystal in self], dtype='<U32')

    def take(self, rows: Sequence[int] | np.ndarray, *, keep_failures: bool = False) -> CrystalSet:
        """Return the given rows in the given order; the failures stay behind unless asked for."""
        chosen = np.asarray(rows, dtype=np.int64)
        counts = self.atom_counts[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        atoms = np.repeat(self.atom_offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return CrystalSet(
            self.lattices[chosen],
            offsets,
            self.atomic_numbers[atoms],
            self.fractional_positions[atoms],
            self.ids[chosen],
            {name: column[chosen] for name, column in self.properties.items()},
            self.failures if keep_failures else (),
        )

    @classmethod
    def from_crystals(
        cls,
        crystals: Iterable[Crystal],
        properties: Mapping[str, Sequence] | None = None,
        failures: Iterable[Failure] = (),
    ) -> CrystalSet:
        """Join single crystals to a set.

        :param properties: name → one value a crystal
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
            tuple(failures),
        )

    def save(self, target: str | Path | IO[bytes]) -> None:
        """Write ``crystals.npz``, format version 1; the same content gives the same bytes."""
        arrays = {
            'lattices': self.lattices.astype('<f8'),
            'atom_offsets': self.atom_offsets.astype('<i8'),
            'atomic_numbers': self.atomic_numbers.astype('<i2'),
            'fractional_positions': self.fractional_positions.astype('<f8'),
            'ids': self.ids.astype(np.str_),
            'failures': np.array([tuple(item) for item in self.failures], dtype=np.str_).reshape(-1, 3),
        }
        arrays.update({_PROPERTY + name: column for name, column in sorted(self.properties.items())})
        write_npz(target, _KIND, _VERSION, arrays)

    @classmethod
    def load(cls, source: str | Path | IO[bytes]) -> CrystalSet:
        """Read ``crystals.npz``.

        :raises FormatError: not such a file, another version, shapes that do not fit together
        """
        arrays = read_npz(source, _KIND, _VERSION)
        label = str(source) if isinstance(source, str | Path) else 'crystals.npz'
        failures = check_shape(label, 'failures', arrays.pop('failures', None), (None, 3), 'U')
        columns = {
            name.removeprefix(_PROPERTY): arrays.pop(name) for name in list(arrays) if name.startswith(_PROPERTY)
        }
        names = ('lattices', 'atom_offsets', 'atomic_numbers', 'fractional_positions', 'ids')
        for name in names:
            if name not in arrays:
                raise FormatError(f'{label}: array {name!r} is missing')
        try:
            lattices, offsets, numbers, positions, ids = (arrays[name] for name in names)
            failed = tuple(Failure(*map(str, item)) for item in failures)
            return cls(lattices, offsets, numbers, positions, ids, columns, failed)
        except FormatError as error:
            raise FormatError(f'{label}: {error}') from error


def _check(crystals: CrystalSet) -> None:
    label = 'crystals'
    n = len(crystals.ids)
    check_shape(label, 'ids', crystals.ids, (None,), 'U')
    check_shape(label, 'lattices', crystals.lattices, (n, 3, 3), 'f')
    offsets = check_shape(label, 'atom_offsets', crystals.atom_offsets, (n + 1,), 'iu')
    numbers = check_shape(label, 'atomic_numbers', crystals.atomic_numbers, (None,), 'iu')
    check_shape(label, 'fractional_positions', crystals.fractional_positions, (len(numbers), 3), 'f')
    if offsets[0] != 0 or offsets[-1] != len(numbers) or np.any(np.diff(offsets) < 0):
        raise FormatError(f'{label}: atom_offsets must rise from 0 to the number of atoms, {len(numbers)}')
    unique, counts = np.unique(crystals.ids, return_counts=True)
    if len(unique) != n:
        raise FormatError(f'{label}: id {str(unique[counts > 1][0])!r} stands twice; ids must be unique')
    for name, column in crystals.properties.items():
        check_shape(label, f'property {name}', column, (n,), 'fiubU')


def _hash_row(crystal: Crystal) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in (crystal.lattice, crystal.fractional_positions):
        # + 0.0 turns −0.0 into 0.0, so that equal numbers give equal bytes
        digest.update((np.round(np.asarray(array, dtype=np.float64), 8) + 0.0).astype('<f8').tobytes())
    digest.update(crystal.atomic_numbers.astype('<i2').tobytes())
    return digest.hexdigest()
