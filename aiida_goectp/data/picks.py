"""``goectp.picks``: the crystals that are computed next, and the reason for each row, in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiida_goectp.core.selection.picks import Picks
from aiida_goectp.data.crystals import crystals_of
from aiida_goectp.data.table import TableData

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ('PicksData',)


class PicksData(TableData):
    """A :class:`~aiida_goectp.core.selection.picks.Picks` as one node.

    Attributes: ``number`` of rows, ``picked`` (size of the batch), ``candidates``, ``figure_of_merit``, ``settings``
    (all settings, the hash of the model and the round), ``content_hash``.

    :param table: the picks
    """

    _TABLE = Picks

    @property
    def picks(self) -> Picks:
        """Scores, places and reasons in the order of the crystals."""
        table: Picks = self._table()
        return table

    def to_dataframe(self) -> DataFrame:
        """Return a pandas data frame, see :meth:`.Picks.to_dataframe`.

        Formulas and properties are those of the crystals that the process which created this node had as input.
        """
        table = self.picks
        return table.to_dataframe(crystals_of(self, table.hashes))

    @classmethod
    def _summary(cls, table: Picks) -> dict[str, Any]:
        return {
            'number': len(table),
            'picked': len(table.rows),
            'candidates': table.candidates,
            'figure_of_merit': table.figure_of_merit,
            'settings': dict(table.settings),
        }
