"""``goectp.ranking``: every crystal with its rank or the reason for its exclusion, in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiida_goectp.core.selection.ranking import Ranking
from aiida_goectp.data.crystals import crystals_of
from aiida_goectp.data.table import TableData

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ('RankingData',)


class RankingData(TableData):
    """A :class:`~aiida_goectp.core.selection.ranking.Ranking` as one node.

    Attributes: ``number`` of rows, ``ranked`` (rows with a rank), ``figure_of_merit``, ``settings`` (filters and the
    hash of the model), ``content_hash``.

    :param table: the ranking
    """

    _TABLE = Ranking

    @property
    def ranking(self) -> Ranking:
        """Scores, ranks and reasons in the order of the crystals."""
        table: Ranking = self._table()
        return table

    def to_dataframe(self) -> DataFrame:
        """Return a pandas data frame, see :meth:`.Ranking.to_dataframe`.

        Formulas and properties are those of the crystals that the process which created this node had as input.
        """
        table = self.ranking
        return table.to_dataframe(crystals_of(self, table.hashes))

    @classmethod
    def _summary(cls, table: Ranking) -> dict[str, Any]:
        return {
            'number': len(table),
            'ranked': table.ranked_count,
            'figure_of_merit': table.figure_of_merit,
            'settings': dict(table.settings),
        }
