"""The partial file of a prediction: results are appended batch by batch, so that a killed run can be resumed.

A header line (JSON: format, model, crystals, settings), then one record a batch: a line with its length and checksum,
then an npz. An incomplete last record is cut off when the file is opened again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.gamma_phonons import GammaPhonons
from aiida_goectp.core.dielectric.predictions import TENSORS
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.npz import check_shape, read_npz, write_npz
from aiida_goectp.core.formats.storage import replacing, writing
from aiida_goectp.core.learning.results import PredictedBatch

__all__ = ('PartialFile', 'identity')

_KIND, _VERSION = 'chunk', 3
_PHONONS = 'phonons/'
"""begins the names of the arrays of phonons"""


def identity(crystals: CrystalSet, model_hash: str, precision: str, phonons: bool) -> dict[str, Any]:
    """Return the header of a partial file, which must be equal for a run to be resumed from it."""
    digest = hashlib.sha256()
    for column in (crystals.ids, crystals.hashes):
        digest.update('\n'.join(map(str, column)).encode())
    return {
        'format': 'aiida-goectp/partial',
        'version': _VERSION,
        'model': model_hash,
        'crystals': digest.hexdigest(),
        'rows': len(crystals),
        'precision': precision,
        'phonons': phonons,
    }


class PartialFile:
    """Batches of results on disk; those of an earlier run are in ``batches`` after opening.

    :param path: path of the file
    :param header: as :func:`identity` returns it; a file with another one is moved aside
    :param resume: keep the results of an existing file
    """

    def __init__(self, path: Path, header: dict[str, Any], resume: bool = True) -> None:
        self.path, self.batches = path, list[PredictedBatch]()
        self.moved_aside: Path | None = None
        if path.exists():
            end = self._read(header) if resume else None
            if end is None:
                self.moved_aside = path.with_name(path.name + '.old')
                path.replace(self.moved_aside)
            else:
                os.truncate(path, end)
        if not path.exists():
            with replacing(path) as stream:
                stream.write(json.dumps(header).encode() + b'\n')
        with writing(path):
            self._stream = path.open('ab', buffering=0)

    def append(self, batch: PredictedBatch) -> None:
        """Append a batch and flush it to the disk.

        :raises StorageError: it cannot be written; the file is cut off where it ended before
        """
        buffer = io.BytesIO()
        arrays = {**batch._asdict(), 'errors': np.array(batch.errors, dtype=np.str_)}
        phonons = arrays.pop('phonons')
        if phonons is not None:
            arrays |= {f'{_PHONONS}{name}': array for name, array in phonons.arrays().items()}
        write_npz(buffer, _KIND, _VERSION, arrays)
        content = buffer.getvalue()
        record = memoryview(f'{len(content)} {zlib.crc32(content)}\n'.encode() + content)
        end = self._stream.seek(0, os.SEEK_END)
        try:
            with writing(self.path):
                while record:
                    record = record[self._stream.write(record) :]
                os.fsync(self._stream.fileno())
        except OSError:
            with suppress(OSError):
                self._stream.truncate(end)
            raise

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _read(self, header: dict[str, Any]) -> int | None:
        """Read all complete batches and return where they end; None if the file belongs to another run."""
        with self.path.open('rb') as stream:
            try:
                if parse_json(stream.readline(10_000)) != header:
                    return None
            except ValueError:
                return None
            end, rows = stream.tell(), 0
            while (batch := _read_batch(stream)) is not None:
                following = np.arange(rows, rows + len(batch.rows))
                rows += len(batch.rows)
                if not len(following) or not np.array_equal(batch.rows, following) or rows > header['rows']:
                    break
                self.batches.append(batch)
                end = stream.tell()
        return end


def _read_batch(stream: IO[bytes]) -> PredictedBatch | None:
    """Return the next batch; None at the end of the file, or if the record is incomplete."""
    try:
        length, checksum = map(int, stream.readline(64).split())
        if length > os.fstat(stream.fileno()).st_size:  # memory is taken for it before anything is read
            return None
        content = stream.read(length)
        if len(content) != length or zlib.crc32(content) != checksum:
            return None
        arrays = read_npz(io.BytesIO(content), _KIND, _VERSION)
        n = len(arrays['rows'])
        tensors = check_shape('partial file', 'tensors', arrays['tensors'], (n, len(TENSORS), 3, 3), 'f')
        deviations = check_shape('partial file', 'deviations', arrays['deviations'], (n, 3, 5), 'f')
        stability = check_shape('partial file', 'stability', arrays['stability'], (n,), 'f')
        errors = [str(error) for error in arrays['errors']]
        columns = {key.removeprefix(_PHONONS): array for key, array in arrays.items() if key.startswith(_PHONONS)}
        phonons = GammaPhonons(**columns) if columns else None
        return PredictedBatch(arrays['rows'], tensors, arrays['flags'], errors, deviations, stability, phonons)
    except (TypeError, ValueError, KeyError, FormatError):
        return None
