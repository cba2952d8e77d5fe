"""``Dataset``: crystals with dielectric labels, and the file ``dataset.npz``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.labelled_jsonl import read_labelled_lines
from aiida_goectp.core.datasets.row_gates import force_constants_usable, is_refused
from aiida_goectp.core.datasets.splits import FRACTIONS, SPLIT_PARTS, given_parts, make_split
from aiida_goectp.core.dielectric.tensors import PARTS, polycrystalline_average
from aiida_goectp.core.formats.dataframe import component_columns, make_frame
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.functionals import UNKNOWN
from aiida_goectp.core.formats.ragged import ranges
from aiida_goectp.core.formats.table import FILLED, Column, ColumnGroup, Json, Nested, Table

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ('Dataset',)

_Labels = Annotated[np.ndarray, Column('<f8', ('rows', 3, 3), fill=np.nan)]
_Texts = Annotated[np.ndarray, Column('U', fill='', since=2)]


@dataclass(frozen=True, eq=False)
class Dataset(Table):
    """Crystals with labels; each tensor is in the frame of its crystal as given.

    A column that is not given, or ``None``, is missing in all rows. An ionic label that fails a gate is removed.

    :param crystals: n crystals with N atoms in total
    :param electronic: (n, 3, 3) ε_∞, NaN where missing
    :param ionic: (n, 3, 3) ionic contribution to the static permittivity, NaN where missing
    :param born_charges: (N, 3, 3) e; indices atom, field, displacement; NaN where missing
    :param functional: (n,) text: PBEsol, PBE, PBE+U, unknown, …
    :param origin: (n,) text: source of the label, such as a file, the UUID of a node or a DOI
    :param failed_gates: (n,) text: names of the failed gates, see :mod:`aiida_goectp.core.datasets.row_gates`; empty
        for a good row
    :param force_constants: (B, 3, 3) eV/Å² at Γ, B = Σ n² over the rows with n atoms each: row r owns the blocks
        ``block_offsets[r]:block_offsets[r + 1]``, in the order first atom, second atom; NaN in a row where missing, and
        ``None`` if no row has any
    :param splits: name → (n,) text: train, validation, test, or empty for a row in no part
    :param split_settings: name → plain JSON: ``kind`` (random, formula, given, joined), ``seed``, …
    :raises FormatError: columns that do not fit the crystals, or an invalid split
    """

    KIND, VERSION = 'dataset', 3

    crystals: Annotated[CrystalSet, Nested(CrystalSet)]
    electronic: _Labels = FILLED
    ionic: _Labels = FILLED
    born_charges: Annotated[np.ndarray, Column('<f8', ('atoms', 3, 3), fill=np.nan, since=2)] = FILLED
    functional: Annotated[np.ndarray, Column('U', fill=UNKNOWN, since=2)] = FILLED
    origin: _Texts = FILLED
    failed_gates: _Texts = FILLED
    force_constants: Annotated[np.ndarray | None, Column('<f4', ('blocks', 3, 3), since=3, optional=True)] = None
    splits: Annotated[Mapping[str, np.ndarray], ColumnGroup('split:', Column('U'))] = field(default_factory=dict)
    split_settings: Annotated[Mapping[str, Mapping[str, Any]], Json(since=2)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        blocks = 0 if self.force_constants is None else len(self.force_constants)
        if blocks not in (0, self.block_offsets[-1]):
            raise FormatError(
                f'dataset: force_constants has {blocks} blocks; the crystals have {self.block_offsets[-1]}'
            )
        for name, column in self.splits.items():
            if unknown := sorted(set(column.tolist()) - {*SPLIT_PARTS, ''}):
                raise FormatError(
                    f'dataset: split {name!r} has an unknown part {unknown[0]!r}; parts are {", ".join(SPLIT_PARTS)}'
                )
        if wrong := [name for name, value in self.split_settings.items() if not isinstance(value, Mapping)]:
            raise FormatError(f'dataset: split_settings of {wrong[0]!r} must be a JSON object')
        settings = {name: dict(self.split_settings.get(name) or {'kind': 'given'}) for name in self.splits}
        object.__setattr__(self, 'split_settings', settings)
        object.__setattr__(self, 'ionic', self._without_failed(self.ionic))

    def __len__(self) -> int:
        return len(self.crystals)

    def _without_failed(self, ionic: np.ndarray) -> np.ndarray:
        """Return the ionic labels without those that a gate refuses; refused rows as a whole keep theirs."""
        failed = np.zeros(len(self), dtype=bool)
        for row in np.flatnonzero(self.failed_gates != '').tolist():
            failed[row] = np.isfinite(ionic[row]).any() and not is_refused(str(self.failed_gates[row]))
        return np.where(failed[:, None, None], np.nan, ionic) if failed.any() else ionic

    @property
    def total(self) -> np.ndarray:
        """(n, 3, 3) static relative permittivity ε_∞ + ε_ionic, NaN where either is missing."""
        return self.electronic + self.ionic

    @cached_property
    def block_offsets(self) -> np.ndarray:
        """(n + 1,) pairs of atoms of each row, see ``force_constants``."""
        return np.concatenate([[0], np.cumsum(self.crystals.atom_counts**2)]).astype(np.int64)

    @property
    def has_force_constants(self) -> np.ndarray:
        """(n,) true where a row has force constants, and no failed gate that refuses them."""
        if self.force_constants is None:
            return np.zeros(len(self), dtype=bool)
        rows = np.split(self.force_constants, self.block_offsets[1:-1])
        usable = [
            force_constants_usable(names) and bool(np.isfinite(blocks).all())
            for names, blocks in zip(self.failed_gates.tolist(), rows, strict=True)
        ]
        return np.array(usable, dtype=bool)

    @property
    def has_tensor(self) -> np.ndarray:
        """(n,) true where a row has an electronic or an ionic label."""
        electronic, ionic = (np.isfinite(column).all(axis=(1, 2)) for column in (self.electronic, self.ionic))
        return np.logical_or(electronic, ionic)

    @property
    def trainable(self) -> np.ndarray:
        """(n,) true where a row has a label and no failed gate that refuses it."""
        labelled = self.has_tensor | self.has_force_constants
        refused = [is_refused(names) for names in self.failed_gates.tolist()]
        return labelled & ~np.array(refused, dtype=bool).reshape(-1)

    def to_dataframe(self, *, components: bool = False) -> DataFrame:
        """Return a pandas data frame with the index ``id``, a row a crystal, refused rows included.

        Columns: ``formula``, ``atoms``; ``electronic``, ``ionic`` and ``total`` (polycrystalline averages of the
        labels, NaN where missing); ``functional``, ``origin``, ``failed_gates``, ``trainable``;
        ``split_NAME`` for each split; the properties.

        :param components: add the components of the tensors, ``total_xx``, …, in the frame of each crystal
        """
        crystals = self.crystals
        values: dict[str, Any] = {'formula': crystals.formulas, 'atoms': crystals.atom_counts}
        values |= {name: polycrystalline_average(getattr(self, name)) for name in PARTS}
        values |= {name: getattr(self, name) for name in ('functional', 'origin', 'failed_gates', 'trainable')}
        values |= {f'split_{name}': column for name, column in self.splits.items()}
        for name in PARTS if components else ():
            values |= component_columns(name, getattr(self, name))
        return make_frame(crystals.ids, values, crystals.properties)

    def take(self, rows: Sequence[int] | np.ndarray) -> Dataset:
        """Return the given rows in the given order."""
        chosen = np.asarray(rows, dtype=np.int64)
        atoms = ranges(self.crystals.atom_offsets, chosen)[0]
        blocks = ranges(self.block_offsets, chosen)[0]
        return replace(
            self,
            crystals=self.crystals.take(chosen),
            born_charges=self.born_charges[atoms],
            force_constants=None if self.force_constants is None else self.force_constants[blocks],
            **{name: getattr(self, name)[chosen] for name in self.columns()},
            splits={name: column[chosen] for name, column in self.splits.items()},
        )

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Return the row of each id.

        :raises FormatError: an unknown id
        """
        place = {str(name): row for row, name in enumerate(self.crystals.ids)}
        if unknown := [name for name in ids if name not in place]:
            raise FormatError(f'{len(unknown)} ids are not in the dataset: {", ".join(unknown[:5])}')
        return np.array([place[name] for name in ids], dtype=np.int64)

    def part(self, split: str, name: str) -> Dataset:
        """Return the trainable rows of one part of a split in the order of the dataset.

        :param name: train, validation or test
        :raises FormatError: an unknown split or part
        """
        if split not in self.splits:
            have = ', '.join(self.splits) or 'none'
            raise FormatError(f'the dataset has no split {split!r}; splits: {have}')
        if name not in SPLIT_PARTS:
            raise FormatError(f'unknown part {name!r} of a split; parts are {", ".join(SPLIT_PARTS)}')
        return self.take(np.flatnonzero((self.splits[split] == name) & self.trainable))

    def with_split(
        self, name: str, kind: str = 'random', seed: int = 0, fractions: Sequence[float] = FRACTIONS
    ) -> Dataset:
        """Return the dataset with another split of its trainable rows; see :func:`.make_split`.

        :param kind: random, or formula (no reduced formula in two parts)
        :param fractions: of train, validation and test
        :raises FormatError: an existing name, invalid settings, or too few rows
        """
        column = make_split(self.crystals, self.trainable, kind, seed, fractions)
        return self._with_column(
            name, column, {'kind': kind, 'seed': int(seed), 'fractions': [float(x) for x in fractions]}
        )

    def with_given_split(self, name: str, parts: Mapping[str, Sequence[str]]) -> Dataset:
        """Return the dataset with another split whose parts are given; only trainable rows are included.

        :param parts: train, validation and test → ids
        :raises FormatError: an existing name, an unknown id or part, or an id in two parts
        """
        column = given_parts({part: self.rows_of(ids) for part, ids in parts.items()}, self.trainable)
        return self._with_column(name, column, {'kind': 'given'})

    def _with_column(self, name: str, column: np.ndarray, settings: dict[str, Any]) -> Dataset:
        if not name or name in self.splits:
            raise FormatError(f'split {name!r} exists' if name else 'the name of a split must not be empty')
        return replace(
            self, splits={**self.splits, name: column}, split_settings={**self.split_settings, name: settings}
        )

    @classmethod
    def load(
        cls, source: str | Path | IO[bytes], functional: str = UNKNOWN, *, name: str = '', limit: int | None = None
    ) -> Dataset:
        """Read ``dataset.npz``, versions 1 to 3, or labelled JSON lines (``*.jsonl``, ``*.jsonl.gz``).

        :param source: path, or binary stream of an npz file
        :param functional: of the rows of JSON lines that state none
        :param name: of the file in error messages; the path if not given
        :param limit: as for :meth:`.Table.load`
        :raises FormatError: neither format, or rows that do not fit together
        """
        if not str(source).endswith(('.jsonl', '.jsonl.gz')):
            return super().load(source, name=name, limit=limit)
        path = Path(str(source))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FormatError(f'{path}: cannot be read ({error.strerror})') from error
        return cls.from_lines(str(path), content, functional)

    @classmethod
    def from_lines(cls, name: str, content: bytes, functional: str = UNKNOWN) -> Dataset:
        """Read labelled JSON lines, see :func:`aiida_goectp.core.datasets.labelled_jsonl.read_labelled_lines`.

        :param name: of the file; compressed if it ends in ``.gz``
        :raises FormatError: no crystal, no label, or an invalid label
        """
        return cls(**read_labelled_lines(name, content, functional))
