"""``PreparedCrystals``: the preparation of many crystals, kept for later predictions, and its file ``prepared.npz``.

Kept is what takes long and depends on no model: validity, symmetry, primitive cell, frames and projectors, about half a
kilobyte a crystal in the file. Neighbours are found again, which takes a small part of the time, while they would take
ten times the space. One file serves all presets but ``published``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np

from aiida_goectp.core.crystals.compiled.software import changes
from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet
from aiida_goectp.core.crystals.validation import FLATTEST, MAX_LENGTH, MIN_DISTANCE, CrystalError, check_crystal
from aiida_goectp.core.dielectric.predictions import OUT_OF_MEMORY
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.npz import Blocks, NpzContext, NpzFile, check_shape, hash_arrays, reading, write_npz
from aiida_goectp.core.formats.ragged import ranges
from aiida_goectp.core.formats.table import Column, JsonObject, Table, Text, TextColumn
from aiida_goectp.core.network.elements import HEAVIEST
from aiida_goectp.core.network.preparation import PRESETS, PreparedCrystal, for_preset

__all__ = (
    'PREPARATION',
    'PreparedCrystals',
    'PreparedFile',
    'crystals_hash',
    'preparation_error',
    'preparation_settings',
    'prepare_rows',
    'validation_error',
    'write_prepared',
)

PREPARATION = 2
"""number of the preparation, to be increased by each change that gives other numbers for any crystal"""
MAX_ATOMS = 20_000
"""in the cell of one crystal; the search of its symmetry takes minutes beyond"""
MAX_ERROR = 250
"""characters of the reason of a failed row: each row of a table takes the space of the longest one"""
_PROGRAMS = ('moyopy', 'numba', 'numpy')
"""packages whose version may change the last digits"""
_RAGGED = {
    'atom_offsets': ('numbers', 'positions'),
    'frame_offsets': ('frames', 'rotations'),
    'given_offsets': ('primitive_atom',),
}
"""offsets → columns that they divide"""
_PLAIN = ('errors', 'lattices', 'projectors', 'symmetry_known', 'vacuum')
"""columns with one row a crystal"""


def preparation_settings() -> dict[str, Any]:
    """Return number and versions that determine the preparation, as they stand in a file."""
    return {'preparation': PREPARATION, **{name: version(name) for name in _PROGRAMS}}


def crystals_hash(crystals: CrystalSet) -> str:
    """Return a hash of all digits of the crystals, without ids and properties."""
    names = ('lattices', 'atom_offsets', 'atomic_numbers', 'fractional_positions')
    stored = crystals.arrays()
    return hash_arrays({name: stored[name] for name in names})


@dataclass(frozen=True, eq=False)
class PreparedCrystals(Table):
    """Many crystals as preset ``goectp`` prepares them: n crystals, N atoms in primitive cells, F frames.

    :param errors: (n,) reason of a row without preparation, else empty; such a row has no atoms and no frames
    :param lattices: (n, 3, 3) Å; this and the further columns are the fields of :class:`.PreparedCrystal`
    :param atom_offsets: (n + 1,) atoms of each primitive cell
    :param numbers: (N,)
    :param positions: (N, 3)
    :param frame_offsets: (n + 1,) frames of each crystal
    :param frames: (F, 3, 3) Å
    :param rotations: (F, 3, 3)
    :param projectors: (n, 2, 9, 9)
    :param symmetry_known: (n,)
    :param vacuum: (n, 4)
    :param given_offsets: (n + 1,) atoms of each crystal as given
    :param primitive_atom: index within the primitive cell of each atom of the crystals as given
    :param crystals: :func:`crystals_hash` of the whole set
    :param settings: :func:`preparation_settings`
    :raises FormatError: arrays that do not fit together
    """

    KIND = 'prepared'

    errors: TextColumn
    lattices: Annotated[np.ndarray, Column('<f8', ('rows', 3, 3))]
    atom_offsets: Annotated[np.ndarray, Column('<i8', ('offsets',))]
    numbers: Annotated[np.ndarray, Column('<i2', ('atoms',))]
    positions: Annotated[np.ndarray, Column('<f8', ('atoms', 3))]
    frame_offsets: Annotated[np.ndarray, Column('<i8', ('offsets',))]
    frames: Annotated[np.ndarray, Column('<f8', ('frames', 3, 3))]
    rotations: Annotated[np.ndarray, Column('<f8', ('frames', 3, 3))]
    projectors: Annotated[np.ndarray, Column('<f8', ('rows', 2, 9, 9))]
    symmetry_known: Annotated[np.ndarray, Column('?', kinds='b')]
    vacuum: Annotated[np.ndarray, Column('<f8', ('rows', 4))]
    given_offsets: Annotated[np.ndarray, Column('<i8', ('offsets',))]
    primitive_atom: Annotated[np.ndarray, Column('<i4', ('given',))]
    crystals: Text = ''
    settings: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, columns in _RAGGED.items():
            _check_offsets(self.KIND, name, getattr(self, name), len(self), len(getattr(self, columns[0])))
        atoms, frames = (np.diff(offsets) for offsets in (self.atom_offsets, self.frame_offsets))
        good = self.errors == ''
        if ((atoms > 0) != good).any() or ((frames > 0) != good).any():
            raise FormatError('prepared: a row has atoms and frames if and only if it has no error')

    def __len__(self) -> int:
        return len(self.lattices)

    @classmethod
    def from_rows(cls, rows: Sequence[PreparedCrystal | None], errors: Sequence[str]) -> PreparedCrystals:
        """Return a table.

        :param rows: None where a row has an error
        :param errors: empty for a good row
        """
        items = [_NOTHING if row is None else row for row in rows]

        def joined(name: str, *shape: int) -> np.ndarray:
            return np.concatenate([np.zeros((0, *shape)), *(getattr(item, name) for item in items)])

        return cls(
            np.array(errors, dtype=np.str_).reshape(-1),
            np.array([item.lattice for item in items]).reshape(-1, 3, 3),
            _offsets([len(item.numbers) for item in items]),
            joined('numbers').astype(np.int16),
            joined('positions', 3),
            _offsets([len(item.frames) for item in items]),
            joined('frames', 3, 3),
            joined('rotations', 3, 3),
            np.array([item.projectors for item in items]).reshape(-1, 2, 9, 9),
            np.array([item.symmetry_known for item in items], dtype=bool),
            np.array([item.vacuum for item in items]).reshape(-1, 4),
            _offsets([len(item.primitive_atom) for item in items]),
            joined('primitive_atom').astype(np.int32),
        )

    def for_preset(self, preset: str) -> list[PreparedCrystal]:
        """Return the rows without error as a preset prepares them; see :func:`.preparation.for_preset`."""
        return [for_preset(self._row(row), preset) for row in np.flatnonzero(self.errors == '').tolist()]

    def _row(self, row: int) -> PreparedCrystal:
        atoms, frames, given = (
            slice(offsets[row], offsets[row + 1])
            for offsets in (self.atom_offsets, self.frame_offsets, self.given_offsets)
        )
        return PreparedCrystal(
            self.lattices[row],
            self.numbers[atoms],
            self.positions[atoms],
            self.frames[frames],
            self.rotations[frames],
            self.projectors[row],
            bool(self.symmetry_known[row]),
            self.vacuum[row],
            self.primitive_atom[given],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[PreparedCrystals]) -> PreparedCrystals:
        """Return the rows of one or more parts in order, without hash and settings."""
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (*_PLAIN, *(name for names in _RAGGED.values() for name in names))
        }
        for name in _RAGGED:
            columns[name] = _offsets(np.concatenate([np.diff(getattr(part, name)) for part in parts]))
        return cls(**columns)

    def take(self, rows: np.ndarray) -> PreparedCrystals:
        """Return the given rows in the given order, without hash and settings."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in _PLAIN}
        for offsets, names in _RAGGED.items():
            elements, columns[offsets] = ranges(getattr(self, offsets), rows)
            columns |= {name: getattr(self, name)[elements] for name in names}
        return PreparedCrystals(**columns)


