"""Graphs made by several processes: crystals a second on the wall, beside one thread.

python benchmarks/graph_processes.py FILE.jsonl.gz [--limit 2000] [--processes 1 2 4] [--json RESULT.json]
"""

from __future__ import annotations

import time

from common import arguments, finish, load, one_thread, table

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.learning.batches import prepared_batches
from aiida_goectp.core.learning.workers import available_cores

BATCH_ATOMS = 16384
"""as for a GPU"""


def seconds_of(crystals: CrystalSet, processes: int) -> float:
    """Return the seconds from the first question to the last graph, the start of the processes included."""
    begun = time.perf_counter()
    for _ in prepared_batches(crystals, 'goectp', lambda: BATCH_ATOMS, processes=processes):
        pass
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    one_thread()
    parser = arguments(__doc__.splitlines()[0], limit=2000)
    parser.add_argument('--processes', nargs='+', type=int, default=[1, 2, 4, 8, 15])
    options = parser.parse_args()
    crystals = load(options)
    seconds_of(crystals.take(range(8)), 0)  # compiles
    counts = [0, *(count for count in options.processes if count <= available_cores())]
    seconds = {count: seconds_of(crystals, count) for count in counts}
    rows = [
        {
            'made by': f'{count} processes' if count else 'a thread',
            'crystals/s on the wall': len(crystals) / value,
            'times faster': seconds[0] / value,
        }
        for count, value in seconds.items()
    ]
    table(f'{len(crystals)} crystals of {options.file.name}, preset goectp, {available_cores()} cores', rows)
    finish(options, {'crystals': len(crystals), 'cores': available_cores(), 'graphs': rows})


if __name__ == '__main__':
    main()
