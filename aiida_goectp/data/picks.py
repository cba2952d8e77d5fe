"""``goectp.picks``: which crystals are computed next, and of each crystal the reason, in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiida_goectp.data.table import TableData

if TYPE_CHECKING:
    from aiida_goectp.core.selection.picks import Picks

__all__ = ('PicksData',)


class PicksData(TableData):
    """A :class:`~aiida_goectp.core.selection.picks.Picks` as one node.

    Attributes: ``number`` of rows, ``picked`` (how many are in the batch), ``candidates``, ``figure_of_merit``,
    ``settings`` (all that decided, with the hash of the model and the round), ``content_hash``.

    :param table: the picks
    """

    _FILE = 'picks.npz'
    _KIND = 'picks'

    @property
    def picks(self) -> Picks:
        """Scores, places and reasons, in the order of the crystals."""
        table: Picks = self._read()
        return table

    @classmethod
    def _load(cls, stream: Any) -> Picks:
        from aiida_goectp.core.selection.picks import Picks

        return Picks.load(stream)

    @classmethod
    def _summary(cls, table: Picks) -> dict[str, Any]:
        return {
            'number': len(table),
            'picked': len(table.rows),
            'candidates': table.candidates,
            'figure_of_merit': table.figure_of_merit,
            'settings': dict(table.settings),
        }
