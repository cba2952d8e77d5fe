"""Checks before an output is written: it is no input, and no other run writes it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from aiida_goectp import __version__
from aiida_goectp.core.executable.launch import is_launched
from aiida_goectp.core.executable.status import ExecutableError, classify, report_error
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.storage import RUN_ENDINGS, writing
from aiida_goectp.core.formats.terminal import echo

__all__ = ('LOCKED_OUTPUT', 'locked_output')

LOCKED_OUTPUT = 'GOECTP_LOCKED_OUTPUT'
"""environment variable with the output whose lock the process holds that launches this one"""


_POLL = 0.5
"""seconds between two attempts to lock"""


@contextmanager
def locked_output(
    output: Path | None,
    inputs: Iterable[str | Path | None],
    wait_until: Callable[[], bool] | None = None,
    *,
    option: str = '--output',
    distributed: bool = False,
) -> Iterator[str | None]:
    """Hold the lock of an output, which is no input. An error is printed and ends the process.

    The lock is that of the system on the file ``OUTPUT.lock`` (flock): it ends with the process, so that a killed run
    leaves a file but no lock. Between nodes it holds on NFS, and on Lustre if mounted with ``flock``. Where the file
    system has no locks, the run continues with a warning.

    :param output: the file; None if nothing is written
    :param inputs: files and folders that are read; names of shipped models and None are ignored
    :param wait_until: wait for the end of another run until this is true; None to refuse at once. The process ends with
        status 0 if the status file is that of a finished run with this hash: AiiDA submits a job twice if its daemon is
        killed, or the computer cannot be reached, in between
    :param option: names the output, for messages
    :param distributed: ``torchrun`` may have started several processes of this run, of which the first holds the lock
    :return: the hash of this run for its status file; None without ``wait_until``
    """
    further = distributed and is_launched() and os.environ.get('RANK', '0') != '0'
    if output is None or further:
        yield None
        return
    read = [Path(item) for item in inputs if item is not None]
    run = None if wait_until is None else _run_hash(output, read)
    if os.environ.get(LOCKED_OUTPUT) == str(output.absolute()):
        yield run
        return
    path = output.with_name(output.name + '.lock')
    try:
        _refuse_inputs(output, read, option)
        with writing(path):
            stream = _acquire(path, output, wait_until, option)
        if run is not None and _is_finished(output, run):
            echo(f'{output}: already written by the same command; remove it to compute it again')
            path.unlink(missing_ok=True)
            sys.exit(0)
        _write_holder(stream)
    except (FormatError, OSError) as error:
        report_error(classify(error))
    try:
        yield run
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        stream.close()


def _refuse_inputs(output: Path, inputs: Iterable[Path], option: str) -> None:
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
                    raise ExecutableError('bad_input', f'{own} is the input {file}; name another file with {option}')


def _acquire(path: Path, output: Path, wait_until: Callable[[], bool] | None, option: str) -> IO[str]:
    """Return the open lock file, locked.

    :raises ExecutableError: another process holds the lock
    """
    holder = ''
    while True:
        stream = path.open('a+')
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                echo(f'warning: no lock on {path} ({error.strerror}); start no other run with this output', err=True)
                return stream
            holder = _holder(stream) or holder
            stream.close()
            if wait_until is None or wait_until():
                raise _held(output, holder, 'bad_input' if wait_until is None else 'interrupted', option) from error
            time.sleep(_POLL)
            continue
        with suppress(OSError):  # the run that held the lock before may have removed the file meanwhile
            if path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                break
        stream.close()
    return stream


def _held(output: Path, holder: str, code: str, option: str) -> ExecutableError:
    run = f' ({holder})' if holder else ''
    advice = f'wait for its end (--wait), or name another file with {option}'
    return ExecutableError(code, f'{output}: another run{run} writes this file; {advice}')


def _write_holder(stream: IO[str]) -> None:
    """Write this run to the lock file, for messages of others; there may be no space."""
    with suppress(OSError):
        os.ftruncate(stream.fileno(), 0)
        os.write(stream.fileno(), json.dumps({'run': f'process {os.getpid()} on {socket.gethostname()}'}).encode())


def _holder(stream: IO[str]) -> str:
    """Return the run that holds the lock; empty if it has not written that yet, or could not."""
    stream.seek(0)
    try:
        return str(json.load(stream)['run'])
    except (ValueError, KeyError, TypeError, OSError):
        return ''


def _run_hash(output: Path, inputs: Iterable[Path]) -> str:
    """Return the SHA-256 of package version, working folder, arguments, and sizes and times of the inputs."""
    files = [file for item in inputs for file in (sorted(item.rglob('*')) if item.is_dir() else [item])]
    own = {output.with_name(output.name + ending).absolute() for ending in ('', *RUN_ENDINGS)}
    stats = [(str(file), file.stat()) for file in files if file.is_file() and file.absolute() not in own]
    read = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps([__version__, str(Path.cwd()), sys.argv[1:], read]).encode()).hexdigest()


def _is_finished(output: Path, run: str) -> bool:
    """Return whether the output is that of a finished run with this hash."""
    try:
        status = json.loads(Path(f'{output}.status.json').read_text())
    except (OSError, ValueError):
        return False
    found = (status.get('state'), status.get('run')) if isinstance(status, dict) else None
    return found == ('finished', run) and output.is_file()
