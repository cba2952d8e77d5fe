"""The base of the columnar nodes: one versioned npz file in the repository, its summary in the attributes."""

from __future__ import annotations

import io
from abc import abstractmethod
from typing import Any, ClassVar

from aiida.common.exceptions import ValidationError
from aiida.orm import Data
from aiida.orm.implementation.utils import clean_value
from aiida.orm.nodes.caching import NodeCaching

from aiida_goectp.core.formats.npz import FormatError, hash_arrays, read_npz

__all__ = ('ContentCaching', 'TableData')


class ContentCaching(NodeCaching):
    """Let caching compare what a node holds: neither file names nor the summary nor the compression."""

    def get_objects_to_hash(self) -> dict[str, Any]:
        """Return the class and the content hash."""
        return {'class': str(self._node.__class__), 'content': self._node.base.attributes.get('content_hash', None)}


class TableData(Data):
    """A table in one npz file; see the subclasses.

    Nothing but the summary stands in the database, so that a node of 10⁵ rows is as cheap there as one of ten.

    :param table: the object of the ground floor to store
    """

    _CLS_NODE_CACHING = ContentCaching
    _FILE: ClassVar[str]
    _KIND: ClassVar[str]
    _VERSION: ClassVar[int] = 1

    def __init__(self, table: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if table is not None:
            self._write(table)

    def __len__(self) -> int:
        return int(self.base.attributes.get('number', 0))

    def __bool__(self) -> bool:
        return True  # a node without rows is still a node

    @property
    def content_hash(self) -> str:
        """Hash of all that the table holds."""
        return str(self.base.attributes.get('content_hash'))

    @property
    def content(self) -> bytes:
        """The bytes of the npz file."""
        return bytes(self.base.repository.get_object_content(self._FILE, mode='rb'))

    @classmethod
    @abstractmethod
    def _load(cls, stream: Any) -> Any:
        """Return the object of the ground floor read from a binary stream."""

    @classmethod
    @abstractmethod
    def _summary(cls, table: Any) -> dict[str, Any]:
        """Return what the attributes say of a table; ``number`` of rows at least."""

    def _write(self, table: Any) -> None:
        buffer = io.BytesIO()
        table.save(buffer)
        self.base.repository.put_object_from_bytes(buffer.getvalue(), self._FILE)
        self.base.attributes.set_many(self._summary(table))
        self.base.attributes.set('content_hash', self._hash(buffer))

    def _read(self) -> Any:
        """Return the table; it is read once for each loaded node that is stored, and so cannot change."""
        cached = self.__dict__.get('_table')
        if cached is None:
            cached = self._load(io.BytesIO(self.content))
            if self.is_stored:
                self.__dict__['_table'] = cached
        return cached

    @classmethod
    def _hash(cls, stream: io.BytesIO) -> str:
        stream.seek(0)
        return hash_arrays(read_npz(stream, cls._KIND, cls._VERSION))

    def _validate(self) -> bool:
        """Read the file as anybody would and compare it with the summary.

        :raises aiida.common.exceptions.ValidationError: no file, another format, or a summary of something else
        """
        super()._validate()
        name = type(self).__name__
        if self.base.repository.list_object_names() != [self._FILE]:
            raise ValidationError(f'{name} holds exactly one file, {self._FILE}; pass the table when it is made')
        try:
            stream = io.BytesIO(self.content)
            summary = self._summary(self._load(stream))
            content_hash = self._hash(stream)
        except FormatError as error:
            raise ValidationError(f'{name}: {error}') from error
        for key, value in {**summary, 'content_hash': content_hash}.items():
            # AiiDA keeps fourteen digits of a number, from some moment on
            if clean_value(self.base.attributes.get(key, None)) != clean_value(value):
                raise ValidationError(f'{name}: the attribute {key!r} does not fit the file {self._FILE}')
        return True
