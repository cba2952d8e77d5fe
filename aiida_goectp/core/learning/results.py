"""Results of a prediction, batch by batch, and their collection in a table: its last stage. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.gamma_phonons import GammaPhonons
from aiida_goectp.core.dielectric.predictions import OUT_OF_MEMORY, TENSORS, Predictions

if TYPE_CHECKING:
    from aiida_goectp.core.network.prepared import PreparedCrystals

__all__ = ('PredictedBatch', 'collect', 'with_repeated_rows')

_LOST = 'lost: damaged record'
"""error of a row whose result was lost; a resumed run predicts it again"""


class PredictedBatch(NamedTuple):
    """Results of consecutive rows of a crystal set."""

    rows: np.ndarray
    """(k,) indices in the crystal set"""
    tensors: np.ndarray
    """(k, 6, 3, 3) in the order of :data:`.TENSORS`, NaN where failed or not predicted"""
    flags: np.ndarray
    """(k,) bits named by :data:`.FLAG_NAMES`"""
    errors: list[str]
    """(k,) reason of a failed row, else empty"""
    deviations: np.ndarray
    """(k, 3, 5) of electronic, ionic, total: standard deviations of average, anisotropy, ascending eigenvalues"""

    stability: np.ndarray
    """(k,) probability that a crystal has no negative optical mode, NaN if unknown"""
    hashes: np.ndarray
    """(k,) content hash of each crystal"""
    phonons: GammaPhonons | None = None
    """of all rows, if they were asked for"""
    prepared: PreparedCrystals | None = None
    """preparation of all rows, if it is to be kept"""

    @property
    def failed(self) -> int:
        """Number of failed rows."""
        return sum(map(bool, self.errors))

    @classmethod
    def lost(cls, rows: np.ndarray, phonons: bool) -> PredictedBatch:
        """Return rows without results, which a resumed run predicts again.

        :param rows: (k,) indices in the crystal set
        :param phonons: phonons were asked for
        """
        k = len(rows)
        return cls(
            rows,
            np.full((k, len(TENSORS), 3, 3), np.nan),
            np.zeros(k, np.uint32),
            [_LOST] * k,
            np.full((k, 3, 5), np.nan),
            np.full(k, np.nan),
            np.zeros(k, '<U32'),
            GammaPhonons.empty(k) if phonons else None,
        )

    @property
    def repeatable(self) -> np.ndarray:
        """Rows that failed since memory ran out, which may succeed elsewhere, and those whose results were lost."""
        return self.rows[[error.startswith((OUT_OF_MEMORY, _LOST)) for error in self.errors]]

    def updated(self, other: PredictedBatch) -> PredictedBatch:
        """Return these rows, with the results of another batch for those that it has."""
        place = {row: len(self.rows) + index for index, row in enumerate(other.rows.tolist())}
        order = np.array([place.get(row, index) for index, row in enumerate(self.rows.tolist())], dtype=np.int64)
        phonons = [batch.phonons for batch in (self, other) if batch.phonons is not None]
        errors = [*self.errors, *other.errors]

        def column(name: str) -> np.ndarray:
            return np.concatenate([getattr(self, name), getattr(other, name)])[order]

        return PredictedBatch(
            self.rows,
            column('tensors'),
            column('flags'),
            [errors[index] for index in order],
            column('deviations'),
            column('stability'),
            column('hashes'),
            GammaPhonons.join(phonons).take(order) if phonons else None,
        )


def with_repeated_rows(
    batches: Sequence[PredictedBatch],
    crystals: CrystalSet,
    run: Callable[[CrystalSet], Iterable[PredictedBatch]],
) -> list[PredictedBatch]:
    """Return batches of an earlier run, in which rows that were lost or lacked memory are predicted anew.

    :param crystals: all of the run
    :param run: returns the results of crystals
    """
    rows = np.concatenate([np.zeros(0, np.int64), *(batch.repeatable for batch in batches)])
    found = list(batches)
    for new in run(crystals.take(rows)) if len(rows) else ():
        new = new._replace(rows=rows[new.rows])
        found = [batch.updated(new) if np.isin(new.rows, batch.rows).any() else batch for batch in found]
    return found


def collect(
    crystals: CrystalSet, batches: Sequence[PredictedBatch], model_hash: str, settings: Mapping[str, Any]
) -> Predictions:
    """Return the table of predictions.

    :param batches: they cover all rows in order
    :param model_hash: content hash of the model
    :param settings: as :meth:`aiida_goectp.core.learning.predict.Predictor.settings` returns them
    """
    parts = [PredictedBatch.lost(np.zeros(0, np.int64), phonons=False), *batches]
    phonons = [batch.phonons for batch in batches if batch.phonons is not None]

    def column(name: str, *place: Any) -> np.ndarray:
        index = (slice(None), *place)
        return np.concatenate([getattr(part, name)[index] for part in parts])

    return Predictions(
        ids=crystals.ids,
        hashes=column('hashes'),
        **{name: column('tensors', place) for place, name in enumerate(TENSORS)},
        flags=column('flags'),
        errors=np.array([error for part in parts for error in part.errors], dtype=np.str_).reshape(-1),
        model_hash=model_hash,
        settings=settings,
        average_std=column('deviations', slice(None), 0),
        anisotropy_std=column('deviations', slice(None), 1),
        eigenvalues_std=column('deviations', slice(None), slice(2, None)),
        stability=column('stability'),
        phonons=GammaPhonons.join(phonons) if phonons else None,
    )
