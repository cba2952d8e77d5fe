"""``Dataset``: crystals with dielectric labels, and the file ``dataset.npz``."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.labelled_jsonl import read_labelled_lines
from aiida_goectp.core.datasets.row_gates import is_refused
from aiida_goectp.core.datasets.splits import FRACTIONS, PARTS, given_parts, make_split
from aiida_goectp.core.formats.npz import FormatError, check_shape, hash_arrays, read_npz, write_npz

__all__ = ('UNKNOWN', 'Dataset')

_KIND, _VERSION = 'dataset', 2
_OLDER = (1,)  # crystals, electronic and ionic alone
_CRYSTALS, _SPLIT, _SETTINGS = 'crystals', 'split:', 'split_settings'
_TENSORS = ('electronic', 'ionic')
_TEXTS = ('functional', 'origin', 'failed_gates')

UNKNOWN = 'unknown'
"""functional of a row that does not say"""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Crystals with labels; each tensor stands in the frame of its crystal as given.

    What is left out when a dataset is made, or given as ``None``, is missing in every row.

    :param crystals: n crystals of N atoms in all
    :param electronic: (n, 3, 3) ε_∞, NaN where missing
    :param ionic: (n, 3, 3) ionic contribution to the static permittivity, NaN where missing
    :param born_charges: (N, 3, 3) in e: atom, field, displacement; NaN where missing
    :param functional: (n,) text: PBEsol, PBE, PBE+U, unknown, …
    :param origin: (n,) text: the file, the node or the DOI that the label comes from
    :param failed_gates: (n,) text, empty where the row is good, else the names of the gates, joined by commas; see
        :mod:`aiida_goectp.core.datasets.row_gates`
    :param splits: name → (n,) text: train, validation, test, or empty for a row in no part
    :param split_settings: name → how the split was made, plain JSON: ``kind`` (random, formula, given), ``seed``, …
    :raises FormatError: columns that do not fit the crystals, or a split that is none
    """

    crystals: CrystalSet
    electronic: np.ndarray = None  # type: ignore[assignment]
    ionic: np.ndarray = None  # type: ignore[assignment]
    born_charges: np.ndarray = None  # type: ignore[assignment]
    functional: np.ndarray = None  # type: ignore[assignment]
    origin: np.ndarray = None  # type: ignore[assignment]
    failed_gates: np.ndarray = None  # type: ignore[assignment]
    splits: Mapping[str, np.ndarray] = field(default_factory=dict)
    split_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, atoms = len(self.crystals), len(self.crystals.atomic_numbers)
        for name in (*_TENSORS, 'born_charges'):
            shape = (atoms if name == 'born_charges' else n, 3, 3)
            value = getattr(self, name)
            array = np.full(shape, np.nan) if value is None else np.asarray(value)
            object.__setattr__(self, name, check_shape('dataset', name, array, shape, 'f'))
        for name in _TEXTS:
            value = getattr(self, name)
            empty = UNKNOWN if name == 'functional' else ''
            array = np.full(n, empty, dtype=f'<U{max(len(empty), 1)}') if value is None else _texts(value)
            object.__setattr__(self, name, check_shape('dataset', name, array, (n,), 'U'))
        columns = {name: _texts(column) for name, column in self.splits.items()}
        for name, column in columns.items():
            check_shape('dataset', f'split {name}', column, (n,), 'U')
            if strange := sorted(set(column.tolist()) - {*PARTS, ''}):
                raise FormatError(f'dataset: split {name!r} has a part {strange[0]!r}; parts are {", ".join(PARTS)}')
        object.__setattr__(self, 'splits', columns)
        object.__setattr__(
            self, 'split_settings', {name: dict(self.split_settings.get(name) or {'kind': 'given'}) for name in columns}
        )

    def __len__(self) -> int:
        return len(self.crystals)

    @property
    def total(self) -> np.ndarray:
        """(n, 3, 3) static relative permittivity ε_∞ + ε_ionic, NaN where either is missing."""
        return self.electronic + self.ionic

    @property
    def trainable(self) -> np.ndarray:
        """(n,) true where there is a label and no failed gate that refuses the row."""
        labelled = np.isfinite([self.electronic, self.ionic]).all(axis=(2, 3)).any(axis=0)
        refused = [is_refused(names) for names in self.failed_gates.tolist()]
        return labelled & ~np.array(refused, dtype=bool).reshape(-1)

    @cached_property
    def hash(self) -> str:
        """Hash of all that the dataset holds."""
        buffer = io.BytesIO()
        self.crystals.save(buffer)
        buffer.seek(0)
        # the arrays themselves: how well they were compressed is no content
        crystals = read_npz(buffer, 'crystals', 1)
        return hash_arrays({**{f'crystals/{name}': array for name, array in crystals.items()}, **self._columns()})

    def take(self, rows: Sequence[int] | np.ndarray) -> Dataset:
        """Return the given rows in the given order, with all their columns."""
        chosen = np.asarray(rows, dtype=np.int64)
        counts, offsets = self.crystals.atom_counts[chosen], self.crystals.atom_offsets
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        atoms = np.repeat(offsets[chosen] - starts[:-1], counts) + np.arange(starts[-1])
        return Dataset(
            self.crystals.take(chosen),
            born_charges=self.born_charges[atoms],
            **{name: getattr(self, name)[chosen] for name in (*_TENSORS, *_TEXTS)},
            splits={name: column[chosen] for name, column in self.splits.items()},
            split_settings=self.split_settings,
        )

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Return the row of each id.

        :raises FormatError: an id that is not there
        """
        place = {str(name): row for row, name in enumerate(self.crystals.ids)}
        if unknown := [name for name in ids if name not in place]:
            raise FormatError(f'{len(unknown)} ids of the split are not in the dataset: {", ".join(unknown[:5])}')
        return np.array([place[name] for name in ids], dtype=np.int64)

    def part(self, split: str, name: str) -> Dataset:
        """Return the trainable rows of one part of a split, in their order.

        :param name: train, validation or test
        :raises FormatError: no such split or part
        """
        if split not in self.splits:
            have = ', '.join(self.splits) or 'none'
            raise FormatError(f'the dataset has no split {split!r}; it has {have}; make one with with_split')
        if name not in PARTS:
            raise FormatError(f'no split has a part {name!r}; parts are {", ".join(PARTS)}')
        return self.take(np.flatnonzero((self.splits[split] == name) & self.trainable))

    def with_split(
        self, name: str, kind: str = 'random', seed: int = 0, fractions: Sequence[float] = FRACTIONS
    ) -> Dataset:
        """Return the dataset with one more split of its trainable rows; see :func:`.datasets.splits.make_split`.

        :param kind: random, or formula (no reduced formula in two parts)
        :param fractions: of train, validation and test
        :raises FormatError: a split of this name is there, or what was asked for cannot be had
        """
        column = make_split(self.crystals, self.trainable, kind, seed, fractions)
        return self._with(name, column, {'kind': kind, 'seed': int(seed), 'fractions': [float(x) for x in fractions]})

    def with_given_split(self, name: str, parts: Mapping[str, Sequence[str]]) -> Dataset:
        """Return the dataset with one more split that somebody else has made.

        Rows that are not trainable are left out of it.

        :param parts: train, validation and test → ids
        :raises FormatError: a split of this name is there, an unknown id or part, or an id in two parts
        """
        column = given_parts({part: self.rows_of(ids) for part, ids in parts.items()}, self.trainable)
        return self._with(name, column, {'kind': 'given'})

    def _with(self, name: str, column: np.ndarray, settings: dict[str, Any]) -> Dataset:
        if not name or name in self.splits:
            raise FormatError(f'the dataset has a split {name!r} already' if name else 'a split needs a name')
        return replace(
            self, splits={**self.splits, name: column}, split_settings={**self.split_settings, name: settings}
        )

    def _columns(self) -> dict[str, np.ndarray]:
        return {
            **{name: getattr(self, name).astype('<f8') for name in (*_TENSORS, 'born_charges')},
            **{name: getattr(self, name) for name in _TEXTS},
            **{_SPLIT + name: column for name, column in sorted(self.splits.items())},
            _SETTINGS: np.array(json.dumps(self.split_settings, sort_keys=True)),
        }

    def save(self, target: str | Path | IO[bytes]) -> None:
        """Write ``dataset.npz``, format version 2: the bytes of a ``crystals.npz`` within, and the columns."""
        buffer = io.BytesIO()
        self.crystals.save(buffer)
        packed = np.frombuffer(buffer.getvalue(), dtype=np.uint8)
        write_npz(target, _KIND, _VERSION, {_CRYSTALS: packed, **self._columns()})

    @classmethod
    def load(cls, source: str | Path | IO[bytes], functional: str = UNKNOWN) -> Dataset:
        """Read ``dataset.npz``, version 1 or 2, or labelled JSON lines (``*.jsonl``, ``*.jsonl.gz``).

        :param functional: of every row of JSON lines that does not say itself
        :raises FormatError: neither, or rows that do not fit together
        """
        if str(source).endswith(('.jsonl', '.jsonl.gz')):
            path = Path(str(source))
            try:
                content = path.read_bytes()
            except OSError as error:
                raise FormatError(f'{path}: cannot be read ({error.strerror})') from error
            return cls.from_lines(str(path), content, functional)
        arrays = read_npz(source, _KIND, _VERSION, _OLDER)
        label = str(source) if isinstance(source, str | Path) else 'dataset.npz'
        packed = check_shape(label, _CRYSTALS, arrays.pop(_CRYSTALS, None), (None,), 'u')
        try:
            return cls(CrystalSet.load(io.BytesIO(packed.tobytes())), **_checked(arrays))
        except FormatError as error:
            raise FormatError(f'{label}: {error}') from error

    @classmethod
    def from_lines(cls, name: str, content: bytes, functional: str = UNKNOWN) -> Dataset:
        """Read labelled JSON lines, see :func:`aiida_goectp.core.datasets.labelled_jsonl.read_labelled_lines`.

        :param name: of the file; compressed if it ends in ``.gz``
        :raises FormatError: not one crystal, not one label, or a label that is no tensor
        """
        return cls(**read_labelled_lines(name, content, functional))


def _texts(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array.astype(np.str_) if array.dtype.kind in 'OU' or not array.size else array


def _checked(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the columns of a file as arguments.

    :raises FormatError: one is missing or unknown, or settings that are no JSON object
    """
    for name in _TENSORS:
        if name not in arrays:
            raise FormatError(f'array {name!r} is missing')
    found: dict[str, Any] = {name: arrays.pop(name) for name in (*_TENSORS, 'born_charges', *_TEXTS) if name in arrays}
    try:
        settings = json.loads(str(arrays.pop(_SETTINGS, '{}')))
        if not isinstance(settings, dict) or not all(isinstance(value, dict) for value in settings.values()):
            raise TypeError('expected an object of objects')
    except (ValueError, TypeError, RecursionError) as error:
        raise FormatError(f'split_settings is no JSON of the form name → settings ({error})') from error
    names = [name for name in arrays if name.startswith(_SPLIT)]
    found['splits'] = {name.removeprefix(_SPLIT): arrays.pop(name) for name in names}
    if arrays:
        raise FormatError(f'unknown arrays {", ".join(arrays)}')
    return {**found, 'split_settings': settings}
