"""Exit statuses, errors and the status file of the executable."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.terminal import echo
from aiida_goectp.core.learning.errors import (
    DeviceOutOfMemoryError,
    NoDeviceError,
    TrainingDiverged,
    TrainingInputError,
    TrainingInterrupted,
)

__all__ = ('EXIT_STATUS', 'ExecutableError', 'Status', 'classify', 'record_errors', 'report_error')

EXIT_STATUS = {
    'internal': 1,
    'bad_input': 2,
    'bad_model': 2,
    'no_device': 3,
    'out_of_memory': 4,
    'diverged': 5,
    'interrupted': 75,
}
"""exit status of each error code; 75 is EX_TEMPFAIL of sysexits.h"""

_CODES: dict[type[Exception], str] = {
    NoDeviceError: 'no_device',
    DeviceOutOfMemoryError: 'out_of_memory',
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
            return ExecutableError(code, str(error))
    if isinstance(error, OSError):
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
        """Set fields and write the file."""
        self.fields.update(changes)
        if self.path is None:
            return
        temporary = self.path.with_name(self.path.name + '.writing')
        temporary.write_text(json.dumps(self.fields) + '\n')
        temporary.replace(self.path)

    def fail(self, code: str, message: str) -> None:
        """Record an error."""
        state = 'interrupted' if code == 'interrupted' else 'failed'
        self.update(state=state, error={'code': code, 'message': message})


def report_error(error: ExecutableError) -> NoReturn:
    """Print the error in one line and exit with the status of its code."""
    echo(f'goectp: {error.code}: {error}', err=True, keep='\n')
    sys.exit(EXIT_STATUS[error.code])


@contextmanager
def record_errors(status: Status) -> Iterator[None]:
    """Record any error in the status file and exit with its status; an internal error is raised with its traceback."""
    try:
        yield
    except Exception as error:
        known = classify(error)
        status.fail(known.code, str(known))
        if known.code == 'internal':
            raise
        report_error(known)
