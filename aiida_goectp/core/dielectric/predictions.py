"""``Predictions``: predicted dielectric tensors of many crystals, and the file ``predictions.npz``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.gamma_phonons import GammaPhonons, PhononCell
from aiida_goectp.core.dielectric.tensors import PARTS, anisotropy, polycrystalline_average
from aiida_goectp.core.formats.dataframe import component_columns, make_frame
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.table import FILLED, Column, JsonObject, Nested, Table, Text, TextColumn

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = (
    'DEVIATIONS',
    'FLAG_NAMES',
    'OUT_OF_MEMORY',
    'TENSORS',
    'Predictions',
    'flag_names',
    'flag_texts',
    'flag_words',
)

OUT_OF_MEMORY = 'out of memory'
"""begin of the error of a row for which there was not enough memory; a resumed run predicts it again"""

TENSORS = (*PARTS, *(f'{part}_std' for part in PARTS))
"""names of the tensor columns"""

DEVIATIONS = ('average_std', 'anisotropy_std', 'eigenvalues_std')
"""names of the columns of standard deviations; their second axis is electronic, ionic, total"""

FLAG_NAMES = ('unseen_element', 'symmetry_unknown', 'unlike_training', 'soft_mode', 'unstable')
"""Name of each bit of a flag, lowest first.

