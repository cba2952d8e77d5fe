"""From crystals to batches of graphs: the first two stages of a prediction, prepare and batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.learning.workers import Task, WorkerPool, prefetch
from aiida_goectp.core.network.preparation import GraphArrays, build_arrays, prepare
from aiida_goectp.core.network.prepared import (
    PreparedCrystals,
    PreparedFile,
    preparation_error,
    prepare_rows,
    validation_error,
)

__all__ = ('PreparedBatch', 'prepare_batch', 'prepared_batches', 'prepared_pieces')

_AHEAD = 2
"""largest number of batches that wait for the network"""
_EDGES_AN_ATOM = 40
"""undirected; a batch with more is split, so that its number of atoms bounds the memory that it needs"""
_PIECE_ATOMS = 2048
"""atoms of the part of a batch that one call of a worker process prepares, in a second at most"""


class PreparedBatch(NamedTuple):
    """Consecutive rows of a crystal set, with the graphs of the valid ones."""

    rows: np.ndarray
    """(k,) indices in the crystal set"""
    errors: list[str]
    """(k,) reason why a row has no graph, empty for a valid row"""
    graphs: GraphArrays
    """of the valid rows"""
    hashes: np.ndarray
    """(k,) content hash of each crystal, made where it is prepared"""
    prepared: PreparedCrystals | None = None
    """preparation of all rows, if it is to be kept"""

    @property
    def valid(self) -> np.ndarray:
        """Indices within ``rows`` of the rows that have graphs, ascending."""
        return np.array([place for place, error in enumerate(self.errors) if not error], dtype=np.int64)

    @classmethod
    def concatenate(cls, parts: Sequence[PreparedBatch]) -> PreparedBatch:
        """Return one batch of consecutive parts."""
        kept = [part.prepared for part in parts if part.prepared is not None]
        return cls(
            np.concatenate([part.rows for part in parts]),
            [error for part in parts for error in part.errors],
            GraphArrays.concatenate([part.graphs for part in parts]),
            np.concatenate([part.hashes for part in parts]),
            PreparedCrystals.concatenate(kept) if kept else None,
        )

    def halves(self) -> tuple[PreparedBatch, PreparedBatch]:
        """Return the first and the second half of the rows."""
        middle = len(self.rows) // 2
        first, second = np.split(np.arange(len(self.rows)), [middle])
        graphs = np.split(np.arange(len(self.graphs)), [sum(not error for error in self.errors[:middle])])
        return self._part(first, graphs[0]), self._part(second, graphs[1])

    def _part(self, places: np.ndarray, graphs: np.ndarray) -> PreparedBatch:
        """Return the rows at some places, to which the given graphs belong."""
        return PreparedBatch(
            self.rows[places],
            [self.errors[place] for place in places],
            self.graphs.take(graphs),
            self.hashes[places],
            None if self.prepared is None else self.prepared.take(places),
        )


def prepared_batches(
    crystals: CrystalSet,
    preset: str,
    batch_atoms: Callable[[], int],
    start: int = 0,
    processes: int = 0,
    prepared: PreparedFile | None = None,
    keep: bool = False,
) -> Iterator[PreparedBatch]:
    """Yield batches in row order; the next ones are prepared in the background.

    :param preset: a key of :data:`aiida_goectp.core.network.preparation.PRESETS`
    :param batch_atoms: returns the largest number of atoms in a batch; called before each, so that it can decrease
    :param start: first row
    :param processes: number of processes that prepare crystals; 0 for a thread of this process
    :param prepared: preparation that was kept
    :param keep: return the preparation with each batch
    """
    batches = _prepare_all(crystals, preset, batch_atoms, start, processes, prepared, keep)
    atoms_left = crystals.atom_offsets[-1] - crystals.atom_offsets[start]
    if not processes and (len(crystals) - start == 1 or atoms_left <= batch_atoms()):
        yield from batches  # a single batch: a thread would cost a millisecond
    else:
        yield from prefetch(batches, _AHEAD)


def _prepare_all(
    crystals: CrystalSet,
    preset: str,
    batch_atoms: Callable[[], int],
    start: int,
    processes: int,
    prepared: PreparedFile | None,
    keep: bool,
) -> Generator[PreparedBatch, None, None]:
    """Yield batches in row order. Worker processes prepare pieces of the following batches meanwhile."""
    pending: deque[list[Task[PreparedBatch]]] = deque()
    kept = None if prepared is None else prepared.reader(start)
    with WorkerPool(processes, __name__) as pool:
        for rows in _portions(crystals.atom_offsets, start, len(crystals), batch_atoms):
            pieces = _portions(crystals.atom_offsets, int(rows[0]), int(rows[-1]) + 1, lambda: _PIECE_ATOMS)
            pending.append(
                [
                    pool.submit(
                        prepare_batch,
                        piece,
                        crystals if len(piece) == len(crystals) else crystals.take(piece),
                        preset,
                        None if kept is None else kept(len(piece)),
                        keep,
                    )
                    for piece in pieces
                ]
            )
            while pending and _unfinished(pending) >= 2 * pool.processes:
                yield from _collect(pending.popleft(), batch_atoms())
        while pending:
            yield from _collect(pending.popleft(), batch_atoms())


def prepared_pieces(
    crystals: CrystalSet, start: int = 0, stop: int | None = None, processes: int = 0
) -> Iterator[PreparedCrystals]:
    """Yield the preparation of consecutive rows in their order.

    :param start: first row
    :param stop: the row after the last one; all rows if None
    :param processes: number of processes that prepare crystals; 0 for this thread
    """
    pending: deque[Task[PreparedCrystals]] = deque()
    stop = len(crystals) if stop is None else stop
    with WorkerPool(processes, __name__) as pool:
        for rows in _portions(crystals.atom_offsets, start, stop, lambda: _PIECE_ATOMS):
            pending.append(pool.submit(prepare_rows, crystals.take(rows)))
            while pending and sum(not task.future.done() for task in pending) >= 2 * pool.processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _portions(offsets: np.ndarray, start: int, stop: int, atoms: Callable[[], int]) -> Iterator[np.ndarray]:
    """Yield consecutive rows from ``start`` to ``stop``, as many as have no more than that many atoms, at least one."""
    while start < stop:
        end = int(np.searchsorted(offsets, offsets[start] + atoms(), side='right')) - 1
        end = min(max(end, start + 1), stop)
        yield np.arange(start, end)
        start = end


def prepare_batch(
    rows: np.ndarray, crystals: CrystalSet, preset: str, prepared: PreparedCrystals | None = None, keep: bool = False
) -> PreparedBatch:
    """Return the graphs of some rows of a crystal set.

    :param rows: (k,) their indices
    :param crystals: these k crystals
    :param preset: a key of :data:`aiida_goectp.core.network.preparation.PRESETS`
    :param prepared: their preparation, if it was kept
    :param keep: return their preparation
    """
    if keep and prepared is None:
        prepared = prepare_rows(crystals)
    build: Callable[[list[Any], str], GraphArrays]
    candidates: dict[int, Any]
    """place of each row without error → the crystal, or its preparation"""
    if prepared is None:
        errors, build = [validation_error(crystal) for crystal in crystals], prepare
        candidates = {place: crystal for place, crystal in enumerate(crystals) if not errors[place]}
    else:
        errors, build = prepared.errors.tolist(), build_arrays
        valid = [place for place, error in enumerate(errors) if not error]
        candidates = dict(zip(valid, prepared.for_preset(preset), strict=True))
    try:
        graphs = build(list(candidates.values()), preset)
    except Exception:  # one crystal breaks the graph builder: find it, and keep the others
        for place, candidate in list(candidates.items()):
            try:
                build([candidate], preset)
            except Exception as error:
                errors[place] = preparation_error(error)
                del candidates[place]
        graphs = build(list(candidates.values()), preset)
    return PreparedBatch(rows, errors, graphs, crystals.hashes, prepared if keep else None)


def _unfinished(pending: deque[list[Task[PreparedBatch]]]) -> int:
    return sum(not task.future.done() for tasks in pending for task in tasks)


def _collect(pieces: list[Task[PreparedBatch]], batch_atoms: int) -> Iterator[PreparedBatch]:
    """Wait for the pieces of a batch, join them, and split the batch where it has too many edges."""
    batches = [PreparedBatch.concatenate([piece.result() for piece in pieces])]
    while batches:
        batch = batches.pop()
        if batch.graphs.pairs <= _EDGES_AN_ATOM * batch_atoms or len(batch.rows) == 1:
            yield batch
        else:
            batches += batch.halves()[::-1]
