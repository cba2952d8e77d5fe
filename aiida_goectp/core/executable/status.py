"""How the executable says what it does and why it stopped: exit statuses, errors, and the status file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from aiida_goectp.core.formats.npz import FormatError

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
"""exit status of each error code; 75 is the sysexits value for «try again»"""


class ExecutableError(FormatError):
    """An error with one of the codes of :data:`EXIT_STATUS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def classify(error: Exception) -> ExecutableError:
    """Return any error as one with a code."""
    if isinstance(error, ExecutableError):
        return error
    if 'aiida_goectp.core.learning.device' in sys.modules:  # else torch, which takes seconds, was not needed so far
        from aiida_goectp.core.learning.device import MemoryShortage, NoDeviceError

        if isinstance(error, NoDeviceError):
            return ExecutableError('no_device', str(error))
        if isinstance(error, MemoryShortage):
            return ExecutableError('out_of_memory', str(error))
    if 'aiida_goectp.core.learning.train' in sys.modules:
        from aiida_goectp.core.learning.train import Diverged, Interrupted

        if isinstance(error, Interrupted):
            return ExecutableError('interrupted', f'{error}; the same command goes on')
        if isinstance(error, Diverged):
            return ExecutableError('diverged', str(error))
    if isinstance(error, FormatError):
        return ExecutableError('bad_input', str(error))
    if isinstance(error, OSError):
        return ExecutableError('bad_input', f'{error.filename}: {error.strerror}')
    return ExecutableError('internal', f'{type(error).__name__}: {error}')


@dataclass
class Status:
    """The status file: one JSON object, replaced atomically, so that whoever watches reads a whole one."""

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
    """Print one line for a person and leave with the code's exit status."""
    print(f'goectp: {error.code}: {error}', file=sys.stderr)
    sys.exit(EXIT_STATUS[error.code])


@contextmanager
def record_errors(status: Status) -> Iterator[None]:
    """Record any error in the status, and leave with its exit status; an error of our own shows its traceback."""
    try:
        yield
    except Exception as error:
        known = classify(error)
        status.fail(known.code, str(known))
        if known.code == 'internal':
            raise
        report_error(known)
