"""Progress as a bar on a terminal, else as plain lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from aiida_goectp.core.formats.terminal import echo

__all__ = ('DownloadProgress', 'EpochProgress', 'Progress')

_SECONDS_BETWEEN_LINES = 30.0


class _ProgressBar:
    """A bar on stderr, where that is a terminal, unless it is to be quiet."""

    def __init__(self, what: str, total: int | None, start: int, quiet: bool) -> None:
        self.total, self.start, self.quiet = total, start, quiet
        console = Console(stderr=True)
        self._bar = None
        if console.is_terminal and not quiet:
            columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn('{task.fields[note]}', markup=False), console=console)
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

    def _draw(self, done: int, note: str) -> bool:
        """Advance the bar; return False without one."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
        return self._bar is not None


class Progress(_ProgressBar):
    """Progress over crystals on stderr; without a terminal, a line every half minute.

    :param total: number of rows
    :param start: rows done by an earlier run
    :param quiet: print nothing
    :param what: is done
    """

    def __init__(self, total: int, start: int = 0, quiet: bool = False, what: str = 'predicting') -> None:
        super().__init__(what, total, start, quiet)
        self._begun = self._last_line = time.monotonic()

    def update(self, done: int, failed: int) -> float:
        """Set the number of rows done and of failed rows; return the rate in crystals a second."""
        now = time.monotonic()
        rate = (done - self.start) / max(now - self._begun, 1e-9)
        note = f'{rate:.0f} crystals/s' + (f', {failed} failed' if failed else '')
        if not self._draw(done, note) and not self.quiet and now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            echo(f'{done} of {self.total} crystals, {note}', err=True)
        return rate


class DownloadProgress(_ProgressBar):
    """Progress of a download on stderr; without a terminal, a line every half minute.

    :param start: entries of an earlier run
    :param quiet: print nothing
    """

    def __init__(self, start: int = 0, quiet: bool = False) -> None:
        super().__init__('downloading', None, start, quiet)
        self._last_line = time.monotonic()

    def update(self, done: int, total: int | None) -> None:
        """Set the number of entries done, and that of all, if it is known."""
        if self._bar is not None:
            self._bar.update(self._task, total=total)
        if not self._draw(done, '') and not self.quiet and time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            echo(f'{done} of {total or "unknown"} entries', err=True)


class EpochProgress(_ProgressBar):
    """Progress of a training; without a terminal, a line an epoch on stdout.

    :param total: number of epochs of all members
    :param quiet: print nothing
    """

    def __init__(self, total: int, quiet: bool = False) -> None:
        super().__init__('training', total, 0, quiet)

    def update(self, done: int, place: str, note: str) -> None:
        """Set the number of epochs done.

        :param place: member and epoch
        :param note: loss and errors reached
        """
        if not self._draw(done, note) and not self.quiet:
            echo(f'{place}: {note}')
