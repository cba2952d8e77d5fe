"""Whether the executable should come to an end before its work is done."""

from __future__ import annotations

import signal
import time
from typing import Any

__all__ = ('StopSignal',)


class StopSignal:
    """Watches for a scheduler or a person that asks to stop, and for the end of the time.

    A second signal is not waited for.

    :param time_limit: s from now on, None for ever
    """

    def __init__(self, time_limit: float | None = None) -> None:
        self._end = None if time_limit is None else time.monotonic() + time_limit
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        self._asked = True
        signal.signal(number, signal.SIG_DFL)

    def __call__(self, ahead: float = 0.0) -> bool:
        """Return whether to stop now.

        :param ahead: s that the next piece of work takes; it is not begun if it would not be done in time
        """
        return self._asked or (self._end is not None and time.monotonic() + ahead > self._end)
