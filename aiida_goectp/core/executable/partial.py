"""Partial files: results are appended batch by batch, so that a killed run can be resumed.

A header line (JSON: format, model, crystals, settings, software), then one record a batch. That of a prediction has a
line with the number of rows, the lengths of errors and phonons, and a checksum; then the columns one after the other,
uncompressed, the errors as JSON and the phonons as npz. That of a preparation has a line with the number of rows, a
length and a checksum; then the rows as npz. What cannot be read at the end of the file is cut off when it is opened
again. A damaged record of a prediction between others is skipped: its rows are marked with an error, to be predicted
again.
"""

from __future__ import annotations

import glob
import io
import json
import os
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, Generic, NamedTuple, TypeVar

import numpy as np

from aiida_goectp.core.crystals.compiled.software import changes, software
from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.gamma_phonons import GammaPhonons
from aiida_goectp.core.dielectric.predictions import TENSORS
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.npz import hash_arrays
from aiida_goectp.core.formats.storage import replacing, writing
from aiida_goectp.core.learning.results import PredictedBatch

__all__ = ('PREDICTION', 'PREPARATION', 'PartialFile', 'Piece', 'Records', 'identity')

_FORMAT, _VERSION = 'aiida-goectp/partial', 4
_COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    'tensors': ('<f8', (len(TENSORS), 3, 3)),
    'flags': ('<u4', ()),
    'deviations': ('<f8', (3, 5)),
    'stability': ('<f8', ()),
    'hashes': ('S32', ()),
}
"""dtype and shape of a row of each column of a record"""
_ROW = sum(np.dtype(kind).itemsize * int(np.prod(shape, dtype=int)) for kind, shape in _COLUMNS.values())
"""bytes of a row"""
_SYNC_SECONDS = 1.0
"""time between two requests that the disk keeps what was written, of which a killed process loses nothing"""


def identity(crystals: CrystalSet, model_hash: str, precision: str, phonons: bool) -> dict[str, Any]:
    """Return the header of a partial file, which must be equal for a run to be resumed from it.

    The device is not part of it: a prediction whose GPU is lost is resumed on the CPU, with equal results to rounding.
    """
    names = ('ids', 'lattices', 'atom_offsets', 'atomic_numbers', 'fractional_positions')
    return {
        'format': _FORMAT,
        'version': _VERSION,
        'model': model_hash,
        'crystals': hash_arrays({name: getattr(crystals, name) for name in names}),
        'rows': len(crystals),
        'precision': precision,
        'phonons': phonons,
        'software': software('crystals', 'dielectric', 'learning', 'network'),
    }


class Piece(NamedTuple):
    """Prepared rows."""

    rows: np.ndarray
    """(k,) indices in the crystal set"""
    content: bytes
    """npz of :class:`.PreparedCrystals`"""


_Batch = TypeVar('_Batch', PredictedBatch, Piece)


class Records(NamedTuple, Generic[_Batch]):
    """How batches are written to a partial file."""

    write: Callable[[_Batch], bytes]
    """returns the record of a batch"""
    read: Callable[[IO[bytes], int], tuple[_Batch, bool] | None]
    """returns the batch of the next record, whose first row is given, and whether it is intact; None at the end, or if
    nothing after it can be read either"""


