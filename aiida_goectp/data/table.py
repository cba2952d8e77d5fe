"""Base of the columnar nodes: one versioned npz file in the repository, its summary in the attributes."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, Any, ClassVar, TypeVar

from aiida.common.exceptions import ValidationError
from aiida.orm import Data
from aiida.orm.implementation.utils import clean_value
from aiida.orm.nodes.caching import NodeCaching

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.table import Table, TableFile

__all__ = ('ContentCaching', 'TableData', 'check_attributes')

_AnyData = TypeVar('_AnyData', bound='TableData')


class ContentCaching(NodeCaching):
    """Caching by content: file names, the summary and the compression do not count."""

    def get_objects_to_hash(self) -> dict[str, Any]:
        """Return the class and the content hash."""
        return {'class': str(self._node.__class__), 'content': self._node.base.attributes.get('content_hash', None)}


class TableData(Data):
    """A table of the library in one npz file.

    Only the summary is stored in the database: a node of 10⁵ rows is as cheap there as one of ten.

    :param table: the table to store
    """

    _CLS_NODE_CACHING = ContentCaching
    _TABLE: ClassVar[type[Table]]
    """class of the table"""
    FILE: ClassVar[str]
    """name of the file in the repository"""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.FILE = f'{cls._TABLE.KIND}.npz'

    def __init__(self, table: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if table is not None:
            with TemporaryFile() as stream:
                table.save(stream)
                self._fill(stream, {**self._summary(table), 'content_hash': table.content_hash})

    @classmethod
    def from_file(cls: type[_AnyData], stream: IO[bytes], attributes: dict[str, Any]) -> _AnyData:
        """Return an unstored node of a file that was written by this package in this process, which is not read again.

        :param stream: the file
        :param attributes: those that a node of its table has
        """
        node = cls()
        node._fill(stream, attributes)
        return node

    def _fill(self, stream: IO[bytes], attributes: dict[str, Any]) -> None:
        stream.seek(0)
        self.base.repository.put_object_from_filelike(stream, self.FILE)  # type: ignore[arg-type]
        self.base.attributes.set_many(attributes)
        self.__dict__['_written'] = self.base.repository.get_object(self.FILE).key, attributes

    def __len__(self) -> int:
        return int(self.base.attributes.get('number', 0))

    def __bool__(self) -> bool:
        return True  # otherwise a node without rows would be false

    @classmethod
    def wrap(cls: type[_AnyData], value: Any) -> _AnyData:
        """Return an unstored node of a table; a node is returned as it is.

        :raises TypeError: neither a node of this type nor its table
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, cls._TABLE):
            return cls(value)
        raise TypeError(f'{type(value).__name__}: give a {cls.__name__} node or a {cls._TABLE.__name__}')

    @property
    def content_hash(self) -> str:
        """Content hash of the table."""
        return str(self.base.attributes.get('content_hash'))

    @property
    def content(self) -> bytes:
        """The bytes of the npz file."""
        return bytes(self.base.repository.get_object_content(self.FILE, mode='rb'))

    @contextmanager
    def open_file(self) -> Iterator[IO[bytes]]:
        """Open the npz file as a seekable binary stream, to read parts of it; see :class:`.TableFile`."""
        with self.base.repository.open(self.FILE, 'rb') as stream:
            if hasattr(stream, 'raw'):  # a file of its own
                yield stream
                return
            with TemporaryFile() as copy:  # of a pack, where reading backwards may be slow
                shutil.copyfileobj(stream, copy)
                copy.seek(0)
                yield copy

    @contextmanager
    def open_rows(self) -> Iterator[Any]:
        """Open the table as :class:`.TableFile`, to read it in blocks as the memory for all is large."""
        with self.open_file() as stream, TableFile(self._TABLE, stream) as rows:
            yield rows

    @classmethod
    @abstractmethod
    def _summary(cls, table: Any) -> dict[str, Any]:
        """Return the attributes of a table; at least the ``number`` of rows."""

    def _table(self) -> Any:
        """Return the table; a stored node, which cannot change, reads it once."""
        cached = self.__dict__.get('_cached_table')
        if cached is None:
            with self.open_file() as stream:
                cached = self._TABLE.load(stream)
            if self.is_stored:
                self.__dict__['_cached_table'] = cached
        return cached

    def _validate(self) -> bool:
        """Read the file and compare it with the attributes; one that the constructor has written is not read again.

        :raises aiida.common.exceptions.ValidationError: no file, another format, or attributes of another table
        """
        super()._validate()
        name = type(self).__name__
        if self.base.repository.list_object_names() != [self.FILE]:
            raise ValidationError(f'{name} contains exactly one file, {self.FILE}; pass a table to the constructor')
        key, expected = self.__dict__.get('_written', (None, {}))
        if key is not None and key == self.base.repository.get_object(self.FILE).key:
            check_attributes(self, expected, self.FILE)
            return True
        try:
            with self.open_file() as stream:
                table = self._TABLE.load(stream)
        except FormatError as error:
            raise ValidationError(f'{name}: {error}') from error
        check_attributes(self, {**self._summary(table), 'content_hash': table.content_hash}, self.FILE)
        return True


def check_attributes(node: Data, expected: dict[str, Any], file: str) -> None:
    """Compare the attributes of a node with those that belong to its file.

    :param expected: name → value
    :raises aiida.common.exceptions.ValidationError: an attribute differs
    """
    for name, value in expected.items():
        # AiiDA keeps fourteen digits of a number once it is stored
        if clean_value(node.base.attributes.get(name, None)) != clean_value(value):
            raise ValidationError(f'{type(node).__name__}: the attribute {name!r} does not match the file {file}')
