"""A command of ``goectp`` in several processes, one for each GPU of the node, started by ``torchrun``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiida_goectp.core.executable.signals import SIGNALS
from aiida_goectp.core.executable.status import EXIT_STATUS
from aiida_goectp.core.formats.json_input import parse_json

__all__ = ('is_launched', 'launch')


def is_launched() -> bool:
    """Return whether this process was started by ``torchrun``."""
    return 'LOCAL_RANK' in os.environ


def launch(count: int, arguments: Sequence[str], status_file: Path) -> int:
    """Run the executable in several processes, forward signals to them, and return the exit status.

    :param count: number of processes
    :param arguments: of the executable
    :param status_file: written by the first process; it has the error code, which the exit status of ``torchrun`` lacks
    """
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={count}']
    process = subprocess.Popen([*command, sys.argv[0], *arguments])
    signalled = False

    def forward(number: int, frame: Any) -> None:
        nonlocal signalled
        signalled = True
        process.terminate()

    for number in SIGNALS:
        signal.signal(number, forward)
    exit_status = process.wait()
    if exit_status == 0:
        return 0
    if signalled:
        return EXIT_STATUS['interrupted']
    try:
        error = parse_json(status_file.read_bytes())['error'] or {}
        return EXIT_STATUS[error.get('code', '')]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return EXIT_STATUS['internal']
