"""``make faults``: faults at random moments, counted; the exit status is 1 if any did harm.

``FAULTS=1000`` gives their number, ``SEED=0`` the random moments, ``KINDS='…|…'`` the kinds by parts of their names.
The record is continued: a fault with the same kind and seed is not repeated, and the table counts all that are
recorded.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.faults import archives, executable, processes, servers
from tests.faults.outcome import Kind, Outcome, Tally
from tests.services.stack import install_packages

KINDS: dict[str, Kind] = {**executable.KINDS, **processes.KINDS, **servers.KINDS, **archives.KINDS}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='python -m tests.faults', description=__doc__)
    parser.add_argument('--count', type=int, default=200, help='number of faults')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--kinds', default='', help='only those whose name contains one of these parts, split by |')
    parser.add_argument('--record', type=Path, default=Path('faults.jsonl'), help='one line a fault is appended')
    given = parser.parse_args()
    parts = given.kinds.split('|')
    kinds = {name: kind for name, kind in KINDS.items() if any(part in name for part in parts)}
    if not kinds:
        sys.exit(f'--kinds {given.kinds}: no kind has this in its name; there are: {"; ".join(KINDS)}')
    if os.geteuid() != 0:
        sys.exit('small disks are mounted: run this as root')
    install_packages(name for kind in kinds.values() for name in getattr(kind.bench, 'PACKAGES', ()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all processes are ended
    tally = Tally(given.record)
    begin = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix='goectp-faults-', ignore_cleanup_errors=True) as folder,
        ExitStack() as ends,
    ):
        ends.callback(_end_children)  # those of a bench that is not complete
        benches = _Benches(Path(folder), ends)
        schedule = [name for name, kind in kinds.items() for _ in range(kind.weight)]
        for number in range(given.count):
            seed = given.seed * 1_000_003 + number
            dice = random.Random(seed)
            name = dice.choice(schedule)
            if (name, seed) in tally.seeds:
                continue
            outcome: Outcome = kinds[name].fault(benches.get(kinds[name].bench), kinds[name].command, dice)
            tally.add(name, seed, outcome)
            if outcome.note or not outcome.harmless:
                print(f'{name}, seed {seed}: {outcome}', flush=True)
    print(f'{tally.table()}\n\n{given.count} faults in {time.monotonic() - begin:.0f} s')
    sys.exit(not tally.harmless)


class _Benches:
    """The benches that were needed so far, each in a folder of its own."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self.folder, self.ends = folder, ends
        self.made: dict[Any, Any] = {}

    def get(self, make: Callable[[Path], Any]) -> Any:
        """Return the bench of a class."""
        if make not in self.made:
            place = self.folder / str(len(self.made))
            place.mkdir()
            self.made[make] = make(place)
            self.ends.callback(self.made[make].close)
        return self.made[make]


def _end_children() -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == '__main__':
    main()
