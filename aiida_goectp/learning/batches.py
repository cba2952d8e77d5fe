"""Batches of graphs, made in a thread of their own while the network computes the batch before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from aiida_goectp.crystals.crystalset import Crystal, CrystalSet
from aiida_goectp.crystals.validation import check_crystal
from aiida_goectp.network.elements import HEAVIEST
from aiida_goectp.network.preparation import GraphArrays, prepare

__all__ = ('PreparedBatch', 'prepared_batches')

_AHEAD = 2
"""batches that wait for the network at most"""
_EDGES_AN_ATOM = 40
"""undirected; a batch of crystals with more is split, so that atoms alone bound the memory"""


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
    crystals: CrystalSet, preset: str, batch_atoms: Callable[[], int], start: int = 0
) -> Iterator[PreparedBatch]:
    """Yield batches in row order.

    :param batch_atoms: asked before each batch, so that the size can shrink on the way
    :param start: first row
    """
    ready: queue.Queue[PreparedBatch | BaseException | None] = queue.Queue(maxsize=_AHEAD)
    stop = threading.Event()

    def produce() -> None:
        try:
            row = start
            while row < len(crystals) and not stop.is_set():
                rows = _next_rows(crystals, row, batch_atoms())
                for part in _within_edges(_prepare(crystals, rows, preset), _EDGES_AN_ATOM * batch_atoms()):
                    _put(ready, part, stop)
                row = int(rows[-1]) + 1
            _put(ready, None, stop)
        except BaseException as error:  # handed to the consumer, which raises it
            _put(ready, error, stop)

    thread = threading.Thread(target=produce, name='graphs', daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


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


def _prepare(crystals: CrystalSet, rows: np.ndarray, preset: str) -> PreparedBatch:
    chosen = [crystals[int(row)] for row in rows]
    errors = [_complaint(crystal) for crystal in chosen]
    good = [place for place, error in enumerate(errors) if not error]
    try:
        graphs = prepare([chosen[place] for place in good], preset)
    except Exception:  # one of them breaks the graph builder: find it, keep the others
        for place in list(good):
            try:
                prepare([chosen[place]], preset)
            except Exception as error:
                errors[place] = f'no graph could be built: {type(error).__name__}: {error}'
                good.remove(place)
        graphs = prepare([chosen[place] for place in good], preset)
    return PreparedBatch(rows, np.array(good, dtype=np.int64), graphs, errors)


def _complaint(crystal: Crystal) -> str:
    failure = check_crystal(crystal)
    if failure is not None:
        return f'{failure.code}: {failure.message}'
    if crystal.atomic_numbers.max() > HEAVIEST:
        return f'unknown_element: the network knows elements up to {HEAVIEST}, not {crystal.atomic_numbers.max()}'
    return ''


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
