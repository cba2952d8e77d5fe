"""``goectp.model``: a trained network, its card in the attributes; equal content is stored once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiida.common.exceptions import ValidationError
from aiida.orm import Data, QueryBuilder
from aiida.orm.implementation.utils import clean_value

from aiida_goectp.core.formats.model_card import ModelCard, model_hash, read_card, resolve_model
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.data.table import ContentCaching

__all__ = ('ModelData',)


class ModelData(Data):
    """A model file: safetensors weights with the model card.

    Attributes: ``card`` (all that :class:`.ModelCard` holds) and ``content_hash``, which covers
    architecture and weights, not the prose of the card; caching keys on it.

    Use :meth:`get_or_create`: it returns the node that is there if the same model has been stored before.

    :param path: a model file, or the name of a shipped model
    :raises FormatError: not a model of this package; the message says what it is and what to do
    """

    _CLS_NODE_CACHING = ContentCaching
    _FILE = 'model.safetensors'

    def __init__(self, path: str | Path | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if path is not None:
            source = resolve_model(path)
            card = read_card(source)
            self.base.attributes.set_many({'card': card.model_dump(mode='json'), 'content_hash': model_hash(source)})
            self.base.repository.put_object_from_file(str(source), self._FILE)
            self.label = self.label or card.name[:255]

    @classmethod
    def get_or_create(cls, path: str | Path) -> ModelData:
        """Return the stored node of a model; one is made only if no node with the same content is there.

        :param path: a model file, or the name of a shipped model
        :raises FormatError: not a model of this package
        """
        source = resolve_model(path)
        there = cls.find(model_hash(source))
        return there if there is not None else cls(source).store()

    @classmethod
    def find(cls, content_hash: str) -> ModelData | None:
        """Return the oldest stored node with this content hash, or None."""
        query = QueryBuilder().append(cls, filters={'attributes.content_hash': content_hash})
        query.order_by({cls: {'id': 'asc'}}).limit(1)
        found = query.first(flat=True)
        return found if isinstance(found, ModelData) else None

    @property
    def card(self) -> ModelCard:
        """What a user must know of the model."""
        return ModelCard.model_validate(self.base.attributes.get('card'))

    @property
    def content_hash(self) -> str:
        """Hash of architecture and weights."""
        return str(self.base.attributes.get('content_hash'))

    @property
    def content(self) -> bytes:
        """The bytes of the model file."""
        return bytes(self.base.repository.get_object_content(self._FILE, mode='rb'))

    @contextmanager
    def as_path(self) -> Iterator[Path]:
        """Give the model file on disk as long as the context lasts."""
        with self.base.repository.as_path(self._FILE) as path:
            yield Path(path)

    def _validate(self) -> bool:
        """Compare file and attributes.

        :raises aiida.common.exceptions.ValidationError: no model file, or attributes of another one
        """
        super()._validate()
        if self.base.repository.list_object_names() != [self._FILE]:
            raise ValidationError(f'a model node holds exactly one file, {self._FILE}; give the path when it is made')
        try:
            with self.as_path() as path:
                found = {'card': read_card(path).model_dump(mode='json'), 'content_hash': model_hash(path)}
        except FormatError as error:
            raise ValidationError(f'ModelData: {error}') from error
        for name, value in found.items():
            # AiiDA keeps fourteen digits of a number, from some moment on
            if clean_value(self.base.attributes.get(name, None)) != clean_value(value):
                raise ValidationError(f'ModelData: the attribute {name!r} does not fit the file')
        return True
