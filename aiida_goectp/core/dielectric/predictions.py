"""``Predictions``: what a model says of many crystals, and the file ``predictions.npz``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_goectp.core.formats.npz import FormatError, check_shape, read_table, write_npz

__all__ = ('DEVIATIONS', 'FLAG_NAMES', 'TENSORS', 'Predictions', 'flag_names')

_KIND, _VERSION = 'predictions', 2
_OLDER = (1,)  # without the deviations of average, anisotropy and eigenvalues

TENSORS = ('electronic', 'ionic', 'total', 'electronic_std', 'ionic_std', 'total_std')
"""names of the tensor columns"""

DEVIATIONS = {'average_std': (3,), 'anisotropy_std': (3,), 'eigenvalues_std': (3, 3)}
"""names of the columns of standard deviations, and their shapes; the first axis is electronic, ionic, total"""

_ROWS = ('ids', 'hashes', *TENSORS, *DEVIATIONS, 'flags', 'errors')

FLAG_NAMES = ('unseen_element', 'symmetry_unknown', 'unlike_training')
"""Name of each bit of a flag, lowest first.

``unseen_element``: the crystal holds an element that the training set lacks. ``symmetry_unknown``: no symmetry could be
determined, so the point group was taken as trivial. ``unlike_training``: its features lie further from the training
set than those of all but one in two hundred validation rows; deviations stated for it are not to be trusted.
"""


def flag_names(flags: int) -> tuple[str, ...]:
    """Return the names of the bits that are set."""
    return tuple(name for bit, name in enumerate(FLAG_NAMES) if int(flags) >> bit & 1)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Dielectric tensors of many crystals, one row a crystal, each in the frame of its crystal as given.

    A failed row has NaN tensors and its reason in ``errors``. A column that the model does not predict is all NaN: an
    imported checkpoint may know ``total`` alone.

    :param ids: (n,) as in the crystal set
    :param hashes: (n,) content hash of each crystal
    :param electronic: (n, 3, 3) clamped-ion relative permittivity ε_∞
    :param ionic: (n, 3, 3) ionic contribution to the static relative permittivity
    :param total: (n, 3, 3) static relative permittivity; electronic + ionic where both are predicted
    :param electronic_std: (n, 3, 3) the tensor with the principal axes of ``electronic`` and the standard deviations of
        its principal values; NaN where the model does not know how sure it is. It turns with the crystal as
        ``electronic`` does
    :param ionic_std: (n, 3, 3) likewise
    :param total_std: (n, 3, 3) likewise, of the sum (the errors of the parts are correlated)
    :param flags: (n,) bits named by :data:`FLAG_NAMES`
    :param errors: (n,) empty where the row is good
    :param model_hash: content hash of the model
    :param settings: how it was computed (device, precision, versions), plain JSON
    :param average_std: (n, 3) standard deviation of the polycrystalline average of electronic, ionic and total; the
        mean of the principal values' deviations if left out
    :param anisotropy_std: (n, 3) of the largest over the smallest principal value; NaN for ionic
    :param eigenvalues_std: (n, 3, 3) of the principal values in ascending order
    """

    ids: np.ndarray
    hashes: np.ndarray
    electronic: np.ndarray
    ionic: np.ndarray
    total: np.ndarray
    electronic_std: np.ndarray
    ionic_std: np.ndarray
    total_std: np.ndarray
    flags: np.ndarray
    errors: np.ndarray
    model_hash: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    average_std: np.ndarray = None  # type: ignore[assignment]
    anisotropy_std: np.ndarray = None  # type: ignore[assignment]
    eigenvalues_std: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.average_std is None:
            deviations = [self.electronic_std, self.ionic_std, self.total_std]
            averages = np.ascontiguousarray(np.trace(deviations, axis1=2, axis2=3).T / 3)
            object.__setattr__(self, 'average_std', averages)
        for name, shape in DEVIATIONS.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full((n, *shape), np.nan))
        label = 'predictions'
        for name in ('ids', 'hashes', 'errors'):
            check_shape(label, name, getattr(self, name), (n,), 'U')
        for name in TENSORS:
            check_shape(label, name, getattr(self, name), (n, 3, 3), 'f')
        for name, shape in DEVIATIONS.items():
            check_shape(label, name, getattr(self, name), (n, *shape), 'f')
        check_shape(label, 'flags', self.flags, (n,), 'iu')
        good = self.errors == ''
        for name in ('electronic', 'ionic', 'total'):
            finite = np.isfinite(getattr(self, name)).all(axis=(1, 2))
            if (finite & good).any() and not finite[good].all():
                row = int(np.flatnonzero(good & ~finite)[0])
                raise FormatError(f'{label}: {name} of row {row} ({self.ids[row]}) is not finite, yet carries no error')

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def failed(self) -> np.ndarray:
        """(n,) true where a row carries an error."""
        return self.errors != ''

    @classmethod
    def join(cls, parts: Sequence[Predictions]) -> Predictions:
        """Put parts one after the other; the caller has made sure that they belong together."""
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ROWS}
        return cls(**columns, model_hash=parts[0].model_hash, settings=parts[0].settings)

    def take(self, rows: Sequence[int] | np.ndarray | slice) -> Predictions:
        """Return the given rows in the given order."""
        columns = {name: getattr(self, name)[rows] for name in _ROWS}
        return Predictions(**columns, model_hash=self.model_hash, settings=self.settings)

    def save(self, target: str | Path | IO[bytes]) -> None:
        """Write ``predictions.npz``, format version 2."""
        arrays = {
            'ids': self.ids.astype(np.str_),
            'hashes': self.hashes.astype(np.str_),
            **{name: getattr(self, name).astype('<f8') for name in (*TENSORS, *DEVIATIONS)},
            'flags': self.flags.astype('<u4'),
            'errors': self.errors.astype(np.str_),
            'model_hash': np.array(self.model_hash),
            'settings': np.array(json.dumps(dict(self.settings), sort_keys=True)),
        }
        write_npz(target, _KIND, _VERSION, arrays)

    @classmethod
    def load(cls, source: str | Path | IO[bytes]) -> Predictions:
        """Read ``predictions.npz``, version 1 or 2.

        :raises FormatError: not such a file, another version, or shapes that do not fit together
        """
        return read_table(cls, source, _KIND, _VERSION, _OLDER, texts=('model_hash',))
