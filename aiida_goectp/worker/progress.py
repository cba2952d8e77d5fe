"""Progress on a terminal as a bar, elsewhere as a plain line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

__all__ = ('Progress',)

_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Says on stderr how far a prediction is.

    :param total: rows in all
    :param start: rows done before
    :param quiet: say nothing
    """

    def __init__(self, total: int, start: int = 0, quiet: bool = False) -> None:
        self.total, self.start, self.quiet = total, start, quiet
        self._begun = self._last_line = time.monotonic()
        console = Console(stderr=True)
        self._bar = None
        if console.is_terminal and not quiet:
            columns = (TextColumn('predicting'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn('{task.fields[note]}'), console=console)
            self._task = self._bar.add_task('', total=total, completed=start, note='')

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, failed: int) -> float:
        """Note how many rows are done, and return the rate in crystals a second."""
        now = time.monotonic()
        rate = (done - self.start) / max(now - self._begun, 1e-9)
        note = f'{rate:.0f} crystals/s' + (f', {failed} failed' if failed else '')
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
        elif not self.quiet and now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            print(f'{done} of {self.total} crystals, {note}', file=sys.stderr, flush=True)
        return rate
