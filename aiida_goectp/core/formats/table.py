"""Declarative tables in npz files.

A table is a frozen dataclass that inherits from :class:`Table`. Each field is annotated with the way it is stored:

.. code-block:: python

    @dataclass(frozen=True, eq=False)
    class Scores(Table):
        KIND, VERSION = 'scores', 2

        ids: TextColumn
        score: FloatColumn
        flags: Annotated[np.ndarray, Column('<u4', fill=0, since=2)] = FILLED
        settings: JsonObject = field(default_factory=dict)

The base checks types and shapes when an instance is made, writes the fields in the order of the class body, reads the
files of this version and of all earlier ones, and hashes the content.
"""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Generic, TypeVar, get_type_hints

import numpy as np

from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.npz import (
    BLOCK_ROWS,
    FormatError,
    NpzContext,
    NpzFile,
    check_shape,
    hash_arrays,
    read_versions,
    reading,
    unpacked_limit,
    write_npz,
)

__all__ = (
    'FILLED',
    'Column',
    'ColumnGroup',
    'FloatColumn',
    'JsonObject',
    'Nested',
    'Scalar',
    'Stored',
    'Table',
    'TableFile',
    'Text',
    'TextColumn',
)

FILLED: Any = None
"""default of a field whose column is filled with :attr:`Column.fill` if it is not given"""

_KINDS = {'f': 'f', 'i': 'iu', 'u': 'iu', 'U': 'U'}
"""numpy dtype kinds that are admitted for a column, by the kind of its stored dtype"""

_MAX_JSON = 16 * 2**20
"""bytes of the text of a mapping, four a character; parsed, they may take ten times as much"""

_AnyTable = TypeVar('_AnyTable', bound='Table')


@dataclass(frozen=True, kw_only=True)
class Stored(ABC):
    """How a field is stored in the file of its table."""

    since: int = 1
    """first version of the format that contains the field; in older files it has its default"""
    optional: bool = False
    """whether the field may be ``None``, which is not written"""

    @abstractmethod
    def check(self, label: str, name: str, value: Any, lengths: dict[str, int]) -> Any:
        """Return the value that the table keeps.

        :param label: begins error messages
        :param name: of the field
        :param lengths: lengths of named axes; the first column with an axis sets its length
        :raises FormatError: another type or shape
        """

    @abstractmethod
    def encode(self, name: str, value: Any) -> dict[str, np.ndarray]:
        """Return the arrays of the file."""

    def content(self, name: str, value: Any) -> dict[str, np.ndarray]:
        """Return the arrays that are hashed."""
        return self.encode(name, value)

    def decode(self, name: str, arrays: dict[str, np.ndarray], limit: int) -> Any:
        """Remove the arrays of the field and return its value for :meth:`check`; ``None`` if it is absent.

        :param limit: bytes to which the file may unpack
        :raises FormatError: the arrays cannot be decoded
        """
        return arrays.pop(name, None)


@dataclass(frozen=True)
class Column(Stored):
    """One array."""

    dtype: str | None = None
    """dtype in the file; ``U`` for text; ``None`` keeps the dtype of numbers, booleans and text"""
    shape: tuple[int | str, ...] = ('rows',)
    """length of each axis: a number, or the name of a length that columns share"""
    fill: Any = field(default=None, kw_only=True)
    """value of all elements if no array is given; ``None`` if one must be given"""
    kinds: str = field(default='', kw_only=True)
    """admitted numpy dtype kinds, if more than the dtype suggests"""

    def check(self, label: str, name: str, value: Any, lengths: dict[str, int]) -> np.ndarray:
        """Return the array; whole numbers in a float column become floats."""
        kind = np.dtype(self.dtype).kind if self.dtype else ''
        kinds = self.kinds or _KINDS.get(kind, 'fiubU')
        if value is None and self.fill is not None:
            shape = [lengths[axis] if isinstance(axis, str) else axis for axis in self.shape]
            value = np.full(shape, self.fill, dtype=None if kind == 'U' else self.dtype)
        array = None if value is None else np.asarray(value)
        if array is not None and kind == 'U' and (array.dtype.kind == 'O' or not array.size):
            array = array.astype(np.str_)
        wanted = tuple(lengths.get(axis) if isinstance(axis, str) else axis for axis in self.shape)
        array = check_shape(label, name, array, wanted, kinds)
        for axis, length in zip(self.shape, array.shape, strict=True):
            if isinstance(axis, str):
                lengths.setdefault(axis, length)
        return array.astype(self.dtype) if kind == 'f' and array.dtype.kind != 'f' else array

    def encode(self, name: str, value: Any) -> dict[str, np.ndarray]:
        """Return the array in the dtype of the file."""
        return {name: value if self.dtype is None else value.astype(self.dtype, copy=False)}