``unseen_element``: the crystal contains an element that is not in the training set. ``symmetry_unknown``: no symmetry
could be determined; the trivial point group was used. ``unlike_training``: the leverage of the crystal exceeds the
99.5th percentile of the validation rows; its standard deviations are unreliable. ``soft_mode``: more than a quarter of
the ionic permittivity comes from soft modes, whose stiffness the model cannot resolve. ``unstable``: the predicted
force constants have a negative optical eigenvalue; such a crystal has no static permittivity in this structure. Only
models with force constants set the last two.
"""

_FLAG_WORDS = {
    'unseen_element': 'element not in the training set',
    'symmetry_unknown': 'symmetry unknown',
    'unlike_training': 'unlike the training set',
    'soft_mode': 'soft mode',
    'unstable': 'unstable mode',
}

_Tensors = Annotated[np.ndarray, Column('<f8', ('rows', 3, 3))]
_Deviations = Annotated[np.ndarray, Column('<f8', ('rows', 3), fill=np.nan, since=2)]
_EigenvalueDeviations = Annotated[np.ndarray, Column('<f8', ('rows', 3, 3), fill=np.nan, since=2)]


def flag_names(flags: int) -> tuple[str, ...]:
    """Return the names of the bits that are set."""
    return tuple(name for bit, name in enumerate(FLAG_NAMES) if int(flags) >> bit & 1)


def flag_words(names: Iterable[str]) -> str:
    """Return the text of flags, for tables.

    :param names: of :data:`FLAG_NAMES`
    """
    return ', '.join(_FLAG_WORDS.get(name, name) for name in names)


def flag_texts(flags: np.ndarray) -> list[str]:
    """Return the names of the flags of each row, joined by spaces.

    :param flags: (n,) bits
    """
    return [' '.join(flag_names(bits)) for bits in flags.tolist()]


@dataclass(frozen=True, eq=False)
class Predictions(Table):
    """Dielectric tensors of many crystals, one row per crystal, each in the frame of its crystal as given.

    A failed row has NaN tensors and the reason in ``errors``. A column that the model does not predict is all NaN; some
    imported checkpoints predict ``total`` only.

    :param ids: (n,) as in the crystal set
    :param hashes: (n,) content hash of each crystal
    :param electronic: (n, 3, 3) clamped-ion relative permittivity ε_∞
    :param ionic: (n, 3, 3) ionic contribution to the static relative permittivity
    :param total: (n, 3, 3) static relative permittivity; electronic + ionic where both are predicted
    :param electronic_std: (n, 3, 3) tensor with the principal axes of ``electronic`` and the standard deviations of its
        principal values as eigenvalues; NaN for a model without uncertainty. It transforms with the crystal
    :param ionic_std: (n, 3, 3) likewise
    :param total_std: (n, 3, 3) likewise, of the sum (the errors of the parts are correlated)
    :param average_std: (n, 3) standard deviation of the polycrystalline average of electronic, ionic and total; the
        mean of the standard deviations of the principal values if not given
    :param anisotropy_std: (n, 3) of the ratio of the largest to the smallest principal value; NaN for ionic
    :param eigenvalues_std: (n, 3, 3) of the principal values in ascending order; rows are electronic, ionic, total
    :param stability: (n,) probability that the crystal has no negative optical mode at Γ; NaN for a model without force
        constants, or without calibration
    :param flags: (n,) bits named by :data:`FLAG_NAMES`
    :param errors: (n,) empty for a good row
    :param model_hash: content hash of the model
    :param settings: device, precision and versions, plain JSON
    :param phonons: phonons at Γ of each row, if they were asked for
    :raises FormatError: shapes that do not fit together, or a row without error that is not finite
    """

    KIND, VERSION = 'predictions', 3

    ids: TextColumn
    hashes: TextColumn
    electronic: _Tensors
    ionic: _Tensors
    total: _Tensors
    electronic_std: _Tensors
    ionic_std: _Tensors
    total_std: _Tensors
    average_std: _Deviations = field(default=FILLED, kw_only=True)
    anisotropy_std: _Deviations = field(default=FILLED, kw_only=True)
    eigenvalues_std: _EigenvalueDeviations = field(default=FILLED, kw_only=True)
    stability: Annotated[np.ndarray, Column('<f8', fill=np.nan, since=3)] = field(default=FILLED, kw_only=True)
    flags: Annotated[np.ndarray, Column('<u4')]
    errors: TextColumn
    model_hash: Text
    settings: JsonObject = field(default_factory=dict)
    phonons: Annotated[GammaPhonons | None, Nested(GammaPhonons, since=3, optional=True)] = None

    def __post_init__(self) -> None:
        average_given = self.average_std is not None
        super().__post_init__()
        if not average_given:
            deviations = [self.electronic_std, self.ionic_std, self.total_std]
            averages = np.ascontiguousarray(np.trace(deviations, axis1=2, axis2=3).T / 3)
            object.__setattr__(self, 'average_std', averages)
        if self.phonons is not None and len(self.phonons) != len(self):
            raise FormatError(f'predictions: phonons of {len(self.phonons)} rows for {len(self)} predictions')
        good = self.errors == ''
        for name in PARTS:
            finite = np.isfinite(getattr(self, name)).all(axis=(1, 2))
            if (finite & good).any() and not finite[good].all():
                row = int(np.flatnonzero(good & ~finite)[0])
                raise FormatError(f'predictions: {name} of row {row} ({self.ids[row]}) is not finite, but has no error')

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def failed(self) -> np.ndarray:
        """(n,) true where a row has an error."""
        return self.errors != ''

    @property
    def unstable(self) -> np.ndarray:
        """(n,) true where the flag ``unstable`` is set."""
        return self.flags >> FLAG_NAMES.index('unstable') & 1 == 1

    def to_dataframe(self, crystals: CrystalSet | None = None, *, components: bool = False) -> DataFrame:
        """Return a pandas data frame with the index ``id``, a row a crystal.

        Columns: ``electronic``, ``ionic`` and ``total`` (polycrystalline averages), each followed by its standard
        deviation ``…_std``; ``anisotropy`` (largest over smallest eigenvalue of the total tensor) and
        ``anisotropy_std``; ``stability``; ``flags`` (names, joined by spaces); ``error`` (empty for a good row).

        :param crystals: the predicted crystals, which add ``formula`` and their properties
        :param components: add the components of the tensors, ``total_xx``, …, in the frame of each crystal
        :raises FormatError: other crystals
        """
        columns, properties = ({}, {}) if crystals is None else crystals.frame_columns(self.hashes)
        values: dict[str, Any] = {**columns}
        for place, name in enumerate(PARTS):
            values[name] = polycrystalline_average(getattr(self, name))
            values[f'{name}_std'] = self.average_std[:, place]
        values |= {'anisotropy': anisotropy(self.total), 'anisotropy_std': self.anisotropy_std[:, 2]}
        values |= {'stability': self.stability, 'flags': flag_texts(self.flags), 'error': self.errors}
        for name in PARTS if components else ():
            values |= component_columns(name, getattr(self, name))
        return make_frame(self.ids, values, properties)

    @classmethod
    def join(cls, parts: Sequence[Predictions]) -> Predictions:
        """Return the rows of all parts, one after the other, with model hash and settings of the first part."""
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.columns()
        }
        phonons = None
        if any(part.phonons is not None for part in parts):
            phonons = GammaPhonons.join([part.phonons or GammaPhonons.empty(len(part)) for part in parts])
        return replace(parts[0], **columns, phonons=phonons)

    def take(self, rows: Sequence[int] | np.ndarray | slice) -> Predictions:
        """Return the given rows in the given order."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in self.columns()}
        return replace(self, **columns, phonons=None if self.phonons is None else self.phonons.take(rows))

    def phonon_cell(self, row: int) -> PhononCell | None:
        """Return the predicted lattice response of a row; None if it was not asked for, or the row has none."""
        return None if self.phonons is None else self.phonons.cell(row, self.electronic[row])
