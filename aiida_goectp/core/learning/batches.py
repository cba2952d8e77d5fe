"""Batches of graphs, made while the network computes the batch before."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.learning.graphs import GraphMaker, Prepared, Task, prepare_all
from aiida_goectp.core.network.preparation import GraphArrays

__all__ = ('PreparedBatch', 'prepared_batches')

_AHEAD = 2
"""batches that wait for the network at most"""
_EDGES_AN_ATOM = 40
"""undirected; a batch of crystals with more is split, so that atoms alone bound the memory"""
_PIECE_ATOMS = 2048
"""whose graphs are made in one go"""


class PreparedBatch(NamedTuple):
    """Consecutive rows of a crystal set, with the graphs of those that could be made."""

    rows: np.ndarray
    """(k,)"""
    good: np.ndarray
    """(g,) places within ``rows`` that have graphs, ascending"""
    graphs: GraphArrays
    """of the g good rows"""
    errors: list[str]
    """(k,) empty where good"""


def prepared_batches(
    crystals: CrystalSet, preset: str, batch_atoms: Callable[[], int], start: int = 0, processes: int = 0
) -> Iterator[PreparedBatch]:
    """Yield batches in row order.

    :param batch_atoms: asked before each batch, so that the size can shrink on the way
    :param start: first row
    :param processes: that make graphs; 0 for a thread of this one
    """
    if start < len(crystals) and not processes:
        rows = _next_rows(crystals, start, batch_atoms())
        if rows[-1] + 1 == len(crystals):  # nothing to make meanwhile; threads would cost a millisecond
            batch = _joined(rows, [prepare_all(crystals.take(rows), preset)])
            yield from _within_edges(batch, _EDGES_AN_ATOM * batch_atoms())
            return
    ready: queue.Queue[PreparedBatch | BaseException | None] = queue.Queue(maxsize=_AHEAD)
    stop = threading.Event()

    def produce() -> None:
        try:
            with GraphMaker(preset, processes) as maker:
                for batch in _in_order(crystals, batch_atoms, start, maker):
                    for part in _within_edges(batch, _EDGES_AN_ATOM * batch_atoms()):
                        _put(ready, part, stop)
                    if stop.is_set():
                        return
            _put(ready, None, stop)
        except BaseException as error:  # handed to the consumer, which raises it
            _put(ready, error, stop)

    thread = threading.Thread(target=produce, name='batches', daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _in_order(
    crystals: CrystalSet, batch_atoms: Callable[[], int], start: int, maker: GraphMaker
) -> Iterator[PreparedBatch]:
    """Yield whole batches; their pieces are made meanwhile, by all processes, a few pieces ahead."""
    asked: deque[tuple[np.ndarray, list[Task]]] = deque()
    row = start
    while row < len(crystals) or asked:
        while row < len(crystals) and _unfinished(asked) <= 2 * maker.processes:
            rows = _next_rows(crystals, row, batch_atoms())
            asked.append((rows, [maker.ask(crystals.take(piece)) for piece in _pieces(crystals, rows)]))
            row = int(rows[-1]) + 1
        rows, tasks = asked.popleft()
        yield _joined(rows, [maker.answer(task) for task in tasks])


def _unfinished(asked: Iterable[tuple[np.ndarray, list[Task]]]) -> int:
    return sum(not task.future.done() for _, tasks in asked for task in tasks)


def _pieces(crystals: CrystalSet, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of a batch in portions that keep one process busy for a second at most."""
    row, stop = int(rows[0]), int(rows[-1]) + 1
    while row < stop:
        piece = _next_rows(crystals, row, _PIECE_ATOMS)
        yield piece[piece < stop]
        row = int(piece[-1]) + 1


def _joined(rows: np.ndarray, pieces: list[Prepared]) -> PreparedBatch:
    starts = np.cumsum([0, *(len(piece.errors) for piece in pieces)])
    good = [start + place for start, piece in zip(starts, pieces, strict=False) for place in piece.good]
    errors = [error for piece in pieces for error in piece.errors]
    graphs = GraphArrays.concatenate([piece.graphs for piece in pieces])
    return PreparedBatch(rows, np.array(good, dtype=np.int64), graphs, errors)


def _put(ready: queue.Queue, item: PreparedBatch | BaseException | None, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.2)
            return
        except queue.Full:
            continue


def _next_rows(crystals: CrystalSet, start: int, atoms: int) -> np.ndarray:
    """Return rows from ``start`` on that together stay below the number of atoms, one at least."""
    limit = crystals.atom_offsets[start] + atoms
    stop = int(np.searchsorted(crystals.atom_offsets, limit, side='right')) - 1
    return np.arange(start, min(max(stop, start + 1), len(crystals)))


def _within_edges(batch: PreparedBatch, edges: int) -> Iterator[PreparedBatch]:
    """Split a batch until none has more edges, or but one crystal."""
    if len(batch.graphs.source) <= edges or len(batch.rows) == 1:
        yield batch
        return
    middle = len(batch.rows) // 2
    cut = int(np.searchsorted(batch.good, middle))
    for rows, good, places, shift in (
        (slice(0, middle), batch.good[:cut], np.arange(cut), 0),
        (slice(middle, None), batch.good[cut:], np.arange(cut, len(batch.good)), middle),
    ):
        part = PreparedBatch(batch.rows[rows], good - shift, batch.graphs.take(places), batch.errors[rows])
        yield from _within_edges(part, edges)