@dataclass(frozen=True)
class ColumnGroup(Stored):
    """Named columns of a mapping; each is stored under a common prefix and its name."""

    prefix: str
    column: Column

    def check(self, label: str, name: str, value: Any, lengths: dict[str, int]) -> dict[str, np.ndarray]:
        """Return the mapping with checked columns."""
        return {key: self.column.check(label, self.prefix + key, column, lengths) for key, column in value.items()}

    def encode(self, name: str, value: Any) -> dict[str, np.ndarray]:
        """Return the columns in the order of their names."""
        return {
            stored: array
            for key, column in sorted(value.items())
            for stored, array in self.column.encode(self.prefix + key, column).items()
        }

    def decode(self, name: str, arrays: dict[str, np.ndarray], limit: int) -> dict[str, np.ndarray]:
        """Remove and return all columns with the prefix."""
        names = [stored for stored in arrays if stored.startswith(self.prefix)]
        return {stored.removeprefix(self.prefix): arrays.pop(stored) for stored in names}


@dataclass(frozen=True)
class Scalar(Stored):
    """One text (dtype ``U``), number or boolean."""

    dtype: str

    def check(self, label: str, name: str, value: Any, lengths: dict[str, int]) -> Any:
        """Return a Python object."""
        kind = np.dtype(self.dtype).kind
        array = None if value is None else np.asarray(value)
        return check_shape(label, name, array, (), 'fiu' if kind == 'f' else kind).astype(self.dtype).item()

    def encode(self, name: str, value: Any) -> dict[str, np.ndarray]:
        """Return an array without axes."""
        return {name: np.array(value, dtype=self.dtype)}


@dataclass(frozen=True)
class Json(Stored):
    """A mapping, stored as the text of a JSON object."""

    def check(self, label: str, name: str, value: Any, lengths: dict[str, int]) -> Mapping[str, Any]:
        """Return the mapping."""
        if not isinstance(value, Mapping):
            raise FormatError(f'{label}: {name} must be a JSON object, found {type(value).__name__}')
        return value

    def encode(self, name: str, value: Any) -> dict[str, np.ndarray]:
        """Return the text with sorted keys."""
        return {name: np.array(json.dumps(dict(value), sort_keys=True))}

    def decode(self, name: str, arrays: dict[str, np.ndarray], limit: int) -> Any:
        """Remove and parse the text."""
        if name not in arrays:
            return None
        text = check_shape('JSON', name, arrays.pop(name), (), 'U')
        if text.nbytes > _MAX_JSON:
            raise FormatError(f'{name}: {text.nbytes >> 20} MiB of JSON; {_MAX_JSON >> 20} MiB are allowed')
        return parse_json(str(text), name)


@dataclass(frozen=True)
class Nested(Stored):
    """Another table, stored as the bytes of its own file."""

    table: type[Table]

    def check(self, label: str, name: str, value: Any, lengths: dict[str, int]) -> Table:
        """Return the table."""
        if not isinstance(value, self.table):
            raise FormatError(f'{label}: {name} must be a {self.table.__name__}, found {type(value).__name__}')
        lengths.update(value.axis_lengths)
        return value

    def decode(self, name: str, arrays: dict[str, np.ndarray], limit: int) -> Table | None:
        """Remove the bytes and return the table read from them."""
        if name not in arrays:
            return None
        content = check_shape('nested table', name, arrays.pop(name), (None,), 'u')
        return self.table.load(io.BytesIO(content.tobytes()), limit=limit)

    def encode(self, name: str, value: Any) -> dict[str, np.ndarray]:
        """Return the bytes of the file of the table."""
        buffer = io.BytesIO()
        value.save(buffer)
        return {name: np.frombuffer(buffer.getvalue(), dtype=np.uint8)}

    def content(self, name: str, value: Any) -> dict[str, np.ndarray]:
        """Return the arrays of the table: the hash does not depend on their compression."""
        return {f'{name}/{key}': array for key, array in value.arrays().items()}


