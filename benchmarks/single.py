"""Time of the prediction of one crystal in a warm process, of small batches by the members of a committee together and
one after the other, and of the start of the ``goectp`` command.

python benchmarks/single.py FILE [--limit 200] [--model MODEL] [--json RESULT.json]
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import torch
from common import arguments, clock, finish, load, one_thread, table

from aiida_goectp.core.crystals import CrystalSet

REPEATS = 3
SIZES = (1, 4, 16, 32, 64, 128, 256)
_COMMAND = 'import sys; from aiida_goectp.core.executable.main import main; sys.argv = {}; main()'
STARTS = {
    'python alone': 'pass',
    'import torch': 'import torch',
    'goectp --help': _COMMAND.format(['goectp', '--help']),
    'goectp info MODEL, without weights': _COMMAND.format(['goectp', 'info', 'goectp-small']),
    'imports of a prediction': 'from aiida_goectp.core.learning.predict import predict_crystals',
}


def start_ups() -> list[dict[str, object]]:
    """Return the shortest of some times of each start."""
    rows = []
    for name, statement in STARTS.items():
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            subprocess.run([sys.executable, '-c', statement], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
        rows.append({'start': name, 'elapsed, s': min(seconds)})
    return rows


def small_batches(crystals: CrystalSet, name: str) -> list[dict[str, object]]:
    """Return the shortest times of the members of a committee, evaluated as one network and one after the other."""
    from aiida_goectp.core.learning.model_cache import cached_model
    from aiida_goectp.core.network.batch import GraphBatch
    from aiida_goectp.core.network.preparation import prepare

    model = cached_model(name, 'cpu')
    rows: list[dict[str, object]] = []
    for size in SIZES if model.stacked else ():
        if size > len(crystals):
            break
        batch = GraphBatch.from_arrays(prepare(crystals.take(range(size)), model.card.preset))
        best = dict.fromkeys(('together', 'one by one'), np.inf)
        for _ in range(2 * REPEATS):  # in turn
            for way in best:
                with torch.no_grad(), clock() as measured:
                    if way == 'together':
                        model.stacked.evaluate(batch)
                    else:
                        for network in model.members:
                            network.evaluate(batch)
                best[way] = min(best[way], 1e3 * measured.cpu / size)
        rows.append({'crystals': size, 'atoms': len(batch.cells.numbers), **best})
    return rows


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or '', 200)
    parser.add_argument('--model', default='goectp-small', help='name or file')
    options = parser.parse_args()
    from aiida_goectp.core.learning.predict import predict_crystals

    crystals = load(options)
    predict_crystals(crystals.take(range(min(8, len(crystals)))), options.model, device='cpu')
    cpu = []
    for row in range(len(crystals)):
        with clock() as measured:
            predict_crystals(crystals.take([row]), options.model, device='cpu')
        cpu.append(1e3 * measured.cpu)
    median, high, slowest = np.quantile(cpu, [0.5, 0.9, 1.0])
    warm = [
        {
            'model': options.model,
            'crystals': len(crystals),
            'CPU ms, median': median,
            '90 % below': high,
            'slowest': slowest,
        }
    ]
    table('One crystal, warm', warm)
    batches = small_batches(crystals, options.model)
    if batches:
        table('Members of the committee, CPU ms a crystal', batches)
    starts = start_ups()
    table('Starts', starts)
    finish(options, {'warm': warm, 'batches': batches, 'starts': starts})


if __name__ == '__main__':
    one_thread()
    main()
