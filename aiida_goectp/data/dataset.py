"""``goectp.dataset``: crystals with labels, failed gates and fixed splits in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.crystals.elements import symbols_of
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.trained_rows import label_counts
from aiida_goectp.data.table import TableData

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ('DatasetData',)


class DatasetData(TableData):
    """A :class:`~aiida_goectp.core.datasets.dataset.Dataset` as one node, refused rows included.

    Attributes: ``number`` of rows, ``atoms`` (total number), ``failures`` (rows that could not be read), ``trainable``
    rows, ``electronic`` and ``ionic`` (trainable rows with that label), ``force_constants`` (rows with these),
    ``born_charges`` (rows with Born charges), ``functionals`` (number of rows of each), ``splits`` (number of trainable
    rows of each part), ``columns`` (property columns), ``elements`` (symbols), ``content_hash``.

    :param table: the dataset
    """

    _TABLE = Dataset

    @property
    def dataset(self) -> Dataset:
        """Crystals, labels, charges, gates and splits; each tensor in the frame of its crystal."""
        table: Dataset = self._table()
        return table

    def to_dataframe(self, *, components: bool = False) -> DataFrame:
        """Return a pandas data frame, see :meth:`.Dataset.to_dataframe`.

        :param components: add the components of the tensors
        """
        return self.dataset.to_dataframe(components=components)

    @property
    def splits(self) -> dict[str, dict[str, int]]:
        """Number of trainable rows in each part of each split."""
        return dict(self.base.attributes.get('splits', {}))

    @classmethod
    def _summary(cls, table: Dataset) -> dict[str, Any]:
        trainable = table.trainable
        return {
            'number': len(table),
            'atoms': len(table.crystals.atomic_numbers),
            'failures': len(table.crystals.failures),
            'trainable': int(trainable.sum()),
            **label_counts(table),
            'functionals': _counts(table.functional),
            'splits': {
                name: _counts(column[(column != '') & trainable]) for name, column in sorted(table.splits.items())
            },
            'columns': sorted(table.crystals.properties),
            'elements': symbols_of(np.unique(table.crystals.atomic_numbers)),
        }


def _counts(column: np.ndarray) -> dict[str, int]:
    names, counts = np.unique(column, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))
