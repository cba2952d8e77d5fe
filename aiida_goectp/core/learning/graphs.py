"""Graphs of a few crystals at a time, made in a thread beside the network or by processes of their own.

Finding the symmetry of a crystal takes milliseconds of one core, and the interpreter is locked meanwhile: a thread is
enough beside a network on the CPU, and far too slow for one on a GPU.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import TracebackType
from typing import NamedTuple

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet
from aiida_goectp.core.crystals.validation import check_crystal
from aiida_goectp.core.network.elements import HEAVIEST
from aiida_goectp.core.network.preparation import GraphArrays, prepare

__all__ = ('GraphMaker', 'Prepared', 'Task', 'cores', 'prepare_all')


class Prepared(NamedTuple):
    """Graphs of those crystals for which they could be made."""

    good: list[int]
    """(g,) places of the crystals that have graphs, ascending"""
    graphs: GraphArrays
    """of the g good crystals"""
    errors: list[str]
    """(k,) empty where good"""


class Task(NamedTuple):
    """Crystals whose graphs were asked for."""

    crystals: CrystalSet
    future: Future[Prepared]


def cores() -> int:
    """Return how many cores this process may use: those that a scheduler gave it, not those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


class GraphMaker:
    """Makes graphs in the background while it is entered as a context.

    :param preset: a key of :data:`aiida_goectp.core.network.preparation.PRESETS`
    :param processes: how many to start; 0 for a thread of this one
    """

    def __init__(self, preset: str, processes: int = 0) -> None:
        self.preset, self.processes = preset, processes
        self._executor: ProcessPoolExecutor | ThreadPoolExecutor

    def __enter__(self) -> GraphMaker:
        self._executor = _processes(self.processes) if self.processes else ThreadPoolExecutor(1, 'graphs')
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    def ask(self, crystals: CrystalSet) -> Task:
        """Ask for the graphs of some crystals."""
        try:
            return Task(crystals, self._executor.submit(prepare_all, crystals, self.preset))
        except BrokenProcessPool:
            warnings.warn('a process that made graphs has died; they are made in this process now', stacklevel=2)
            self._executor = ThreadPoolExecutor(1, 'graphs')
            return self.ask(crystals)

    def answer(self, task: Task) -> Prepared:
        """Wait for what was asked; a crystal without graphs is one with an error."""
        try:
            return task.future.result()
        except BrokenProcessPool:  # killed for its memory, say: nothing is lost
            return prepare_all(task.crystals, self.preset)


def prepare_all(crystals: CrystalSet, preset: str) -> Prepared:
    """Return the graphs of all crystals that have any."""
    chosen = list(crystals)
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
    return Prepared(good, graphs, errors)


def _complaint(crystal: Crystal) -> str:
    failure = check_crystal(crystal)
    if failure is not None:
        return f'{failure.code}: {failure.message}'
    if crystal.atomic_numbers.max() > HEAVIEST:
        return f'unknown_element: the network knows elements up to {HEAVIEST}, not {crystal.atomic_numbers.max()}'
    return ''


def _processes(count: int) -> ProcessPoolExecutor:
    # not forked from this process, which has threads and may have a GPU open
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(count, context, initializer=_begin)


def _begin() -> None:
    """Leave signals to the process that asks, and end with it, however it ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
