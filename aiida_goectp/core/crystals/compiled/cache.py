"""Compilation of loops with numba; compiled code is kept on disk, where that is possible.

numba has no public way to choose the files of compiled code: check this module after an upgrade of numba.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache
from numba.core.dispatcher import Dispatcher

from aiida_goectp.core.crystals.compiled.software import source_files, source_hash
from aiida_goectp.core.formats.terminal import echo

__all__ = ('compiled',)

_LOGGER = logging.getLogger(__name__)
_Function = TypeVar('_Function', bound=Callable)
_SOURCES = source_files('crystals', 'network')
"""of all compiled loops, and of the constants in them; read before a loop is imported"""
_VERSION = source_hash(_SOURCES)
_DIGEST_BYTES = hashlib.sha256().digest_size


def compiled(**options: Any) -> Callable[[_Function], _Function]:
    """Return a decorator: numba compiles the function at its first call. It runs without the interpreter's lock.

    The code is kept beside the module, else in the user's cache folder, or in ``NUMBA_CACHE_DIR``. Where it cannot be
    kept (no folder can be written, no space is left), was damaged, or is that of another version of this package, the
    function is compiled anew.

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

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        file = self._cache_file
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, file._source_stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        code = None
        try:
            code = super().load_overload(sig, target_context)
        except Exception as error:  # what reading, unpickling and linking raise
            _LOGGER.debug('%s: %r', self, error)
        if code is None:
            _announce()
        return code

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn(error.strerror)


class _Files(IndexDataCacheFile):
    """A file for each signature of a function, with a digest, and with the version of all loops in its name.

    Reason: numba compares the source of the function alone. A caller would keep the machine code of a function of
    another module, and the value of a constant, after these have changed. Its files are found by an index; processes
    that write it at once can make it name the code of another signature.
    """

    def __init__(self, cache_path: str, filename_base: str, source_stamp: Any) -> None:
        super().__init__(cache_path, filename_base, source_stamp)
        self._base = filename_base

    def load(self, key: Any) -> Any:
        try:
            return self._load_data(self._name(key))
        except FileNotFoundError:
            return None

    def save(self, key: Any, data: Any) -> None:
        self._save_data(self._name(key), data)
        self._remove(keep=f'{self._base}.{_VERSION}-')

    def flush(self) -> None:
        self._remove()

    def _remove(self, keep: str | None = None) -> None:
        """Remove the files of the function, but for those whose names begin so."""
        for path in Path(self._cache_path).glob(f'{self._base}.*nb[ci]'):
            if keep is None or not path.name.startswith(keep):
                path.unlink(missing_ok=True)

    def _name(self, key: Any) -> str:
        """Return the name of a file. The key has the types of the arguments, the bytecode, the kind of CPU."""
        text = repr((self._version, self._source_stamp, key))
        return f'{self._base}.{_VERSION}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.nbc'

    def _dump(self, obj: Any) -> bytes:
        content: bytes = super()._dump(obj)
        return content + hashlib.sha256(content).digest()  # numba ignores what follows a pickle

    def _load_data(self, name: str) -> Any:
        content = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(content[:-_DIGEST_BYTES]).digest() != content[-_DIGEST_BYTES:]:
            raise ValueError(f'{name}: damaged')
        return super()._load_data(name)


class _NoCache(NullCache):
    """No folder for compiled code."""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        _announce()
        _warn('no folder can be written')


@functools.cache
def _announce() -> None:
    """Tell a person who waits why nothing happens, once."""
    if sys.stderr is not None and sys.stderr.isatty():
        echo('compiling loops for this computer, up to a minute', err=True)


@functools.cache
def _warn(reason: str | None) -> None:
    _LOGGER.warning(
        'compiled code cannot be kept (%s), so that each run compiles for up to a minute; '
        'set NUMBA_CACHE_DIR to a folder that can be written',
        reason,
    )
