"""Checks before an output is written: it is no input, and no other run writes it."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from aiida_goectp.core.executable.status import ExecutableError, classify, report_error
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.storage import RUN_ENDINGS, writing
from aiida_goectp.core.formats.terminal import echo

__all__ = ('LOCKED_OUTPUT', 'locked_output')

LOCKED_OUTPUT = 'GOECTP_LOCKED_OUTPUT'
"""environment variable with the output whose lock the process holds that launches this one"""


@contextmanager
def locked_output(output: Path | None, inputs: Iterable[str | Path | None]) -> Iterator[None]:
    """Hold the lock of an output, which is no input. An error is printed and ends the process.

    The lock is that of the system on the file ``OUTPUT.lock`` (flock): it ends with the process, so that a killed run
    leaves a file but no lock. Between nodes it holds on NFS, and on Lustre if mounted with ``flock``. Where the file
    system has no locks, the run continues with a warning.

    :param output: the file; None if nothing is written
    :param inputs: files and folders that are read; names of shipped models and None are ignored
    """
    if output is None or os.environ.get(LOCKED_OUTPUT) == str(output.absolute()) or os.environ.get('RANK', '0') != '0':
        yield
        return
    path = output.with_name(output.name + '.lock')
    try:
        _refuse_inputs(output, [Path(item) for item in inputs if item is not None])
        with writing(path):
            stream = _acquire(path, output)
    except (FormatError, OSError) as error:
        report_error(classify(error))
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        stream.close()


def _refuse_inputs(output: Path, inputs: Iterable[Path]) -> None:
    """Check that no file of the run is an input, by whatever name or link.

    :raises ExecutableError: one is
    """
    for item in inputs:
        files = list(item.iterdir()) if item.is_dir() else [item]
        # the further files of a run are left out of a folder by their names
        endings = ('',) if item.is_dir() else ('', *RUN_ENDINGS)
        for file in files:
            for ending in endings:
                own = output.with_name(output.name + ending)
                if own.exists() and file.exists() and own.samefile(file):
                    raise ExecutableError('bad_input', f'{own} is the input {file}; name another file with --output')


def _acquire(path: Path, output: Path) -> IO[str]:
    """Return the open lock file, locked.

    :raises ExecutableError: another process holds the lock
    """
    while True:
        stream = path.open('a+')
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.seek(0)
            holder = stream.read(200).strip()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                stream.close()
                raise ExecutableError(
                    'bad_input',
                    f'{output}: another run{f" ({holder})" if holder else ""} writes this file; wait for its end, or '
                    'name another file with --output',
                ) from error
            echo(f'warning: no lock on {path} ({error.strerror}); start no other run with this output', err=True)
            return stream
        with suppress(OSError):  # the run that held the lock before may have removed the file meanwhile
            if path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                break
        stream.close()
    with suppress(OSError):  # only for messages; there may be no space
        os.ftruncate(stream.fileno(), 0)
        os.write(stream.fileno(), f'process {os.getpid()} on {socket.gethostname()}'.encode())
    return stream
