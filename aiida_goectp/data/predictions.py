"""``goectp.predictions``: predicted dielectric tensors of many crystals in one node."""

from __future__ import annotations

from typing import Any

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.data.table import TableData

__all__ = ('PredictionsData',)


class PredictionsData(TableData):
    """A :class:`~aiida_goectp.core.dielectric.predictions.Predictions` as one node, failed rows included.

    Attributes: ``number`` of rows, ``failed`` rows, ``model_hash``, ``settings`` (device, precision, versions),
    ``content_hash``.

    :param table: the predictions
    """

    _TABLE = Predictions

    @property
    def predictions(self) -> Predictions:
        """Tensors with standard deviations, flags and errors; each in the frame of its crystal."""
        table: Predictions = self._table()
        return table

    @property
    def model_hash(self) -> str:
        """Content hash of the model."""
        return str(self.base.attributes.get('model_hash'))

    @classmethod
    def _summary(cls, table: Predictions) -> dict[str, Any]:
        return {
            'number': len(table),
            'failed': int(table.failed.sum()),
            'model_hash': table.model_hash,
            'settings': dict(table.settings),
        }
