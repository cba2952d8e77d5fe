"""``Dataset``: crystals with dielectric labels, and the file ``dataset.npz``."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_goectp.crystals.crystalset import CrystalSet
from aiida_goectp.crystals.entries import collect
from aiida_goectp.crystals.jsonlines import read_jsonlines
from aiida_goectp.npzfile import FormatError, check_shape, read_npz, write_npz
from aiida_goectp.tensors import symmetrise

__all__ = ('Dataset',)

_KIND, _VERSION = 'dataset', 1
_CRYSTALS = 'crystals'
_LINE = 'number of the line'


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
        ``eps_ionic`` (or ``eps_ionic_fd``), in the frame of ``lattice``; a flag ``electronic_ok`` or ``ionic_ok``
        that is false keeps that label out.

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
    content = _content(path)
    # ids may be missing, or stand twice: each crystal keeps the number of its line, which finds the label again
    entries = read_jsonlines(path.name, path.name.split('.jsonl')[0], content)
    crystals = collect(entry._replace(properties={**entry.properties, _LINE: n}) for n, entry in enumerate(entries))
    if not len(crystals):
        reasons = '; '.join(f'{failure.code}: {failure.message}' for failure in crystals.failures[:3])
        raise FormatError(f'{path}: not one crystal could be read; {reasons or "the file is empty"}')
    lines = [line for line in content.split(b'\n') if line.strip()]
    columns = dict(crystals.properties)
    electronic, ionic = (np.full((len(crystals), 3, 3), np.nan) for _ in range(2))
    for place, line in enumerate(columns.pop(_LINE)):
        row = json.loads(lines[line])
        electronic[place] = _label(path, row, ('eps_electronic',), 'electronic_ok')
        ionic[place] = _label(path, row, ('eps_ionic', 'eps_ionic_fd'), 'ionic_ok')
    crystals = replace(crystals, properties=columns)
    if np.isnan(electronic).all() and np.isnan(ionic).all():
        raise FormatError(f'{path}: no row carries a label; expected eps_electronic and eps_ionic')
    return Dataset(crystals, electronic, ionic)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.name.endswith('.gz') else content
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f'{path}: cannot be read, or cut off ({error})') from error


def _label(path: Path, row: dict[str, Any], names: tuple[str, ...], flag: str) -> np.ndarray:
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None or not row.get(flag, True):
        return np.full((3, 3), np.nan)
    try:
        tensor = np.asarray(row[name], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise FormatError(f'{path}, row {row.get("id")}: {name} is no table of numbers ({error})') from error
    if tensor.shape != (3, 3):
        raise FormatError(f'{path}, row {row.get("id")}: {name} has shape {tensor.shape}, expected (3, 3)')
    return symmetrise(tensor)
