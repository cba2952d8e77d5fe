"""The log of a training: one JSON object an epoch, as ``goectp train`` writes it and whoever watches reads it."""

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

__all__ = ('TrainingFailure', 'TrainingLog', 'add_line', 'errors', 'finite')

_COUNTS = ('member', 'epoch')
_NUMBERS = ('loss', 'learning_rate', 'seconds')


class TrainingFailure(NamedTuple):
    """Why a training should not go on as it does."""

    kind: str
    """diverged or plateau"""
    message: str


@dataclass(frozen=True)
class TrainingLog:
    """What a training has said so far.

    :param lines: one for each epoch, in order: ``member`` (from 0), ``members``, ``epoch`` (from 1), ``epochs``,
        ``loss``, ``learning_rate``, ``seconds``, ``validation`` (target → metric → value) and ``best`` (no epoch of
        this member before was better on the validation rows); None stands for a number that is not finite
    """

    lines: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def parse(cls, content: bytes | str) -> TrainingLog:
        """Read a log; a torn last line is left out, and of an epoch that stands twice the later line counts.

        A training that was killed between its log and its state does that epoch again.
        """
        text = content.decode(errors='replace') if isinstance(content, bytes) else content
        found: dict[tuple[int, int], Mapping[str, Any]] = {}
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                place = (int(entry['member']), int(entry['epoch']))
            except (ValueError, KeyError, TypeError):
                continue
            found[place] = finite(entry)
        return cls(tuple(found[place] for place in sorted(found)))

    @classmethod
    def read(cls, path: Path) -> TrainingLog:
        """Read a log file; one that is not there is empty."""
        return cls.parse(path.read_bytes()) if path.exists() else cls()

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def last(self) -> Mapping[str, Any] | None:
        """The newest line, None before the first epoch."""
        return self.lines[-1] if self.lines else None

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The line of the best epoch of the newest member, None if nothing was validated."""
        good = [line for line in self._newest() if line.get('best')]
        return good[-1] if good else None

    @property
    def since_best(self) -> int:
        """Epochs of the newest member after its best one; 0 if nothing was validated."""
        return int(self.lines[-1]['epoch'] - self.best['epoch']) if self.best is not None else 0

    @property
    def seconds_an_epoch(self) -> float:
        """Median over the last ten epochs; 0 before the first."""
        return float(np.median([line.get('seconds') or 0.0 for line in self.lines[-10:]])) if self.lines else 0.0

    def _newest(self) -> list[Mapping[str, Any]]:
        return [line for line in self.lines if line['member'] == self.lines[-1]['member']]

    def trouble(self, patience: int | None = None) -> TrainingFailure | None:
        """Return why the training should be stopped, None if it is fine.

        :param patience: epochs without a better validation that make a plateau; none do if None
        """
        if self.last is None:
            return None
        place = f'in epoch {self.last["epoch"]}'
        if self.last.get('loss') is None:
            return TrainingFailure('diverged', f'the loss is no finite number any more {place}')
        before = {name for line in self._newest() for name, mae in errors(line).items() if mae is not None}
        lost = [name for name in sorted(before) if errors(self.last).get(name) is None]
        if lost:
            return TrainingFailure(
                'diverged', f'the validation error of {", ".join(lost)} is no finite number any more {place}'
            )
        if patience is not None and self.best is not None and self.since_best >= patience:
            return TrainingFailure(
                'plateau', f'no better validation for {self.since_best} epochs, since {self.best["epoch"]}'
            )
        return None

    def columns(self) -> dict[str, np.ndarray]:
        """Return the log as columns, one value an epoch; NaN where there is no number.

        ``member``, ``epoch``, ``loss``, ``learning_rate``, ``seconds``, ``best``, and ``validation_TARGET_METRIC``.
        """
        columns: dict[str, np.ndarray] = {name: np.array([line[name] for line in self.lines]) for name in _COUNTS}
        columns |= {name: _numbers([line.get(name) for line in self.lines]) for name in _NUMBERS}
        columns['best'] = np.array([bool(line.get('best')) for line in self.lines])
        names = {
            (target, metric): None
            for line in self.lines
            for target, figures in line.get('validation', {}).items()
            for metric, value in figures.items()
            if value is None or isinstance(value, int | float)
        }
        for target, metric in names:
            values = [line.get('validation', {}).get(target, {}).get(metric) for line in self.lines]
            columns[re.sub(r'\W', '_', f'validation_{target}_{metric}')] = _numbers(values)
        return columns


def errors(line: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the mean absolute error of each target on the validation rows."""
    return {name: figures['mae'] for name, figures in line.get('validation', {}).items() if 'mae' in figures}


def add_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one epoch; numbers that are not finite become null, for JSON knows none."""
    with path.open('ab+') as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b'\n':  # torn by a kill: what follows begins a line of its own
                stream.write(b'\n')
        stream.write(json.dumps(finite(line)).encode() + b'\n')


def finite(value: Any) -> Any:
    """Return a value for JSON, which knows neither infinity nor NaN: None stands for them."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _numbers(values: list[Any]) -> np.ndarray:
    return np.array([np.nan if value is None else float(value) for value in values])
