"""``Dataset``: crystals with dielectric labels, and the file ``dataset.npz``."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_goectp.crystals.crystalset import CrystalSet
from aiida_goectp.crystals.readers import read_structures
from aiida_goectp.npzfile import FormatError, check_shape, read_npz, write_npz
from aiida_goectp.tensors import symmetrise

__all__ = ('Dataset',)

_KIND, _VERSION = 'dataset', 1
_CRYSTALS = 'crystals'


@dataclass(frozen=True, eq=False)
class Dataset:
    """Crystals with labels; each tensor stands in the frame of its crystal as given.

    :param crystals: n crystals
    :param electronic: (n, 3, 3) ε_∞, NaN where missing
    :param ionic: (n, 3, 3) ionic contribution to the static permittivity, NaN where missing
    """

    crystals: CrystalSet
    electronic: np.ndarray
    ionic: np.ndarray

    def __post_init__(self) -> None:
        for name in ('electronic', 'ionic'):
            check_shape('dataset', name, getattr(self, name), (len(self.crystals), 3, 3), 'f')

    def __len__(self) -> int:
        return len(self.crystals)

    def take(self, rows: Sequence[int] | np.ndarray) -> Dataset:
        """Return the given rows in the given order."""
        chosen = np.asarray(rows, dtype=np.int64)
        return Dataset(self.crystals.take(chosen), self.electronic[chosen], self.ionic[chosen])

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Return the row of each id.

        :raises FormatError: an id that is not there
        """
        place = {str(name): row for row, name in enumerate(self.crystals.ids)}
        if unknown := [name for name in ids if name not in place]:
            raise FormatError(f'{len(unknown)} ids of the split are not in the dataset: {", ".join(unknown[:5])}')
        return np.array([place[name] for name in ids], dtype=np.int64)

    def save(self, target: str | Path | IO[bytes]) -> None:
        """Write ``dataset.npz``, format version 1: the arrays of ``crystals.npz`` within, and the labels."""
        import io

        buffer = io.BytesIO()
        self.crystals.save(buffer)
        arrays = {
            _CRYSTALS: np.frombuffer(buffer.getvalue(), dtype=np.uint8),
            'electronic': self.electronic.astype('<f8'),
            'ionic': self.ionic.astype('<f8'),
        }
        write_npz(target, _KIND, _VERSION, arrays)

    @classmethod
    def load(cls, source: str | Path) -> Dataset:
        """Read ``dataset.npz``, or labelled JSON lines.

        A JSON line holds ``lattice``, ``species``, ``frac_coords``, ``id`` and the labels ``eps_electronic`` and
        ``eps_ionic`` (or ``eps_ionic_fd``), in the frame of ``lattice``; a flag ``electronic_ok`` or ``ionic_ok`` that is
        false keeps that label out.

        :raises FormatError: neither, or rows that do not fit together
        """
        if str(source).endswith(('.jsonl', '.jsonl.gz')):
            return _from_jsonlines(Path(source))
        import io

        arrays = read_npz(source, _KIND, _VERSION)
        packed = check_shape(str(source), _CRYSTALS, arrays.get(_CRYSTALS), (None,), 'u')
        crystals = CrystalSet.load(io.BytesIO(packed.tobytes()))
        try:
            return cls(crystals, arrays['electronic'], arrays['ionic'])
        except KeyError as error:
            raise FormatError(f'{source}: array {error} is missing') from error


def _from_jsonlines(path: Path) -> Dataset:
    crystals = read_structures([path])
    opener: Any = gzip.open if path.name.endswith('.gz') else open
    labels = {}
    with opener(path, 'rt') as stream:
        for line in stream:
            row = json.loads(line) if line.strip() else {}
            labels[str(row.get('id'))] = row
    electronic, ionic = (np.full((len(crystals), 3, 3), np.nan) for _ in range(2))
    for place, name in enumerate(crystals.ids):
        row = labels.get(str(name), {})
        electronic[place] = _label(row, ('eps_electronic',), 'electronic_ok')
        ionic[place] = _label(row, ('eps_ionic', 'eps_ionic_fd'), 'ionic_ok')
    if np.isnan(electronic).all() and np.isnan(ionic).all():
        raise FormatError(f'{path}: no row carries a label; expected eps_electronic and eps_ionic')
    return Dataset(crystals, electronic, ionic)


def _label(row: dict[str, Any], names: tuple[str, ...], flag: str) -> np.ndarray:
    value = next((row[name] for name in names if row.get(name) is not None), None)
    if value is None or not row.get(flag, True):
        return np.full((3, 3), np.nan)
    tensor = np.asarray(value, dtype=np.float64)
    if tensor.shape != (3, 3):
        raise FormatError(f'row {row.get("id")}: {names[0]} has shape {tensor.shape}, expected (3, 3)')
    return symmetrise(tensor)
