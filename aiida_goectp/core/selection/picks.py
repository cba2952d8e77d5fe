"""``Picks``: each crystal with the reason why it is in the batch or not, and the file ``picks.npz``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.table import Column, FloatColumn, JsonObject, Table, Text, TextColumn
from aiida_goectp.core.selection.reasons import count_reasons

__all__ = ('Picks',)

_Places = Annotated[np.ndarray, Column('<i8')]


@dataclass(frozen=True, eq=False)
class Picks(Table):
    """One row for each crystal in the order of the crystal set, then one for each failure of the set.

    :param ids: (n,) as in the crystal set
    :param hashes: (n,) content hashes; empty for a row that never became a crystal
    :param mean: (n,) predicted figure of merit, NaN where it is out by filters or cannot be computed
    :param std: (n,) its standard deviation, NaN where unknown
    :param score: (n,) acquisition, NaN for what is no candidate
    :param place: (n,) 1 for the candidate with the highest score, 0 for what is no candidate
    :param pick: (n,) 1 for the first of the batch, 0 for what is not in it
    :param reason: (n,) why the row is picked or not, see :mod:`aiida_goectp.core.selection.reasons`
    :param figure_of_merit: name in :data:`aiida_goectp.core.selection.merit.FIGURES_OF_MERIT`
    :param settings: all that decided, with the hash of the model and the round, plain JSON
    """

    KIND = 'picks'

    ids: TextColumn
    hashes: TextColumn
    reason: TextColumn
    mean: FloatColumn
    std: FloatColumn
    score: FloatColumn
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
                raise FormatError(f'picks: {name} must be 1 to {len(used)} for the rows that have one, 0 for others')
        if ((self.pick > 0) & (self.place == 0)).any():
            row = int(np.argmax((self.pick > 0) & (self.place == 0)))
            raise FormatError(f'picks: row {row} ({self.ids[row]}) is picked, but is not a candidate')
        if (self.reason == '').any():
            raise FormatError(f'picks: row {int(np.argmax(self.reason == ""))} has no reason')

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> np.ndarray:
        """Rows of the picks, first pick first; rows as in the crystal set."""
        picked = np.flatnonzero(self.pick)
        return picked[np.argsort(self.pick[picked], kind='stable')]

    @property
    def candidates(self) -> int:
        """Number of candidates, picked or not."""
        return int(np.count_nonzero(self.place))

    def best(self, kappa: float = 0.0) -> float | None:
        """Return the highest μ + κσ of all candidates, an unknown σ taken as zero; None without candidates."""
        rows = self.place > 0
        return float((self.mean[rows] + kappa * np.nan_to_num(self.std[rows])).max()) if rows.any() else None

    def reason_counts(self) -> dict[str, int]:
        """Return the number of rows of each kind of reason, see :func:`.count_reasons`."""
        return count_reasons(self.reason)
