"""The partial file of a prediction: finished rows appended as they come, so that a killed run goes on.

A header line (JSON: format, model, crystals, settings), then one record a chunk: a line with its length and checksum,
then an npz. A torn last record is cut off when the file is opened again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.predictions import TENSORS
from aiida_goectp.core.formats.npz import FormatError, check_shape, read_npz, write_npz
from aiida_goectp.core.learning.predict import Chunk

__all__ = ('PartialFile', 'identity')

_KIND, _VERSION = 'chunk', 2


def identity(crystals: CrystalSet, model_hash: str, precision: str) -> dict[str, Any]:
    """Return what a partial file must agree on before it is continued."""
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
    }


class PartialFile:
    """Chunks on disk.

    :param path: of the partial file
    :param header: as :func:`identity` gives it; a file with another one is moved aside
    :param resume: go on with a file that lies there
    """

    def __init__(self, path: Path, header: dict[str, Any], resume: bool = True) -> None:
        self.path, self.chunks = path, list[Chunk]()
        self.moved_aside: Path | None = None
        if path.exists():
            kept = self._read(header) if resume else None
            if kept is None:
                self.moved_aside = path.with_name(path.name + '.old')
                path.replace(self.moved_aside)
            else:
                os.truncate(path, kept)
        if not path.exists():
            path.write_text(json.dumps(header) + '\n')
        self._stream: IO[bytes] = path.open('ab')

    @property
    def rows_done(self) -> int:
        """Rows that lie in the file; they are the first ones, in order."""
        return sum(len(chunk.rows) for chunk in self.chunks)

    def append(self, chunk: Chunk) -> None:
        """Add a chunk and see it onto the disk."""
        buffer = io.BytesIO()
        arrays = {
            'rows': chunk.rows,
            'tensors': chunk.tensors,
            'flags': chunk.flags,
            'errors': np.array(chunk.errors, dtype=np.str_),
            'deviations': chunk.deviations,
        }
        write_npz(buffer, _KIND, _VERSION, arrays)
        content = buffer.getvalue()
        self._stream.write(f'{len(content)} {zlib.crc32(content)}\n'.encode() + content)
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.chunks.append(chunk)

    def close(self, remove: bool = False) -> None:
        """Close the file, and remove it once its rows are in the final one."""
        self._stream.close()
        if remove:
            self.path.unlink(missing_ok=True)

    def _read(self, header: dict[str, Any]) -> int | None:
        """Read whole chunks and return where they end; None if the file belongs to something else."""
        with self.path.open('rb') as stream:
            try:
                if json.loads(stream.readline(10_000)) != header:
                    return None
            except ValueError:
                return None
            end = stream.tell()
            while (chunk := _read_chunk(stream)) is not None and self._follows(chunk, header['rows']):
                self.chunks.append(chunk)
                end = stream.tell()
        return end

    def _follows(self, chunk: Chunk, total: int) -> bool:
        expected = np.arange(self.rows_done, self.rows_done + len(chunk.rows))
        return len(chunk.rows) > 0 and bool(np.array_equal(chunk.rows, expected)) and expected[-1] < total


def _read_chunk(stream: IO[bytes]) -> Chunk | None:
    """Return the next chunk, or None at the end or where the file is torn."""
    try:
        length, checksum = map(int, stream.readline(64).split())
        content = stream.read(length)
        if len(content) != length or zlib.crc32(content) != checksum:
            return None
        arrays = read_npz(io.BytesIO(content), _KIND, _VERSION)
        n = len(arrays['rows'])
        tensors = check_shape('partial file', 'tensors', arrays['tensors'], (n, len(TENSORS), 3, 3), 'f')
        sure = check_shape('partial file', 'deviations', arrays['deviations'], (n, 3, 5), 'f')
        return Chunk(arrays['rows'], tensors, arrays['flags'], [str(error) for error in arrays['errors']], sure)
    except (ValueError, KeyError, FormatError):
        return None
