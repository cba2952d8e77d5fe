"""Run a command of ``goectp`` in several processes, one a GPU of this node, by ``torchrun``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiida_goectp.core.executable.status import EXIT_STATUS

__all__ = ('is_launched', 'launch')


def is_launched() -> bool:
    """Return whether this process is one of several that ``torchrun`` started."""
    return 'LOCAL_RANK' in os.environ


def launch(count: int, arguments: Sequence[str], status_file: Path) -> int:
    """Run the executable in so many processes, hand a signal to stop on to them, and return the exit status.

    :param arguments: of the executable
    :param status_file: written by the first of the processes; it knows what ``torchrun``'s own exit status hides
    """
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={count}']
    process = subprocess.Popen([*command, sys.argv[0], *arguments])
    asked = False

    def hand_on(number: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, hand_on)
    code = process.wait()
    if code == 0:
        return 0
    if asked:
        return EXIT_STATUS['interrupted']
    try:
        error = json.loads(status_file.read_text())['error'] or {}
    except (OSError, ValueError, KeyError):
        error = {}
    return EXIT_STATUS.get(error.get('code', ''), EXIT_STATUS['internal'])
