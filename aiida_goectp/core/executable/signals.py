"""Requests to stop: signals and the time limit."""

from __future__ import annotations

import signal
import time
from typing import Any

__all__ = ('SIGNALS', 'StopSignal')

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""signals by which a scheduler or a user asks for a clean stop"""


class StopSignal:
    """Whether to stop before the work is done. The second signal ends the process at once.

    :param time_limit: s from now on, None for no limit
    """

    def __init__(self, time_limit: float | None = None) -> None:
        self._end = None if time_limit is None else time.monotonic() + time_limit
        self._received = False
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        self._received = True
        signal.signal(number, signal.SIG_DFL)

    def __call__(self, ahead: float = 0.0) -> bool:
        """Return whether to stop now.

        :param ahead: duration of the next piece of work, s; it is not begun if it would end after the time limit
        """
        return self._received or (self._end is not None and time.monotonic() + ahead > self._end)
