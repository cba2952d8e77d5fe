"""From crystals to batches of graphs: the first two stages of a prediction, prepare and batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet
from aiida_goectp.core.crystals.validation import CrystalError, check_crystal
from aiida_goectp.core.learning.workers import Task, WorkerPool, prefetch
from aiida_goectp.core.network.elements import HEAVIEST
from aiida_goectp.core.network.preparation import GraphArrays, prepare

__all__ = ('PreparedBatch', 'prepare_batch', 'prepared_batches')

_AHEAD = 2
"""largest number of batches that wait for the network"""
_EDGES_AN_ATOM = 40
"""undirected; a batch with more is split, so that its number of atoms bounds the memory that it needs"""
_MAX_ATOMS = 20_000
"""in the cell of one crystal; the search of its symmetry takes minutes beyond"""
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

    @property
    def valid(self) -> np.ndarray:
        """Indices within ``rows`` of the rows that have graphs, ascending."""
        return np.array([place for place, error in enumerate(self.errors) if not error], dtype=np.int64)

    @classmethod
    def concatenate(cls, parts: Sequence[PreparedBatch]) -> PreparedBatch:
        """Return one batch of consecutive parts."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            [error for part in parts for error in part.errors],
            GraphArrays.concatenate([part.graphs for part in parts]),
            np.concatenate([part.hashes for part in parts]),
        )

    def halves(self) -> tuple[PreparedBatch, PreparedBatch]:
        """Return the first and the second half of the rows."""
        middle = len(self.rows) // 2
        graphs, cut = np.arange(len(self.graphs)), sum(not error for error in self.errors[:middle])
        return (
            PreparedBatch(
                self.rows[:middle], self.errors[:middle], self.graphs.take(graphs[:cut]), self.hashes[:middle]
            ),
            PreparedBatch(
                self.rows[middle:], self.errors[middle:], self.graphs.take(graphs[cut:]), self.hashes[middle:]
            ),
        )


def prepared_batches(
    crystals: CrystalSet, preset: str, batch_atoms: Callable[[], int], start: int = 0, processes: int = 0
) -> Iterator[PreparedBatch]:
    """Yield batches in row order; the next ones are prepared in the background.

    :param preset: a key of :data:`aiida_goectp.core.network.preparation.PRESETS`
    :param batch_atoms: returns the largest number of atoms in a batch; called before each, so that it can decrease
    :param start: first row
    :param processes: number of processes that prepare crystals; 0 for a thread of this process
    """
    batches = _prepare_all(crystals, preset, batch_atoms, start, processes)
    atoms_left = crystals.atom_offsets[-1] - crystals.atom_offsets[start]
    if not processes and (len(crystals) - start == 1 or atoms_left <= batch_atoms()):
        yield from batches  # a single batch: a thread would cost a millisecond
    else:
        yield from prefetch(batches, _AHEAD)


def _prepare_all(
    crystals: CrystalSet, preset: str, batch_atoms: Callable[[], int], start: int, processes: int
) -> Generator[PreparedBatch, None, None]:
    """Yield batches in row order. Worker processes prepare pieces of the following batches meanwhile."""
    pending: deque[list[Task[PreparedBatch]]] = deque()
    with WorkerPool(processes, __name__) as pool:
        for rows in _portions(crystals.atom_offsets, start, len(crystals), batch_atoms):
            pieces = _portions(crystals.atom_offsets, int(rows[0]), int(rows[-1]) + 1, lambda: _PIECE_ATOMS)
            pending.append([pool.submit(prepare_batch, piece, crystals.take(piece), preset) for piece in pieces])
            while pending and _unfinished(pending) >= 2 * pool.processes:
                yield from _collect(pending.popleft(), batch_atoms())
        while pending:
            yield from _collect(pending.popleft(), batch_atoms())


def _portions(offsets: np.ndarray, start: int, stop: int, atoms: Callable[[], int]) -> Iterator[np.ndarray]:
    """Yield consecutive rows from ``start`` to ``stop``, as many as have no more than that many atoms, at least one."""
    while start < stop:
        end = int(np.searchsorted(offsets, offsets[start] + atoms(), side='right')) - 1
        end = min(max(end, start + 1), stop)
        yield np.arange(start, end)
        start = end


def prepare_batch(rows: np.ndarray, crystals: CrystalSet, preset: str) -> PreparedBatch:
    """Return the graphs of some rows of a crystal set.

    :param rows: (k,) their indices
    :param crystals: these k crystals
    :param preset: a key of :data:`aiida_goectp.core.network.preparation.PRESETS`
    """
    candidates = list(crystals)
    errors = [_validation_error(crystal) for crystal in candidates]
    try:
        graphs = prepare(_without_errors(candidates, errors), preset)
    except Exception:  # one crystal breaks the graph builder: find it, and keep the others
        for place, crystal in enumerate(candidates):
            try:
                if not errors[place]:
                    prepare([crystal], preset)
            except Exception as error:
                errors[place] = (
                    f'{error.code}: {error}'
                    if isinstance(error, CrystalError)
                    else f'no graph could be built: {type(error).__name__}: {error}'
                )
        graphs = prepare(_without_errors(candidates, errors), preset)
    return PreparedBatch(rows, errors, graphs, crystals.hashes)


def _validation_error(crystal: Crystal) -> str:
    if len(crystal.atomic_numbers) > _MAX_ATOMS:
        return f'too_large: {len(crystal.atomic_numbers)} atoms in the cell; {_MAX_ATOMS} can be predicted'
    failure = check_crystal(crystal)
    if failure is not None:
        return f'{failure.code}: {failure.message}'
    if crystal.atomic_numbers.max() > HEAVIEST:
        return (
            f'unknown_element: atomic number {crystal.atomic_numbers.max()}; the network has elements up to {HEAVIEST}'
        )
    return ''


def _without_errors(crystals: list[Crystal], errors: list[str]) -> list[Crystal]:
    return [crystal for crystal, error in zip(crystals, errors, strict=True) if not error]


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
