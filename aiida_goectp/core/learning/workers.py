"""Background threads and processes that prepare crystals for a prediction.

Finding the symmetry of a crystal takes milliseconds of one core and holds the lock of the interpreter. Beside a network
on the CPU a thread suffices to prepare crystals; a network on a GPU needs several processes.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Generic, TypeVar

__all__ = ('Task', 'WorkerPool', 'prefetch', 'useful_processes')

_Item = TypeVar('_Item')


_CRYSTALS_A_PROCESS = 500
"""a process starts in about the time that it takes to prepare as many crystals"""


def useful_processes(processes: int, crystals: int) -> int:
    """Return how many of a number of processes are worth their start for the preparation of crystals."""
    return min(processes, crystals // _CRYSTALS_A_PROCESS)


def prefetch(items: Generator[_Item, None, None], ahead: int) -> Iterator[_Item]:
    """Yield the items of a generator that runs in a thread.

    :param items: closed in that thread when the consumer stops
    :param ahead: largest number of items that wait for the consumer
    """
    ready: queue.Queue[_Item | BaseException | None] = queue.Queue(maxsize=ahead)
    stop = threading.Event()

    def put(item: _Item | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            with closing(items):
                for item in items:
                    put(item)
                    if stop.is_set():
                        return
            put(None)
        except BaseException as error:  # raised by the consumer
            put(error)

    thread = threading.Thread(target=produce, name='prefetch', daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True)
class Task(Generic[_Item]):
    """A function call in a worker process."""

    pool: WorkerPool
    future: Future[_Item]
    function: Callable[..., _Item]
    arguments: tuple[Any, ...]

    def result(self) -> _Item:
        """Return the result; the call is repeated in this process if the worker process died."""
        try:
            return self.future.result()
        except BrokenProcessPool:
            self.pool.give_up()
            return self.function(*self.arguments)


class WorkerPool:
    """Worker processes, as a context.

    :param processes: how many to start; 0 to run every call in this thread when it is submitted
    :param preload: module that holds the submitted functions
    """

    def __init__(self, processes: int, preload: str) -> None:
        self.processes = processes
        self._executor: ProcessPoolExecutor | None = None
        if processes:
            # not forked from this process, which has threads and may hold a GPU
            context = multiprocessing.get_context('forkserver')
            context.set_forkserver_preload([preload])
            self._executor = ProcessPoolExecutor(processes, context, initializer=_initialize)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., _Item], *arguments: Any) -> Task[_Item]:
        """Call a function in a worker process, or in this thread if a worker process has died."""
        if self._executor is not None:
            try:
                return Task(self, self._executor.submit(function, *arguments), function, arguments)
            except BrokenProcessPool:
                self.give_up()
        future: Future[_Item] = Future()
        future.set_result(function(*arguments))
        return Task(self, future, function, arguments)

    def give_up(self) -> None:
        """Do without worker processes from now on, since one has died."""
        if self._executor is None:
            return
        warnings.warn('a worker process has died; this process does its work from now on', stacklevel=3)
        # The others ignore SIGTERM, with which the executor ends them, and may wait for ever for a reader of their
        # results; the executor, and this process at its end, would wait for them.
        for process in list((self._executor._processes or {}).values()):
            process.kill()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self.processes, self._executor = 0, None


def _initialize() -> None:
    """Ignore signals, which the parent process handles, and exit with the parent, however it ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