class PartialFile(Generic[_Batch]):
    """Batches of results on disk; those of an earlier run are in ``batches`` after opening.

    A thread waits for the disk, so that it does not hold up the prediction.

    :param path: path of the file
    :param records: :data:`PREDICTION` or :data:`PREPARATION`
    :param header: with ``format``, ``version`` and ``rows``. A file with another one is moved aside, to the first of
        the names ``.old``, ``.old2`` … that is free; one that was moved aside before and has this header is used
    :param resume: keep the results of an existing file
    """

    def __init__(self, path: Path, records: Records[_Batch], header: dict[str, Any], resume: bool = True) -> None:
        self.path = path
        self.records: Records[_Batch] = records
        self.batches: list[_Batch] = []
        self.moved_aside: Path | None = None
        self.why_moved = 'belongs to another run'
        self.taken_back: Path | None = None
        """file of an earlier run with this header, which was moved aside meanwhile"""
        self.damaged_rows = 0
        """rows of damaged records between others"""
        self.cut_off = 0
        """bytes at the end that could not be read"""
        earlier = sorted(path.parent.glob(f'{glob.escape(path.name)}.old*'))
        end = self._read(path, header) if resume and path.exists() else None
        if end is None and path.exists():
            if resume:
                self._explain(path, header)
            names = (path.with_name(f'{path.name}.old{number if number > 1 else ""}') for number in count(1))
            self.moved_aside = next(name for name in names if not name.exists())
            path.replace(self.moved_aside)
        for aside in earlier if resume and end is None else []:
            if (end := self._read(aside, header)) is not None:
                self.taken_back = aside
                aside.replace(path)
                break
        if end is not None:
            self.cut_off = path.stat().st_size - end
            os.truncate(path, end)
        else:
            with replacing(path) as stream:
                stream.write(json.dumps(header).encode() + b'\n')
        with writing(path):
            self._stream = path.open('ab', buffering=0)
        self._synced = time.monotonic()
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def append(self, batch: _Batch) -> None:
        """Append a batch.

        :raises StorageError: it cannot be written; the file is cut off where it ended before
        """
        record = memoryview(self.records.write(batch))
        end = self._stream.seek(0, os.SEEK_END)
        try:
            self._raise_error()
            with writing(self.path):
                while record:
                    record = record[self._stream.write(record) :]
        except OSError:
            with suppress(OSError):
                self._stream.truncate(end)
            raise
        if time.monotonic() - self._synced > _SYNC_SECONDS and (self._thread is None or not self._thread.is_alive()):
            self._synced = time.monotonic()
            self._thread = threading.Thread(target=self._sync, name='partial file', daemon=True)
            self._thread.start()

    def flush(self) -> None:
        """Wait until all batches are on the disk.

        :raises StorageError: one could not be written
        """
        if self._thread is not None:
            self._thread.join()
        self._sync()
        self._raise_error()

    def close(self) -> None:
        """Close the file."""
        if self._thread is not None:
            self._thread.join()
        self._stream.close()

    def _sync(self) -> None:
        try:
            with writing(self.path):
                os.fsync(self._stream.fileno())
        except OSError as error:
            self._error = error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def message(self, done: str) -> str:
        """Return what to tell the user about files that were moved and results that were lost, empty without any.

        :param done: what is done if no file of this run was found
        """
        parts = []
        if self.moved_aside is not None:
            parts.append(f'the partial file {self.why_moved}; moved to {self.moved_aside}')
        if self.taken_back is not None:
            parts.append(f'resumed from {self.taken_back}, which belongs to this run')
        elif parts:
            parts.append(done)
        if self.damaged_rows:
            parts.append(f'{self.path}: records of {self.damaged_rows} rows are damaged; these rows are computed again')
        if self.cut_off:
            rows = sum(len(batch.rows) for batch in self.batches)
            parts.append(
                f'{self.path}: the last {self.cut_off} bytes, after {rows} rows, are damaged or incomplete and were '
                'removed'
            )
        return ', '.join(parts)

    def _read(self, path: Path, header: dict[str, Any]) -> int | None:
        """Read all batches up to the last intact one, and return where it ends; None: the file is of another run."""
        with path.open('rb') as stream:
            if _header(stream) != header:
                return None
            end, rows = stream.tell(), 0
            damaged: list[_Batch] = []
            while (found := self.records.read(stream, rows)) is not None:
                batch, intact = found
                rows += len(batch.rows)
                if not len(batch.rows) or rows > header['rows']:
                    break
                if not intact:
                    damaged.append(batch)
                    continue
                # an intact record at this place shows that the lengths of the damaged ones before it are right
                self.damaged_rows += sum(len(item.rows) for item in damaged)
                self.batches += damaged
                self.batches.append(batch)
                damaged.clear()
                end = stream.tell()
        return end

    def _explain(self, path: Path, header: dict[str, Any]) -> None:
        """State why a file belongs to another run, where more is known."""
        with path.open('rb') as stream:
            found = _header(stream)
        if not isinstance(found, dict) or found.get('format') != header['format']:
            return
        version, before, own = found.get('version'), found.get('software'), header.get('software', {})
        if version != header['version'] and isinstance(version, int):
            self.why_moved = f'has version {version} of the format, this package reads version {header["version"]}'
        elif {**found, 'software': own} == {**header, 'software': own}:
            self.why_moved = f'was written by {changes(before if isinstance(before, dict) else {}, own)}'
        else:
            names = (name for name, value in header.items() if name != 'software' and found.get(name) != value)
            self.why_moved = f'belongs to another run, which differs in {", ".join(names)}'


