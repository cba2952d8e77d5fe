"""``Picks``: each crystal with the reason why it is in the batch or not, and the file ``picks.npz``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_goectp.core.formats.npz import FormatError, check_shape, read_table, write_npz
from aiida_goectp.core.selection.reasons import count_reasons

__all__ = ('Picks',)

_KIND, _VERSION = 'picks', 1
_TEXTS = ('ids', 'hashes', 'reason')
_NUMBERS = ('mean', 'std', 'score')
_PLACES = ('place', 'pick')


@dataclass(frozen=True, eq=False)
class Picks:
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

    ids: np.ndarray
    hashes: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    score: np.ndarray
    place: np.ndarray
    pick: np.ndarray
    reason: np.ndarray
    figure_of_merit: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, label = len(self.ids), 'picks'
        for name in _TEXTS:
            check_shape(label, name, getattr(self, name), (n,), 'U')
        for name in _NUMBERS:
            check_shape(label, name, getattr(self, name), (n,), 'f')
        for name in _PLACES:
            column = check_shape(label, name, getattr(self, name), (n,), 'iu')
            used = np.sort(column[column != 0])
            if not np.array_equal(used, np.arange(1, len(used) + 1)):
                raise FormatError(f'{label}: {name} must be 1 to {len(used)} for the rows that have one, 0 for others')
        if ((self.pick > 0) & (self.place == 0)).any():
            row = int(np.argmax((self.pick > 0) & (self.place == 0)))
            raise FormatError(f'{label}: row {row} ({self.ids[row]}) is picked and yet no candidate')
        if (self.reason == '').any():
            raise FormatError(f'{label}: row {int(np.argmax(self.reason == ""))} has no reason')

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

    def save(self, target: str | Path | IO[bytes]) -> None:
        """Write ``picks.npz``, format version 1; the same content gives the same bytes."""
        arrays = {name: getattr(self, name).astype(np.str_) for name in _TEXTS}
        arrays.update({name: getattr(self, name).astype('<f8') for name in _NUMBERS})
        arrays.update({name: getattr(self, name).astype('<i8') for name in _PLACES})
        arrays['figure_of_merit'] = np.array(self.figure_of_merit)
        arrays['settings'] = np.array(json.dumps(dict(self.settings), sort_keys=True))
        write_npz(target, _KIND, _VERSION, arrays)

    @classmethod
    def load(cls, source: str | Path | IO[bytes]) -> Picks:
        """Read ``picks.npz``.

        :raises FormatError: not such a file, another version, or arrays that do not fit together
        """
        return read_table(cls, source, _KIND, _VERSION, texts=('figure_of_merit',))
