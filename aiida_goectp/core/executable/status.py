"""Exit statuses, errors and the status file of the executable."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.names import GROUP_FOLDER
from aiida_goectp.core.formats.storage import StorageError, is_storage_error, replacing
from aiida_goectp.core.formats.terminal import echo
from aiida_goectp.core.learning.errors import (
    DeviceOutOfMemoryError,
    NoDeviceError,
    TrainingDiverged,
    TrainingInputError,
    TrainingInterrupted,
)

__all__ = ('ERROR_FILE', 'EXIT_STATUS', 'ExecutableError', 'Status', 'classify', 'record_errors', 'report_error')

EXIT_STATUS = {
    'internal': 1,
    'bad_input': 2,
    'bad_model': 2,
    'no_device': 3,
    'out_of_memory': 4,
    'diverged': 5,
    'cannot_write': 73,
    'interrupted': 75,
}
"""exit status of each error code; 73 is EX_CANTCREAT and 75 EX_TEMPFAIL of sysexits.h"""

ERROR_FILE = 'error.json'
"""in the folder that several processes share: the error of the first one that failed, from which others follow"""

_BLOCK = 4096
"""bytes; the status file fills whole blocks, so that an error can overwrite it in place when the disk is full"""

_CODES: dict[type[Exception], str] = {
    NoDeviceError: 'no_device',
    DeviceOutOfMemoryError: 'out_of_memory',
    MemoryError: 'out_of_memory',
    TrainingInterrupted: 'interrupted',
    TrainingDiverged: 'diverged',
    TrainingInputError: 'bad_input',
    FormatError: 'bad_input',
}
"""code of each exception; the first that applies, since NoDeviceError is a FormatError"""


class ExecutableError(FormatError):
    """An error with one of the codes of :data:`EXIT_STATUS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def classify(error: Exception) -> ExecutableError:
    """Return an error with its code; ``internal`` if it is a mistake in the program."""
    if isinstance(error, ExecutableError):
        return error
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return ExecutableError(code, str(error) or 'the memory of this machine is full')
    if isinstance(error, StorageError):
        return ExecutableError('cannot_write', str(error))
    if isinstance(error, OSError) and is_storage_error(error):
        return ExecutableError('cannot_write', str(StorageError(error.filename or 'standard output', error)))
    if isinstance(error, OSError) and error.filename is not None:  # without a file it is no fault of the input
        return ExecutableError('bad_input', f'{error.filename}: {error.strerror}')
    return ExecutableError('internal', f'{type(error).__name__}: {error}')


@dataclass
class Status:
    """The status file: one JSON object, replaced atomically, so that readers never see an incomplete one.

    :param path: None to write nothing
    """

    path: Path | None
    fields: dict[str, Any] = field(default_factory=lambda: {'version': 1, 'state': 'running', 'error': None})

    def update(self, **changes: Any) -> None:
        """Set fields and write the file.

        :raises StorageError: it cannot be written
        """
        self.fields.update(changes)
        if self.path is None:
            return
        with replacing(self.path, sync=False) as stream:
            stream.write(self._content())

    def fail(self, code: str, message: str) -> None:
        """Record an error, also on a full disk: there the old file is overwritten in place.

        If that is not possible either, an empty file remains, which no other error leaves.
        """
        state = 'interrupted' if code == 'interrupted' else 'failed'
        try:
            self.update(state=state, error={'code': code, 'message': message})
        except StorageError:
            with suppress(OSError):
                self._overwrite(message)

    def _overwrite(self, message: str) -> None:
        """Write the file over the old one, within its size."""
        assert self.path is not None
        size = self.path.stat().st_size if self.path.exists() else 0
        while len(content := self._content(size)) > size and message:
            message = message[: len(message) // 2]
            self.fields['error']['message'] = f'{message} …'
        try:
            with self.path.open('r+b', buffering=0) as stream:
                if len(content) > size or stream.write(content) < size:
                    raise OSError
        except OSError:
            self.path.open('wb').close()

    def _content(self, size: int = _BLOCK) -> bytes:
        """Return the content, filled with spaces to a multiple of the size."""
        text = json.dumps(self.fields).encode()
        return text.ljust(-(-(len(text) + 1) // max(size, 1)) * size - 1) + b'\n'


def report_error(error: ExecutableError) -> NoReturn:
    """Print the error in one line and exit with the status of its code, also if it cannot be printed."""
    with suppress(OSError):
        echo(f'goectp: {error.code}: {error}', err=True, keep='\n')
    for stream in (sys.stdout, sys.stderr):
        _discard_unwritable(stream)
    sys.exit(EXIT_STATUS[error.code])


def _discard_unwritable(stream: IO[str]) -> None:
    """Discard what a stream cannot write: Python would try again at its end, and change the exit status."""
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@contextmanager
def record_errors(status: Status) -> Iterator[None]:
    """Record any error in the status file and exit with its status; an internal error is raised with its traceback."""
    try:
        yield
    except Exception as error:
        known = classify(error)
        if (folder := os.environ.get(GROUP_FOLDER)) is not None:
            with suppress(OSError), (Path(folder) / ERROR_FILE).open('x') as stream:
                json.dump({'code': known.code, 'message': str(known)}, stream)
        status.fail(known.code, str(known))
        if known.code == 'internal':
            raise
        report_error(known)
