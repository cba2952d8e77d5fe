"""Picks of a round, and their file ``picks.npz``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.formats.dataframe import make_frame
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.table import FILLED, Column, FloatColumn, JsonObject, Table, Text, TextColumn
from aiida_goectp.core.selection.reasons import count_reasons

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ('Picks',)

_Places = Annotated[np.ndarray, Column('<i8')]


@dataclass(frozen=True, eq=False)
class Picks(Table):
    """Picks of a round: a row for each crystal in the order of the crystal set, then one for each import failure.

    :param ids: (n,) as in the crystal set
    :param hashes: (n,) content hashes; empty for an import failure
    :param mean: (n,) predicted figure of merit, NaN for a row that is excluded from the ranking
    :param std: (n,) its standard deviation, NaN if unknown
    :param score: (n,) acquisition score, NaN for a row that is not a candidate
    :param stability: (n,) predicted probability that the crystal has no negative optical mode at Γ, NaN if unknown
    :param place: (n,) 1 for the candidate with the highest score, 0 for a row that is not a candidate
    :param pick: (n,) 1 for the first pick of the batch, 0 for a row that is not picked
    :param reason: (n,) why the row is picked or not, see :mod:`aiida_goectp.core.selection.reasons`
    :param figure_of_merit: name in :data:`aiida_goectp.core.selection.merit.FIGURES_OF_MERIT`
    :param settings: pick settings, content hash of the model and number of the round, plain JSON
    """

    KIND, VERSION = 'picks', 2

    ids: TextColumn
    hashes: TextColumn
    reason: TextColumn
    mean: FloatColumn
    std: FloatColumn
    score: FloatColumn
    stability: Annotated[np.ndarray, Column('<f8', fill=np.nan, since=2)] = field(default=FILLED, kw_only=True)
    place: _Places
    pick: _Places
    figure_of_merit: Text
    settings: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ('place', 'pick'):
            column = getattr(self, name)
            used = np.sort(column[column != 0])
            if not np.array_equal(used, np.arange(1, len(used) + 1)):
                raise FormatError(f'picks: {name} must be 1 to {len(used)} without gaps, and 0 for other rows')
        if ((self.pick > 0) & (self.place == 0)).any():
            row = int(np.argmax((self.pick > 0) & (self.place == 0)))
            raise FormatError(f'picks: row {row} ({self.ids[row]}) is picked, but is not a candidate')
        if (self.reason == '').any():
            raise FormatError(f'picks: row {int(np.argmax(self.reason == ""))} has no reason')

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> np.ndarray:
        """Rows of the crystal set that are picked, first pick first."""
        picked = np.flatnonzero(self.pick)
        return picked[np.argsort(self.pick[picked], kind='stable')]

    @property
    def candidates(self) -> int:
        """Number of candidates, picked or not."""
        return int(np.count_nonzero(self.place))

    def best(self, kappa: float = 0.0) -> float | None:
        """Return the highest μ + κσ of all candidates, with σ = 0 if unknown; None without candidates."""
        rows = self.place > 0
        return float((self.mean[rows] + kappa * np.nan_to_num(self.std[rows])).max()) if rows.any() else None

    def to_dataframe(self, crystals: CrystalSet | None = None) -> DataFrame:
        """Return a pandas data frame with the index ``id``: picks in order, other candidates by score, then the others.

        Columns: ``pick`` and ``place`` (missing for rows that are not picked, or no candidates), ``mean`` and ``std``
        of the figure of merit, ``score`` of the acquisition, ``stability``, ``reason``.

        :param crystals: the crystals of the round, which add ``formula`` and their properties
        :raises FormatError: other crystals
        """
        columns, properties = ({}, {}) if crystals is None else crystals.frame_columns(self.hashes)
        values: dict[str, Any] = {'pick': self.pick, 'place': self.place, **columns}
        values |= {name: getattr(self, name) for name in ('mean', 'std', 'score', 'stability', 'reason')}
        frame = make_frame(self.ids, values, properties)
        for name in ('pick', 'place'):
            frame[name] = frame[name].astype('Int64').where(frame[name] > 0)
        return frame.sort_values(['pick', 'place'], kind='stable', na_position='last')

    def reason_counts(self) -> dict[str, int]:
        """Return the number of rows of each kind of reason, see :func:`.count_reasons`."""
        return count_reasons([self.reason])
