"""Throughput of graph construction by several processes, compared with one thread.

python benchmarks/graph_processes.py FILE.jsonl.gz [--limit 2000] [--processes 1 2 4] [--json RESULT.json]
"""

from __future__ import annotations

import time

from common import arguments, finish, load, one_thread, table

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.formats.deflate import available_cores
from aiida_goectp.core.learning.batches import prepared_batches

BATCH_ATOMS = 16384
"""as for a GPU"""


def seconds_of(crystals: CrystalSet, processes: int) -> float:
    """Return the elapsed time until the last graph, including the start of the processes."""
    start = time.perf_counter()
    for _ in prepared_batches(crystals, 'goectp', lambda: BATCH_ATOMS, processes=processes):
        pass
    return time.perf_counter() - start


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
            'workers': f'{count} processes' if count else 'one thread',
            'crystals/s': len(crystals) / value,
            'speed-up': seconds[0] / value,
        }
        for count, value in seconds.items()
    ]
    table(f'{len(crystals)} crystals of {options.file.name}, preset goectp, {available_cores()} cores', rows)
    finish(options, {'crystals': len(crystals), 'cores': available_cores(), 'graphs': rows})


if __name__ == '__main__':
    main()
