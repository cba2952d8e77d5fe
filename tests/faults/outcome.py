"""What a fault did, and the table of all."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

__all__ = ('Outcome', 'Tally')


@dataclass(frozen=True)
class Outcome:
    """The consequences of one fault; all numbers are 0 if the package withstands it.

    :param lost: results that were finished before the fault, or should exist after it, and do not
    :param twice: results that were computed or stored twice
    :param wrong: results that differ from those without the fault, and were not reported as failed
    :param met: whether the fault met a running process
    :param note: what was found, where a number is not 0
    """

    lost: int = 0
    twice: int = 0
    wrong: int = 0
    met: bool = True
    note: str = ''

    @property
    def harmless(self) -> bool:
        """Whether nothing was lost, done twice or wrong."""
        return not (self.lost or self.twice or self.wrong)


class Tally:
    """Counts by kind of fault, also kept in a file, since a run takes hours.

    :param path: of the file with one JSON line a fault
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, Counter[str]] = {}

    def add(self, kind: str, seed: int, outcome: Outcome) -> None:
        """Count a fault."""
        counts = self.counts.setdefault(kind, Counter())
        counts['faults'] += 1
        for name in ('met', 'lost', 'twice', 'wrong'):
            counts[name] += int(getattr(outcome, name))
        with self.path.open('a') as stream:
            stream.write(json.dumps({'kind': kind, 'seed': seed, **vars(outcome)}) + '\n')

    def table(self) -> str:
        """Return the counts as a table in Markdown."""
        names = ('faults', 'met', 'lost', 'twice', 'wrong')
        total = sum(self.counts.values(), Counter())
        lines = [
            '| Fault | Number | Met a running process | Lost | Done twice | Silently wrong |',
            '|---|' + '---:|' * 5,
        ]
        for kind, counts in [*self.counts.items(), ('all', total)]:
            lines.append(f'| {kind} | ' + ' | '.join(str(counts[name]) for name in names) + ' |')
        return '\n'.join(lines)

    @property
    def harmless(self) -> bool:
        """Whether no fault did any harm."""
        return not any(counts[name] for counts in self.counts.values() for name in ('lost', 'twice', 'wrong'))
