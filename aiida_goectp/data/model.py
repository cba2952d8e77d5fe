"""``goectp.model``: a trained network with its model card; equal content is stored once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from aiida.common.exceptions import ValidationError
from aiida.orm import Data, QueryBuilder

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.model_card import ModelCard, model_hash, read_card, read_trained_on, resolve_model
from aiida_goectp.data.table import ContentCaching, check_attributes

__all__ = ('ModelData', 'to_model')


class ModelData(Data):
    """A model file: safetensors weights with the model card.

    Attributes: ``card`` (the fields of :class:`.ModelCard`) and ``content_hash``, which covers architecture and weights
    but not the descriptive text of the card; it is the key of caching.

    Use :meth:`get_or_create`: it returns the existing node if the same model has been stored before.

    :param path: a model file, or the name of a shipped model
    :raises FormatError: not a model file of this package
    """

    _CLS_NODE_CACHING = ContentCaching
    FILE = 'model.safetensors'
    """name of the file in the repository"""

    def __init__(self, path: str | Path | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if path is not None:
            source = resolve_model(path)
            card = read_card(source)
            self.base.attributes.set_many({'card': card.model_dump(mode='json'), 'content_hash': model_hash(source)})
            self.base.repository.put_object_from_file(str(source), self.FILE)
            self.label = self.label or card.name[:255]

    @classmethod
    def get_or_create(cls, path: str | Path) -> ModelData:
        """Return the stored node of a model; a new one is stored only if none has the same content.

        :param path: a model file, or the name of a shipped model
        :raises FormatError: not a model of this package
        """
        source = resolve_model(path)
        existing = cls.find(model_hash(source))
        return existing if existing is not None else cls(source).store()

    @classmethod
    def find(cls, content_hash: str) -> ModelData | None:
        """Return the oldest stored node with this content hash, or None."""
        query = QueryBuilder().append(cls, filters={'attributes.content_hash': content_hash})
        query.order_by({cls: {'id': 'asc'}}).limit(1)
        found = query.first(flat=True)
        return found if isinstance(found, ModelData) else None

    @property
    def card(self) -> ModelCard:
        """The model card."""
        return ModelCard.model_validate(self.base.attributes.get('card'))

    @property
    def content_hash(self) -> str:
        """Hash of architecture and weights."""
        return str(self.base.attributes.get('content_hash'))

    @property
    def trained_on(self) -> np.ndarray | None:
        """Fingerprints (k,) of the crystals of the training, see :func:`.read_trained_on`; None if unknown."""
        with self.as_path() as path:
            return read_trained_on(path)

    @property
    def content(self) -> bytes:
        """The bytes of the model file."""
        return bytes(self.base.repository.get_object_content(self.FILE, mode='rb'))

    @contextmanager
    def as_path(self) -> Iterator[Path]:
        """Provide the model file on disk within the context."""
        with self.base.repository.as_path(self.FILE) as path:
            yield Path(path)

    def _validate(self) -> bool:
        """Compare file and attributes.

        :raises aiida.common.exceptions.ValidationError: no model file, or attributes of another model
        """
        super()._validate()
        if self.base.repository.list_object_names() != [self.FILE]:
            raise ValidationError(f'ModelData contains exactly one file, {self.FILE}; pass a path to the constructor')
        try:
            with self.as_path() as path:
                found = {'card': read_card(path).model_dump(mode='json'), 'content_hash': model_hash(path)}
        except FormatError as error:
            raise ValidationError(f'ModelData: {error}') from error
        check_attributes(self, found, self.FILE)
        return True


def to_model(value: ModelData | str | Path) -> ModelData:
    """Return the node of a model; a file or shipped model is stored if it is not stored yet.

    :param value: a node, a model file, or the name of a shipped model
    :raises FormatError: neither a file nor a shipped model, or not a model of this package
    :raises TypeError: a value of another type
    """
    if isinstance(value, ModelData):
        return value
    if isinstance(value, str | Path):
        return ModelData.get_or_create(value)
    raise TypeError(f'{type(value).__name__} is not a model: give a goectp.model node, a file, or a shipped name')
