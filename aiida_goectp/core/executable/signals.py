"""Requests to stop: signals and the time limit."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from aiida_goectp.core.formats.names import GROUP_FOLDER

__all__ = ('SIGNALS', 'STOP_FILE', 'StopSignal')

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""signals by which a scheduler or a user asks for a clean stop"""

STOP_FILE = 'stop'
"""in the folder that several processes share: asks them to stop"""


class StopSignal:
    """Whether to stop before the work is done. The second signal ends the process at once.

    One of several processes that :func:`.launch` started ignores signals, which a terminal or a scheduler may send to
    each of them and to the launching process as well: that one asks all to stop by a file. They also stop without it.

    :param time_limit: s from now on, None for no limit
    """

    def __init__(self, time_limit: float | None = None) -> None:
        self._end = None if time_limit is None else time.monotonic() + time_limit
        self._received = False
        folder = os.environ.get(GROUP_FOLDER)
        self._file, self._parent = None if folder is None else Path(folder) / STOP_FILE, os.getppid()
        for number in SIGNALS:
            signal.signal(number, self._receive if self._file is None else signal.SIG_IGN)

    def _receive(self, number: int, frame: Any) -> None:
        self._received = True
        signal.signal(number, signal.SIG_DFL)

    def __call__(self, ahead: float = 0.0) -> bool:
        """Return whether to stop now.

        :param ahead: duration of the next piece of work, s; it is not begun if it would end after the time limit
        """
        late = self._end is not None and time.monotonic() + ahead > self._end
        return self._received or late or self._is_asked_to_stop()

    def _is_asked_to_stop(self) -> bool:
        return self._file is not None and (self._file.exists() or os.getppid() != self._parent)
