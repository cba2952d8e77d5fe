"""A command of ``goectp`` in several processes, one for each GPU of the node.

Each has the environment variables that ``torchrun`` sets. ``torchrun`` itself is not used, since it kills processes
30 s after a signal, in the middle of an epoch, and has one exit status for all errors.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiida_goectp.core.executable.signals import SIGNALS, STOP_FILE
from aiida_goectp.core.executable.status import ERROR_FILE, EXIT_STATUS, Status
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.names import GROUP_FOLDER

__all__ = ('is_launched', 'launch')

_POLL = 0.2
"""seconds between two looks at the processes"""
_GRACE = 10.0
"""seconds that the other processes have to end by themselves when one has failed; they may wait for it for ever"""


def is_launched() -> bool:
    """Return whether this process is one of several, started by :func:`launch` or by ``torchrun``."""
    return 'LOCAL_RANK' in os.environ


def launch(count: int, arguments: Sequence[str], status_file: Path) -> int:
    """Run the executable in several processes and return the exit status.

    The first error of any process is the one of all: its exit status is returned, and it is written to the status file.
    A signal asks all processes to stop, see :class:`.StopSignal`; the second one kills them.

    :param count: number of processes
    :param arguments: of the executable
    :param status_file: written by the first process
    """
    processes: list[subprocess.Popen[bytes]] = []
    with TemporaryDirectory() as name:
        folder, received = Path(name), list[int]()

        def receive(number: int, frame: Any) -> None:
            (folder / STOP_FILE).touch()
            received.append(number)
            for process in processes if len(received) > 1 else ():
                process.kill()

        for number in SIGNALS:
            signal.signal(number, receive)
        for rank in range(count):
            own = {'RANK': rank, 'LOCAL_RANK': rank, 'WORLD_SIZE': count, 'LOCAL_WORLD_SIZE': count, GROUP_FOLDER: name}
            environment = {'OMP_NUM_THREADS': '1', **os.environ, **{key: str(value) for key, value in own.items()}}
            processes.append(subprocess.Popen([sys.executable, sys.argv[0], *arguments], env=environment))
        _wait(processes)
        if not any(process.returncode for process in processes):
            return 0
        code = _record_first_error(folder / ERROR_FILE, status_file)
        return EXIT_STATUS[code or ('interrupted' if received else 'internal')]


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all processes; some time after one has failed, the others are killed."""
    while None in (states := [process.poll() for process in processes]) and not any(states):
        time.sleep(_POLL)
    end = time.monotonic() + _GRACE
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(end - time.monotonic(), 0.0))
    for process in processes:
        process.kill()  # without effect on one that has ended
        process.wait()


def _record_first_error(error_file: Path, status_file: Path) -> str | None:
    """Write the first error to the status file, and return its code; None if a process was killed without an error."""
    try:
        error = parse_json(error_file.read_bytes())
        fields = parse_json(status_file.read_bytes()) if status_file.exists() else {}
        status = Status(status_file)
        status.fields |= fields
        status.fail(error['code'], error['message'])
        return str(error['code'])
    except (OSError, ValueError, KeyError, TypeError):
        return None
