"""``goectp.ranking``: every crystal with its place, or with the reason why it has none, in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiida_goectp.data.table import TableData

if TYPE_CHECKING:
    from aiida_goectp.core.selection.ranking import Ranking

__all__ = ('RankingData',)


class RankingData(TableData):
    """A :class:`~aiida_goectp.core.selection.ranking.Ranking` as one node.

    Attributes: ``number`` of rows, ``ranked`` (how many are in), ``figure_of_merit``, ``settings`` (filters and the
    hash of the model), ``content_hash``.

    :param table: the ranking
    """

    _FILE = 'ranking.npz'
    _KIND = 'ranking'
    _VERSION = 2

    @property
    def ranking(self) -> Ranking:
        """Scores, ranks and reasons, in the order of the crystals."""
        table: Ranking = self._read()
        return table

    @classmethod
    def _load(cls, stream: Any) -> Ranking:
        from aiida_goectp.core.selection.ranking import Ranking

        return Ranking.load(stream)

    @classmethod
    def _summary(cls, table: Ranking) -> dict[str, Any]:
        return {
            'number': len(table),
            'ranked': table.ranked_count,
            'figure_of_merit': table.figure_of_merit,
            'settings': dict(table.settings),
        }
