"""Progress on a terminal as a bar, elsewhere as a plain line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

__all__ = ('EpochProgress', 'Progress')

_SECONDS_BETWEEN_LINES = 30.0


class _Shown:
    """A bar on stderr, where that is a terminal and nobody asked for quiet."""

    def __init__(self, what: str, total: int, start: int, quiet: bool) -> None:
        self.total, self.start, self.quiet = total, start, quiet
        console = Console(stderr=True)
        self._bar = None
        if console.is_terminal and not quiet:
            columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn('{task.fields[note]}'), console=console)
            self._task = self._bar.add_task('', total=total, completed=start, note='')

    def __enter__(self) -> Any:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _show(self, done: int, note: str) -> bool:
        """Move the bar, if there is one."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
        return self._bar is not None


class Progress(_Shown):
    """Says on stderr how far a prediction is.

    :param total: rows in all
    :param start: rows done before
    :param quiet: say nothing
    """

    def __init__(self, total: int, start: int = 0, quiet: bool = False) -> None:
        super().__init__('predicting', total, start, quiet)
        self._begun = self._last_line = time.monotonic()

    def update(self, done: int, failed: int) -> float:
        """Note how many rows are done, and return the rate in crystals a second."""
        now = time.monotonic()
        rate = (done - self.start) / max(now - self._begun, 1e-9)
        note = f'{rate:.0f} crystals/s' + (f', {failed} failed' if failed else '')
        if not self._show(done, note) and not self.quiet and now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            print(f'{done} of {self.total} crystals, {note}', file=sys.stderr, flush=True)
        return rate


class EpochProgress(_Shown):
    """Says how far a training is: a bar on a terminal, else a line an epoch on stdout.

    :param total: epochs of all members
    :param quiet: say nothing
    """

    def __init__(self, total: int, quiet: bool = False) -> None:
        super().__init__('training', total, 0, quiet)

    def update(self, done: int, place: str, note: str) -> None:
        """Note how many epochs are done.

        :param place: member and epoch
        :param note: the figures reached
        """
        if not self._show(done, note) and not self.quiet:
            print(f'{place}: {note}', flush=True)
