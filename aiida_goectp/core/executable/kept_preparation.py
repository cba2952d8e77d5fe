"""The preparation of crystals as it is kept: piece by piece in a partial file, at the end in ``prepared.npz``."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.executable.partial import PREPARATION, PartialFile, Piece
from aiida_goectp.core.formats.terminal import echo
from aiida_goectp.core.learning.batches import prepared_pieces
from aiida_goectp.core.network.prepared import (
    PreparedCrystals,
    crystals_hash,
    preparation_settings,
    write_prepared,
)

__all__ = ('KeptPreparation',)

_VERSION = 1
"""of the partial file"""
_PIECE_ROWS = 256
"""rows that are written together at least; a killed run loses as many"""


class KeptPreparation:
    """Preparation of all crystals of a set, resumed from ``OUTPUT.partial`` if that exists.

    The compressed pieces stay in memory, about half a kilobyte a crystal.

    :param output: ``prepared.npz`` to write
    :param crystals: the whole set
    :param resume: keep the rows of an existing partial file
    :param quiet: print no message
    """

    def __init__(self, output: Path, crystals: CrystalSet, resume: bool, quiet: bool) -> None:
        self.output, self.crystals, self._hash = output, crystals, crystals_hash(crystals)
        header = {
            'format': 'aiida-goectp/partial-preparation',
            'version': _VERSION,
            'crystals': self._hash,
            'rows': len(crystals),
            **preparation_settings(),
        }
        self._partial = PartialFile(Path(f'{output}.partial'), PREPARATION, header, resume)
        self._pieces, self._waiting = list(self._partial.batches), list[PreparedCrystals]()
        self.rows = sum(len(piece.rows) for piece in self._pieces)
        """number of rows that are kept, from the first one on"""
        if (message := self._partial.message('all rows are prepared')) and not quiet:
            echo(message, err=True)

    @property
    def failed(self) -> int:
        """Number of rows with an error, of those in the partial file."""
        tables = (PreparedCrystals.load(io.BytesIO(piece.content)) for piece in self._pieces)
        return sum(int((table.errors != '').sum()) for table in tables)

    def append(self, prepared: PreparedCrystals, first: int) -> None:
        """Keep further rows; those that are kept already are left out.

        :param first: index of their first row, at most :attr:`rows`
        :raises StorageError: they cannot be written
        """
        new = np.arange(self.rows - first, len(prepared))
        if not len(new):
            return
        self._waiting.append(prepared.take(new))
        self.rows += len(new)
        if sum(map(len, self._waiting)) >= _PIECE_ROWS:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        table, content = PreparedCrystals.concatenate(self._waiting), io.BytesIO()
        table.save(content)
        self._waiting = []
        self._pieces.append(piece := Piece(np.arange(self.rows - len(table), self.rows), content.getvalue()))
        self._partial.append(piece)

    def catch_up(self, row: int) -> None:
        """Prepare what is missing before a row, as after a crash that lost the end of the partial file."""
        first = self.rows
        for piece in prepared_pieces(self.crystals, first, row):
            self.append(piece, first)
            first += len(piece)

    def flush(self) -> None:
        """Wait until all rows are on the disk."""
        self._write()
        self._partial.flush()

    def finish(self) -> None:
        """Write ``prepared.npz`` and remove the partial file."""
        self._write()
        self._partial.close()
        write_prepared(self.output, [piece.content for piece in self._pieces], self._hash)
        self._partial.path.unlink(missing_ok=True)
