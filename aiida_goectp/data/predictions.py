"""``goectp.predictions``: predicted dielectric tensors of many crystals in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.data.crystals import crystals_of
from aiida_goectp.data.table import TableData

if TYPE_CHECKING:
    from pandas import DataFrame

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

    def to_dataframe(self, *, components: bool = False) -> DataFrame:
        """Return a pandas data frame, see :meth:`.Predictions.to_dataframe`.

        Formulas and properties are those of the crystals that the process which created this node had as input.

        :param components: add the components of the tensors
        """
        table = self.predictions
        return table.to_dataframe(crystals_of(self, table.hashes), components=components)

    @classmethod
    def _summary(cls, table: Predictions) -> dict[str, Any]:
        return {
            'number': len(table),
            'failed': int(table.failed.sum()),
            'model_hash': table.model_hash,
            'settings': dict(table.settings),
        }
