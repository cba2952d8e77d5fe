"""Compilation of loops with numba; compiled code is kept on disk, where that is possible."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache, NullCache
from numba.core.dispatcher import Dispatcher

from aiida_goectp.core.formats.terminal import echo

__all__ = ('compiled',)

_LOGGER = logging.getLogger(__name__)
_Function = TypeVar('_Function', bound=Callable)


def compiled(**options: Any) -> Callable[[_Function], _Function]:
    """Return a decorator: numba compiles the function at its first call. It runs without the interpreter's lock.

    The code is kept beside the module, else in the user's cache folder, or in ``NUMBA_CACHE_DIR``. Where it cannot be
    kept (no folder can be written, no space is left) or was damaged, the function is compiled anew.

    :param options: further options of ``numba.njit``
    """

    def decorate(function: _Function) -> _Function:
        result = numba.njit(nogil=True, **options)(function)
        if isinstance(result, Dispatcher):  # not with NUMBA_DISABLE_JIT
            try:
                result._cache = _DiskCache(function)  # type: ignore[attr-defined]
            except RuntimeError:  # of numba, if no folder can be written
                result._cache = _NoCache()  # type: ignore[attr-defined]
        return result

    return decorate


class _DiskCache(FunctionCache):
    """Files of numba; a file that cannot be read or written does not end the program."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        code = None
        try:
            code = super().load_overload(sig, target_context)
        except Exception as error:  # an empty or damaged file raises what unpickling raises
            _LOGGER.debug('%s: %r', self, error)
            with contextlib.suppress(OSError):
                self.flush()
        if code is None:
            _announce()
        return code

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn(error.strerror)


class _NoCache(NullCache):
    """No folder for compiled code."""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        _announce()
        _warn('no folder can be written')


@functools.cache
def _announce() -> None:
    """Tell a person who waits why nothing happens, once."""
    if sys.stderr.isatty():
        echo('compiling loops for this computer, up to a minute', err=True)


@functools.cache
def _warn(reason: str | None) -> None:
    _LOGGER.warning(
        'compiled code cannot be kept (%s), so that each run compiles for up to a minute; '
        'set NUMBA_CACHE_DIR to a folder that can be written',
        reason,
    )
