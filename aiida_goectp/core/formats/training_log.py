"""Training log: one JSON object per epoch, written by ``goectp train``."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.storage import writing

__all__ = ('TrainingFailure', 'TrainingLog', 'append_line', 'json_safe', 'validation_errors')

_COUNTS = ('member', 'epoch')
_NUMBERS = ('loss', 'learning_rate', 'seconds')


class TrainingFailure(NamedTuple):
    """Reason to stop a training."""

    kind: str
    """``diverged`` or ``plateau``"""
    message: str


@dataclass(frozen=True)
class TrainingLog:
    """Epochs of a training.

    :param lines: one for each epoch, in order: ``member`` (from 0), ``members``, ``epoch`` (from 1), ``epochs``,
        ``loss``, ``learning_rate``, ``seconds``, ``validation`` (target → metric → value), ``best`` (the lowest
        validation error of the member so far) and ``skipped`` (batches whose gradient was not finite); None stands for
        a number that is not finite
    """

    lines: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def parse(cls, content: bytes | str) -> TrainingLog:
        """Read a log; invalid lines are skipped, and the later line of a duplicate epoch is used.

        A training that was killed after it wrote the log and before it wrote the state repeats that epoch.
        """
        text = content.decode(errors='replace') if isinstance(content, bytes) else content
        found: dict[tuple[int, int], Mapping[str, Any]] = {}
        for line in text.splitlines():
            try:
                entry = json_safe(parse_json(line))
            except FormatError:
                continue
            if _is_epoch(entry):
                found[entry['member'], entry['epoch']] = entry
        return cls(tuple(found[place] for place in sorted(found)))

    @classmethod
    def read(cls, path: Path) -> TrainingLog:
        """Read a log file; a missing file gives an empty log."""
        return cls.parse(path.read_bytes()) if path.exists() else cls()

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def last(self) -> Mapping[str, Any] | None:
        """The last line; None before the first epoch."""
        return self.lines[-1] if self.lines else None

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The line of the best epoch of the last member; None without validation."""
        best = [line for line in self._last_member() if line.get('best')]
        return best[-1] if best else None

    @property
    def since_best(self) -> int:
        """Number of epochs of the last member after its best one; 0 without validation."""
        return int(self.lines[-1]['epoch'] - self.best['epoch']) if self.best is not None else 0

    @property
    def seconds_per_epoch(self) -> float:
        """Median of the last ten epochs; 0 before the first epoch."""
        return float(np.median([line.get('seconds') or 0.0 for line in self.lines[-10:]])) if self.lines else 0.0

    def _last_member(self) -> list[Mapping[str, Any]]:
        return [line for line in self.lines if line['member'] == self.lines[-1]['member']]

    def failure(self, patience: int | None = None) -> TrainingFailure | None:
        """Return the reason to stop the training, None without one.

        :param patience: number of epochs without a lower validation error that is a plateau; None for no limit
        """
        if self.last is None:
            return None
        place = f'in epoch {self.last["epoch"]}'
        if self.last.get('loss') is None:
            return TrainingFailure('diverged', f'the loss is not finite {place}')
        errors = [validation_errors(line) for line in self._last_member()]
        known = {name for line in errors for name, mae in line.items() if mae is not None}
        if lost := [name for name in sorted(known) if errors[-1].get(name) is None]:
            return TrainingFailure('diverged', f'the validation error of {", ".join(lost)} is not finite {place}')
        if patience is not None and self.best is not None and self.since_best >= patience:
            return TrainingFailure(
                'plateau', f'no lower validation error in {self.since_best} epochs, since epoch {self.best["epoch"]}'
            )
        return None

    def columns(self) -> dict[str, np.ndarray]:
        """Return the log as columns with one value per epoch; NaN for missing numbers.

        ``member``, ``epoch``, ``loss``, ``learning_rate``, ``seconds``, ``best``, and ``validation_TARGET_METRIC``.
        """
        columns: dict[str, np.ndarray] = {name: np.array([line[name] for line in self.lines]) for name in _COUNTS}
        columns |= {name: _numbers([line.get(name) for line in self.lines]) for name in _NUMBERS}
        columns['best'] = np.array([bool(line.get('best')) for line in self.lines])
        names = {
            (target, metric): None
            for line in self.lines
            for target, metrics in line.get('validation', {}).items()
            for metric, value in metrics.items()
            if value is None or isinstance(value, int | float)
        }
        for target, metric in names:
            values = [line.get('validation', {}).get(target, {}).get(metric) for line in self.lines]
            columns[re.sub(r'\W', '_', f'validation_{target}_{metric}')] = _numbers(values)
        return columns


def _is_epoch(entry: Any) -> bool:
    """Return whether a line describes an epoch, with numbers where numbers are expected."""
    if not isinstance(entry, dict):
        return False
    counts = [entry.get(name) for name in _COUNTS]
    validation = entry.get('validation', {})
    return (
        all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 for value in counts)
        and all(isinstance(entry.get(name), int | float | None) for name in _NUMBERS)
        and isinstance(validation, dict)
        and all(isinstance(metrics, dict) for metrics in validation.values())
        and all(isinstance(metrics.get('mae'), int | float | None) for metrics in validation.values())
    )


def validation_errors(line: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the mean absolute error of each target on the validation rows."""
    return {name: metrics['mae'] for name, metrics in line.get('validation', {}).items() if 'mae' in metrics}


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one epoch; numbers that are not finite become null.

    :raises StorageError: the file cannot be written
    """
    with writing(path), path.open('ab+') as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b'\n':  # incomplete because of a kill: begin a new line
                stream.write(b'\n')
        stream.write(json.dumps(json_safe(line)).encode() + b'\n')


def json_safe(value: Any) -> Any:
    """Return a value in which None replaces infinity and NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _numbers(values: list[Any]) -> np.ndarray:
    return np.array([np.nan if value is None else float(value) for value in values])
