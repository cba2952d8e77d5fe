"""Compression of large arrays by several threads; compression takes most of the time to write them.

The input is cut into blocks of fixed size. Each is compressed by itself and ends at a full byte, so that the results,
one after the other, are a single deflate stream (RFC 1951), which any reader of zip archives understands. The bytes
do not depend on the number of threads.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ('BlockCompressor', 'available_cores', 'compressing_threads')

_BLOCK = 256 * 2**10
"""bytes; what is similar in two blocks is not found, which adds less than one percent"""
_MAX_THREADS = 4
"""one thread, which makes the input, cannot keep more of them busy"""
_WAITING = 2 * _MAX_THREADS
"""blocks that wait for a thread or for those before them"""


def available_cores() -> int:
    """Return the number of cores that this process may use, as limited by a scheduler."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def compressing_threads() -> ThreadPoolExecutor:
    """Return threads for :class:`BlockCompressor`; they start when they are needed, and end with its context."""
    return ThreadPoolExecutor(min(available_cores(), _MAX_THREADS), 'compression')


class BlockCompressor:
    """Takes the place of a compression object of :mod:`zlib`.

    :param level: of compression
    :param threads: compress the blocks
    """

    def __init__(self, level: int, threads: ThreadPoolExecutor) -> None:
        self._level, self._threads = level, threads
        self._block = bytearray()
        self._pending: deque[Future[bytes]] = deque()

    def compress(self, data: bytes | memoryview) -> bytes:
        """Take the next bytes and return what is compressed so far."""
        rest = memoryview(data).cast('B')
        while rest:
            room = _BLOCK - len(self._block)
            self._block += rest[:room]
            rest = rest[room:]
            if len(self._block) == _BLOCK:
                self._pending.append(self._threads.submit(_compressed, self._block, self._level, zlib.Z_FULL_FLUSH))
                self._block = bytearray()
        return self._take(_WAITING)

    def flush(self) -> bytes:
        """Return the rest."""
        return self._take(0) + _compressed(self._block, self._level, zlib.Z_FINISH)

    def _take(self, leave: int) -> bytes:
        """Return the results of the first blocks, until only so many are left."""
        done = []
        while self._pending and (len(self._pending) > leave or self._pending[0].done()):
            done.append(self._pending.popleft().result())
        return b''.join(done)


def _compressed(block: bytearray, level: int, end: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(block) + compressor.flush(end)