def _header(stream: IO[bytes]) -> Any:
    """Return the content of the first line, None if it is no JSON."""
    try:
        return parse_json(stream.readline(10_000))
    except ValueError:
        return None


def _record(batch: PredictedBatch) -> bytes:
    """Return the record of a batch."""
    columns = [getattr(batch, name).astype(kind, copy=False).tobytes() for name, (kind, _) in _COLUMNS.items()]
    failed = {str(place): error for place, error in enumerate(batch.errors) if error}
    errors, phonons = json.dumps(failed).encode() if failed else b'', io.BytesIO()
    if batch.phonons is not None:
        batch.phonons.save(phonons)
    parts = [*columns, errors, phonons.getvalue()]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return b''.join([f'{len(batch.rows)} {len(errors)} {len(parts[-1])} {checksum}\n'.encode(), *parts])


def _read_batch(stream: IO[bytes], first: int) -> tuple[PredictedBatch, bool] | None:
    """Return the next batch and whether it is intact; None at the end of the file, or if the record is incomplete.

    :param first: number of its first row
    """
    try:
        rows, errors, phonons, checksum = map(int, stream.readline(100).split())
        length = rows * _ROW + errors + phonons
        # memory is taken for it before anything is read
        if min(rows, errors, phonons) < 0 or length > os.fstat(stream.fileno()).st_size:
            return None
        content = stream.read(length)
        if len(content) != length:
            return None
        if zlib.crc32(content) != checksum:
            return PredictedBatch.lost(np.arange(first, first + rows), phonons > 0), False
        columns: dict[str, Any] = {}
        place = 0
        for name, (kind, shape) in _COLUMNS.items():
            count = rows * int(np.prod(shape, dtype=int))
            columns[name] = np.frombuffer(content, kind, count, place).reshape(rows, *shape)
            place += columns[name].nbytes
        texts = [''] * rows
        for row, error in (parse_json(content[place : place + errors]) if errors else {}).items():
            texts[int(row)] = str(error)
        table = GammaPhonons.load(io.BytesIO(content[place + errors :])) if phonons else None
        columns['hashes'] = columns['hashes'].astype('<U32')
        return PredictedBatch(np.arange(first, first + rows), errors=texts, phonons=table, **columns), True
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, FormatError):
        return None


def _piece_record(piece: Piece) -> bytes:
    """Return the record of prepared rows."""
    return f'{len(piece.rows)} {len(piece.content)} {zlib.crc32(piece.content)}\n'.encode() + piece.content


def _read_piece(stream: IO[bytes], first: int) -> tuple[Piece, bool] | None:
    """Return the next prepared rows, which are intact; None at the end of the file, or if the record is not.

    :param first: number of its first row
    """
    try:
        rows, length, checksum = map(int, stream.readline(100).split())
    except ValueError:
        return None
    if min(rows, length) < 0 or length > os.fstat(stream.fileno()).st_size:
        return None
    content = stream.read(length)
    if len(content) != length or zlib.crc32(content) != checksum:
        return None
    return Piece(np.arange(first, first + rows), content), True


PREDICTION, PREPARATION = Records(_record, _read_batch), Records(_piece_record, _read_piece)
"""records of the two kinds of files"""