TextColumn = Annotated[np.ndarray, Column('U')]
FloatColumn = Annotated[np.ndarray, Column('<f8')]
Text = Annotated[str, Scalar('U')]
JsonObject = Annotated[Mapping[str, Any], Json()]


class Table:
    """Base of all tables; see the module for an example.

    :raises FormatError: a field of another type or shape than declared
    """

    KIND: ClassVar[str]
    """name of the format"""
    VERSION: ClassVar[int] = 1
    """version of the format that is written; all from 1 on are read"""
    IGNORES_UNKNOWN_ARRAYS: ClassVar[bool] = False
    """whether a file may contain arrays that belong to no field"""

    axis_lengths: dict[str, int]
    """length of each named axis"""

    def __post_init__(self) -> None:
        label = self._label()
        lengths: dict[str, int] = {}
        for name, stored in self.stored_fields().items():
            value = getattr(self, name)
            if value is not None or not stored.optional:
                object.__setattr__(self, name, stored.check(label, name, value, lengths))
        object.__setattr__(self, 'axis_lengths', lengths)

    def _label(self) -> str:
        """Return the beginning of error messages about the content."""
        return self.KIND

    @classmethod
    @cache
    def stored_fields(cls) -> dict[str, Stored]:
        """Return how each field is stored, in the order of the file."""
        hints = get_type_hints(cls, include_extras=True)
        return {item.name: hints[item.name].__metadata__[0] for item in fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def columns(cls, axis: str = 'rows') -> tuple[str, ...]:
        """Return the names of the columns whose first axis has the given name."""
        stored = cls.stored_fields().items()
        return tuple(name for name, item in stored if isinstance(item, Column) and item.shape[:1] == (axis,))

    def arrays(self, unpacked: bool = False) -> dict[str, np.ndarray]:
        """Return all arrays of the file, in its order, without the header.

        :param unpacked: nested tables as single arrays instead of the bytes of their files
        """
        arrays: dict[str, np.ndarray] = {}
        for name, stored in self.stored_fields().items():
            if (value := getattr(self, name)) is not None:
                arrays |= stored.content(name, value) if unpacked else stored.encode(name, value)
        return arrays

    @cached_property
    def content_hash(self) -> str:
        """Hash of the content."""
        return hash_arrays(self.arrays(unpacked=True))

    def save(self, target: str | Path | IO[bytes]) -> None:
        """Write the npz file; equal content gives equal bytes.

        :param target: path or binary stream
        """
        write_npz(target, self.KIND, self.VERSION, self.arrays())

    @classmethod
    def load(
        cls: type[_AnyTable], source: str | Path | IO[bytes], *, name: str = '', limit: int | None = None
    ) -> _AnyTable:
        """Read an npz file of this version or an earlier one.

        :param source: path or binary stream
        :param name: of the file in error messages; the path if not given
        :param limit: bytes to which the file may unpack; that of :func:`.unpacked_limit` if not given
        :raises FormatError: another format, a version of the future, an array that is missing or unknown, or arrays
            that do not fit together
        """
        label = name or (str(source) if isinstance(source, str | Path) else f'{cls.KIND}.npz')
        if limit is None:
            try:
                limit = unpacked_limit(source)
            except OSError as error:
                raise FormatError(f'{label}: cannot be read ({error.strerror})') from error
        version, arrays = read_versions(source, cls.KIND, range(1, cls.VERSION + 1), label, limit)
        values: dict[str, Any] = {}
        try:
            for field_name, stored in cls.stored_fields().items():
                value = stored.decode(field_name, arrays, limit)
                if value is not None:
                    values[field_name] = value
                elif stored.since <= version and not stored.optional:
                    raise FormatError(f'array {field_name!r} is missing')
            if arrays and not cls.IGNORES_UNKNOWN_ARRAYS:
                raise FormatError(f'unknown arrays: {", ".join(arrays)}')
            return cls(**values)
        except FormatError as error:
            raise FormatError(f'{label}: {error}') from error


class TableFile(NpzContext, Generic[_AnyTable]):
    """A table on disk whose columns have one axis, read in blocks of rows, as a context.

    Nested tables are left out.

    :param table: class of the table
    :param source: path or seekable binary stream
    :param name: of the file in error messages; the path if not given
    :raises FormatError: as by :meth:`.Table.load`
    """

    def __init__(self, table: type[_AnyTable], source: str | Path | IO[bytes], name: str = '') -> None:
        self.table = table
        self.npz = NpzFile(source, table.KIND, range(1, table.VERSION + 1), name)
        shapes, fields = self.npz.shapes, table.stored_fields()
        self.columns = [name for name, item in fields.items() if isinstance(item, Column) and name in shapes]
        lengths = {shapes[name][0] if shapes[name] else 0 for name in self.columns}
        if len(lengths) != 1:
            raise FormatError(f'{self.npz.label}: columns of different lengths')
        self._length = lengths.pop()
        whole = [name for name, item in fields.items() if not isinstance(item, Column | Nested)]
        arrays = {name: self.npz.array(name) for name in whole if name in shapes}
        self.values: dict[str, Any] = {}
        """fields that are not columns"""
        for name in arrays.copy():
            self.values[name] = fields[name].decode(name, arrays, 0)
        self.nested = [name for name, item in fields.items() if isinstance(item, Nested) and name in shapes]
        """names of the nested tables"""

    def __len__(self) -> int:
        return self._length

    def reader(self) -> Callable[[int], _AnyTable]:
        """Return a function that returns the next rows, as many as it is asked for.

        :raises FormatError: a damaged file, or columns that do not fit together
        """
        readers = {name: self.npz.rows(name) for name in self.columns}

        def following(count: int) -> _AnyTable:
            with reading(self.npz.label, self.npz.kind):
                columns: dict[str, Any] = {name: reader.read(count) for name, reader in readers.items()}
                return self.table(**columns, **self.values)

        return following

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[_AnyTable]:
        """Yield all rows in order, in blocks.

        :param size: rows of a block
        :raises FormatError: a damaged file, or columns that do not fit together
        """
        following = self.reader()
        for first in range(0, len(self), size):
            yield following(min(size, len(self) - first))

    def column(self, name: str, size: int = BLOCK_ROWS) -> Iterator[np.ndarray]:
        """Yield one column in blocks; see :meth:`some_columns`."""
        return (block[name] for block in self.some_columns([name], size))

    def whole(self, name: str) -> np.ndarray:
        """Return one column of all rows.

        :raises FormatError: a damaged file
        """
        return np.concatenate(list(self.column(name)))

    def take(self, rows: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Return name → column of some rows, in the given order, without the checks of the table.

        :param rows: (k,) indices
        :raises FormatError: a damaged file
        """
        found: dict[str, list[np.ndarray]] = {name: [] for name in names}
        order, first = np.argsort(rows, kind='stable'), 0
        ascending = np.asarray(rows, dtype=np.int64)[order]
        for block in self.some_columns(found):
            size = len(next(iter(block.values())))
            inside = slice(*np.searchsorted(ascending, [first, first + size]))
            for name, column in block.items():
                found[name].append(column[ascending[inside] - first])
            first += size
        return {name: np.concatenate(parts)[np.argsort(order)] for name, parts in found.items()}

    def some_columns(self, names: Iterable[str], size: int = BLOCK_ROWS) -> Iterator[dict[str, np.ndarray]]:
        """Yield name → column in blocks, without the checks of the table; without rows, one block of none.

        A column that an older file lacks has the value :attr:`Column.fill`.

        :param size: rows of a block
        :raises FormatError: a damaged file
        """
        fields = self.table.stored_fields()
        readers = {name: self.npz.rows(name) if name in self.columns else None for name in names}
        for first in range(0, max(len(self), 1), size):
            count = min(size, len(self) - first)
            with reading(self.npz.label, self.npz.kind):
                found = {
                    name: fields[name].check(self.npz.label, name, None, {'rows': count})
                    if reader is None
                    else reader.read(count)
                    for name, reader in readers.items()
                }
            yield found
