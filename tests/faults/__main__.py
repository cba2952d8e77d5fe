"""``make faults``: faults at random moments, counted; the exit status is 1 if any did harm.

``FAULTS=1000`` gives their number, ``SEED=0`` the random moments, ``KINDS='…'`` the kinds by a part of their name.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.executable import CLOCK, KINDS, Bench, faketime_library
from tests.faults.outcome import Tally


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='python -m tests.faults', description=__doc__)
    parser.add_argument('--count', type=int, default=200, help='number of faults')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--kinds', default='', help='only those whose name contains this')
    parser.add_argument('--record', type=Path, default=Path('faults.jsonl'), help='one line a fault is appended')
    given = parser.parse_args()
    kinds = {name: kind for name, kind in KINDS.items() if given.kinds in name}
    if not kinds:
        sys.exit(f'--kinds {given.kinds}: no kind has this in its name; there are: {", ".join(KINDS)}')
    if any(CLOCK in name for name in kinds) and faketime_library() is None:
        sys.exit(f'{CLOCK}: needs libfaketime (apt-get install libfaketime), or choose others with --kinds')
    if os.geteuid() != 0:
        sys.exit('small disks are mounted: run this as root')
    tally = Tally(given.record)
    with tempfile.TemporaryDirectory(prefix='goectp-faults-') as folder:
        bench = Bench(Path(folder))
        begin = time.monotonic()
        for number in range(given.count):
            name = list(kinds)[number % len(kinds)]
            fault, command = kinds[name]
            seed = given.seed * 1_000_003 + number
            outcome = fault(bench, command, random.Random(seed))
            tally.add(name, seed, outcome)
            if not outcome.harmless:
                print(f'{name}, seed {seed}: {outcome}', flush=True)
        bench.close()
    print(f'{tally.table()}\n\n{given.count} faults in {time.monotonic() - begin:.0f} s')
    sys.exit(not tally.harmless)


if __name__ == '__main__':
    main()