_NOTHING = PreparedCrystal(
    np.zeros((3, 3)),
    np.zeros(0, np.int16),
    np.zeros((0, 3)),
    np.zeros((0, 3, 3)),
    np.zeros((0, 3, 3)),
    np.zeros((2, 9, 9)),
    False,
    np.zeros(4),
    np.zeros(0, np.int32),
)
"""row with an error"""


def _offsets(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _check_offsets(label: str, name: str, offsets: np.ndarray, rows: int, elements: int) -> None:
    if len(offsets) != rows + 1 or offsets[0] != 0 or offsets[-1] != elements or np.any(np.diff(offsets) < 0):
        raise FormatError(f'{label}: {name} must be {rows + 1} numbers that rise from 0 to {elements}')


def _check_values(table: PreparedCrystals) -> None:
    """Check the numbers of a file on which the construction of graphs relies.

    :raises FormatError: a lattice that is no cell for its atoms, an unknown element or atom, or NaN
    """
    for name in ('positions', 'frames', 'rotations', 'projectors', 'vacuum'):
        if not np.isfinite(getattr(table, name)).all():
            raise FormatError(f'{name} contains NaN or infinity')
    good, atoms, numbers = table.errors == '', np.diff(table.atom_offsets), table.numbers
    lattices = table.lattices[good]
    with np.errstate(over='ignore', invalid='ignore'):
        lengths, volumes = np.linalg.norm(lattices, axis=2), np.abs(np.linalg.det(lattices))
        smallest = np.maximum(FLATTEST * lengths.prod(axis=1), atoms[good] * MIN_DISTANCE**3 / 2)
        bad = ~((volumes > smallest) & (lengths < 10 * MAX_LENGTH).all(axis=1))
    if bad.any():
        raise FormatError(f'no cell of {atoms[good][bad][0]} atoms: {lattices[bad][0].tolist()}')
    if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= HEAVIEST:
        raise FormatError(f'atomic numbers {numbers.min()} to {numbers.max()}; allowed: 1 to {HEAVIEST}')
    beyond = np.repeat(atoms, np.diff(table.given_offsets))
    if ((table.primitive_atom < 0) | (table.primitive_atom >= beyond)).any():
        raise FormatError('primitive_atom refers to an atom beyond the primitive cell')


def validation_error(crystal: Crystal) -> str:
    """Return the reason why a crystal cannot be predicted by any model, ``code: message``; empty if it can."""
    if len(crystal.atomic_numbers) > MAX_ATOMS:
        return f'too_large: {len(crystal.atomic_numbers)} atoms in the cell; {MAX_ATOMS} can be predicted'
    failure = check_crystal(crystal)
    if failure is not None:
        return f'{failure.code}: {failure.message}'
    if crystal.atomic_numbers.max() > HEAVIEST:
        return (
            f'unknown_element: atomic number {crystal.atomic_numbers.max()}; the network has elements up to {HEAVIEST}'
        )
    return ''


def preparation_error(error: Exception) -> str:
    """Return the reason of a row whose preparation raised an error, of at most :data:`MAX_ERROR` characters."""
    if isinstance(error, MemoryError):
        return f'{OUT_OF_MEMORY}: no graph could be built'
    if isinstance(error, CrystalError):
        text = f'{error.code}: {error}'
    else:
        text = f'no graph could be built: {type(error).__name__}: {error}'
    return text if len(text) <= MAX_ERROR else f'{text[: MAX_ERROR - 1]}…'


def prepare_rows(crystals: CrystalSet) -> PreparedCrystals:
    """Return the preparation of some crystals, without hash and settings.

    :raises MemoryError: there is not enough memory
    """
    rows: list[PreparedCrystal | None] = []
    errors = []
    for crystal in crystals:
        error, row = validation_error(crystal), None
        if not error:
            try:
                row = PRESETS['goectp'](crystal)
            except MemoryError:
                raise  # of the machine, not of the crystal: it must not be kept
            except Exception as failure:
                error = preparation_error(failure)
        rows.append(row)
        errors.append(error)
    return PreparedCrystals.from_rows(rows, errors)


def write_prepared(target: str | Path, pieces: Sequence[bytes], crystals: str) -> None:
    """Write ``prepared.npz``, column by column.

    :param pieces: files of consecutive rows, as :meth:`.Table.save` writes them
    :param crystals: :func:`crystals_hash` of the set
    """

    def parts(name: str) -> Iterator[np.ndarray]:
        return (np.load(io.BytesIO(piece), allow_pickle=False)[name] for piece in pieces)

    nothing = PreparedCrystals.from_rows([], [])
    offsets = {name: _offsets(np.concatenate([[], *map(np.diff, parts(name))])) for name in _RAGGED}
    lengths = {column: int(offsets[name][-1]) for name, columns in _RAGGED.items() for column in columns}
    rows = len(offsets['atom_offsets']) - 1
    errors = np.concatenate([nothing.errors, *parts('errors')])
    arrays: dict[str, np.ndarray | Blocks] = {}
    for name, empty in nothing.arrays().items():
        if name in offsets:
            arrays[name] = offsets[name]
        elif name in ('errors', 'crystals', 'settings'):
            value = {'errors': errors, 'crystals': crystals, 'settings': preparation_settings()}[name]
            arrays |= PreparedCrystals.stored_fields()[name].encode(name, value)
        else:
            shape = (lengths.get(name, rows), *empty.shape[1:])
            arrays[name] = Blocks(empty.dtype, shape, partial(parts, name))
    write_npz(target, PreparedCrystals.KIND, PreparedCrystals.VERSION, arrays)


class PreparedFile(NpzContext):
    """A ``prepared.npz`` that is read in row order, as a context.

    :param source: path or seekable binary stream
    :param crystals: the crystals that are to be predicted
    :param preset: of the model
    :param name: of the file in error messages; the path if not given
    :raises FormatError: not such a file, one of other crystals or of another preparation, or a preset without
        preparation
    """

    def __init__(self, source: str | Path | IO[bytes], crystals: CrystalSet, preset: str, name: str = '') -> None:
        table = PreparedCrystals
        self.npz = NpzFile(source, table.KIND, range(1, table.VERSION + 1), name)
        self.label = self.npz.label
        fields = table.stored_fields()
        found = {item: self.npz.array(item) for item in ('crystals', 'settings')}
        with reading(self.label, table.KIND):
            kept = fields['settings'].decode('settings', found, 0)
            whole = fields['crystals'].check(table.KIND, 'crystals', found['crystals'], {})
        self._offsets = {
            item: check_shape(self.label, item, self.npz.array(item), (None,), 'iu').astype(np.int64)
            for item in _RAGGED
        }
        for item, columns in _RAGGED.items():
            elements = self.npz.shapes.get(columns[0], (0,))[0]
            _check_offsets(self.label, item, self._offsets[item], len(self), elements)
        self._check(crystals, preset, whole, kept)

    def _check(self, crystals: CrystalSet, preset: str, whole: str, kept: dict[str, Any]) -> None:
        if preset == 'published':
            raise FormatError(
                f'{self.label}: a model of preset published takes crystals as they are given; predict without the file'
            )
        own = preparation_settings()
        if changed := changes(kept, own):
            raise FormatError(f'{self.label}: prepared by {changed}; run `goectp prepare` again')
        if len(self) != len(crystals) or whole != crystals_hash(crystals):
            raise FormatError(
                f'{self.label}: prepared from other crystals, {len(self)} of them; these are {len(crystals)}; run '
                '`goectp prepare` on them'
            )

    def __len__(self) -> int:
        return len(self._offsets['atom_offsets']) - 1

    def reader(self, start: int = 0) -> Callable[[int], PreparedCrystals]:
        """Return a function that returns the next rows, as many as it is asked for.

        :param start: first row
        :raises FormatError: a damaged file
        """
        plain = {name: self.npz.rows(name) for name in _PLAIN}
        ragged = {name: self.npz.rows(name) for names in _RAGGED.values() for name in names}
        place = start
        with reading(self.label, PreparedCrystals.KIND):
            for column in plain.values():
                column.skip(start)
            for offsets, names in _RAGGED.items():
                for name in names:
                    ragged[name].skip(int(self._offsets[offsets][start]))

        def following(count: int) -> PreparedCrystals:
            nonlocal place
            with reading(self.label, PreparedCrystals.KIND):
                columns: dict[str, Any] = {name: column.read(count) for name, column in plain.items()}
                for name, names in _RAGGED.items():
                    offsets = self._offsets[name][place : place + count + 1]
                    columns[name] = offsets - offsets[0]
                    columns |= {column: ragged[column].read(int(offsets[-1] - offsets[0])) for column in names}
                place += count
                table = PreparedCrystals(**columns)
                _check_values(table)
                return table

        return following
