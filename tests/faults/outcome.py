"""What a fault did, and the table of all."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ('Kind', 'Outcome', 'Tally', 'equal')

TOLERANCE = 1e-5
"""relative, of float32 results of a job that was restarted with smaller batches"""


def equal(one: Any, other: Any) -> bool:
    """Return whether two results as plain data are equal; numbers but for rounding, NaN equals NaN."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)


@dataclass(frozen=True)
class Outcome:
    """The consequences of one fault; all numbers are 0 if the package withstands it.

    :param lost: results that were finished before the fault, or should exist after it, and do not
    :param twice: results that were computed or stored twice
    :param wrong: results that differ from those without the fault, and were not reported as failed
    :param met: whether the fault met a running process
    :param remedies: what the user had to do besides a restart: ``verdi process repair`` or ``play``
    :param note: what was found, where a number is not 0
    """

    lost: int = 0
    twice: int = 0
    wrong: int = 0
    met: bool = True
    remedies: int = 0
    note: str = ''

    @property
    def harmless(self) -> bool:
        """Whether nothing was lost, done twice or wrong."""
        return not (self.lost or self.twice or self.wrong)

    def with_notes(self, notes: Iterable[str]) -> Outcome:
        """Return this with further notes."""
        return replace(self, note='; '.join([*filter(None, [self.note]), *notes]))


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    :param bench: what makes the surroundings in a folder, shared by all kinds that name it; has ``close()``
    :param fault: causes one fault of a command in a bench at a random moment
    :param command: or process that the fault meets
    :param weight: how often it occurs among the others
    """

    bench: Callable[[Path], Any]
    fault: Callable[[Any, str, random.Random], Outcome]
    command: str
    weight: int = 1


class Tally:
    """Counts by kind of fault, kept in a file, to which several runs may append.

    :param path: of the file with one JSON line a fault
    """

    NAMES = ('met', 'remedies', 'lost', 'twice', 'wrong')

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, Counter[str]] = {}
        self.seeds: set[tuple[str, int]] = set()
        """kind and seed of each counted fault"""
        if path.exists():
            for line in path.read_text().splitlines():
                found = json.loads(line)
                self._count(found.pop('kind'), found.pop('seed'), Outcome(**found))

    def add(self, kind: str, seed: int, outcome: Outcome) -> None:
        """Count a fault, and append it to the file."""
        self._count(kind, seed, outcome)
        with self.path.open('a') as stream:
            stream.write(json.dumps({'kind': kind, 'seed': seed, **vars(outcome)}) + '\n')

    def _count(self, kind: str, seed: int, outcome: Outcome) -> None:
        self.seeds.add((kind, seed))
        counts = self.counts.setdefault(kind, Counter())
        counts['faults'] += 1
        for name in self.NAMES:
            counts[name] += int(getattr(outcome, name))

    def table(self) -> str:
        """Return the counts as a table in Markdown."""
        total = sum(self.counts.values(), Counter[str]())
        lines = [
            '| Fault | Number | Met a running process | `repair`, `play` | Lost | Done twice | Silently wrong |',
            '|---|' + '---:|' * 6,
        ]
        for kind, counts in [*self.counts.items(), ('all', total)]:
            lines.append(f'| {kind} | ' + ' | '.join(str(counts[name]) for name in ('faults', *self.NAMES)) + ' |')
        return '\n'.join(lines)

    @property
    def harmless(self) -> bool:
        """Whether no fault did any harm."""
        return not any(counts[name] for counts in self.counts.values() for name in ('lost', 'twice', 'wrong'))
