"""A screen of up to a million crystals without AiiDA and without a network: CPU time and peak memory of each stage.

python benchmarks/stages.py POOL.npz [--shards 25] [--rows 1000000] [--keep-duplicates] [--json RESULT.json]

POOL.npz are crystals as ``million.py --folder`` leaves them. Each stage runs in a process of its own, with the
functions that the jobs and the calculation functions of ``ScreenWorkChain`` call: ``cut`` writes the crystals of each
shard; ``shard`` predicts them one after the other with the constant network of ``constant_network.py``; ``merge``
writes all predictions to one file; ``rank`` ranks them and finds equal crystals; ``check`` compares the ranking with a
plain sort of the scores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import machine, one_thread, table

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.crystals.crystalset import CrystalFile
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.dielectric.shards import merge_files
from aiida_goectp.core.formats.table import TableFile
from aiida_goectp.core.learning.results import collect
from aiida_goectp.core.selection.ranking import Ranker, Ranking

TOP = 100


def bounds(options: Namespace) -> list[tuple[int, int]]:
    """Return first and last row of each shard."""
    size = -(-options.rows // options.shards)
    return [(start, min(start + size, options.rows)) for start in range(0, options.rows, size)]


def pool_in_use(options: Namespace) -> Path:
    """Return the file of the crystals in use."""
    part = options.folder / 'pool.npz'
    return part if part.exists() else options.pool


def cut(options: Namespace) -> None:
    """Write the crystals of each shard, as a job gets them, and the crystals in use if they are not all of the pool."""
    with CrystalFile(options.pool) as rows:
        if options.rows < len(rows):
            rows.rows(0, options.rows).save(options.folder / 'pool.npz')
        for number, (start, stop) in enumerate(bounds(options)):
            part = rows.rows(start, stop)
            columns = (part.lattices, part.atom_offsets, part.atomic_numbers, part.fractional_positions)
            CrystalSet(*columns, part.ids).save(options.folder / f'crystals-{number}.npz')


def shard(options: Namespace) -> None:
    """Predict all shards."""
    from constant_network import ConstantPredictor

    for number, _ in enumerate(bounds(options)):
        crystals = CrystalSet.load(options.folder / f'crystals-{number}.npz')
        predictor = ConstantPredictor('constant', 16_384)
        batches = list(predictor.run(crystals))
        collect(crystals, batches, 'constant', predictor.settings()).save(options.folder / f'part-{number}.npz')


def merge(options: Namespace) -> None:
    """Merge the predictions of all shards."""
    with ExitStack() as stack:
        rows = stack.enter_context(CrystalFile(pool_in_use(options)))
        paths = [options.folder / f'part-{number}.npz' for number, _ in enumerate(bounds(options))]
        parts = [stack.enter_context(TableFile(Predictions, path)) for path in paths]
        target = stack.enter_context((options.folder / 'predictions.npz').open('w+b'))
        merged = merge_files(parts, rows, target)
        assert merged is not None
        assert merged.rows == options.rows


def rank(options: Namespace) -> None:
    """Rank all crystals and write the ranking."""
    path = options.folder / 'predictions.npz'
    with CrystalFile(pool_in_use(options)) as rows, TableFile(Predictions, path) as predictions:
        ranker = Ranker('total')
        for crystals, part in zip(rows.blocks(), predictions.blocks(), strict=True):
            ranker.add(crystals, part)
        take = None if options.keep_duplicates else rows.take
        ranker.ranking(rows.failures(), take).save(options.folder / 'ranking.npz')


def check(options: Namespace) -> None:
    """Compare the best rows with those of a plain sort of the average permittivity."""
    ranking = Ranking.load(options.folder / 'ranking.npz')
    with TableFile(Predictions, options.folder / 'predictions.npz') as predictions:
        scores = np.concatenate([np.trace(block, axis1=1, axis2=2) / 3 for block in predictions.column('total')])
    scores[ranking.rank == 0] = -np.inf
    best = np.argsort(-scores, kind='stable')[:TOP]
    assert np.array_equal(scores[ranking.top(TOP)], scores[best])
    assert np.array_equal(np.sort(ranking.top(TOP)), np.sort(best))


STAGES: dict[str, Callable[[Namespace], None]] = {
    'cut': cut,
    'shard': shard,
    'merge': merge,
    'rank': rank,
    'check': check,
}


def run_stage(options: Namespace) -> None:
    """Run one stage and print its CPU time and peak memory, those of the imports included."""
    begin = time.perf_counter()
    STAGES[options.stage](options)
    peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
    found = {'CPU, s': time.process_time(), 'elapsed, s': time.perf_counter() - begin}
    print(json.dumps(found | {'peak, MiB': int(peak.split()[1]) / 1024}))


def main() -> None:
    """Run the stages one after the other."""
    one_thread()
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('pool', type=Path)
    parser.add_argument('--rows', type=int, help='first rows of the pool to use (all)')
    parser.add_argument('--shards', type=int, default=25)
    parser.add_argument('--keep-duplicates', action='store_true', help='do not search for equal crystals')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--stage', choices=STAGES, help='used by this script itself')
    parser.add_argument('--folder', type=Path, help='used by this script itself')
    options = parser.parse_args()
    if options.rows is None:
        with CrystalFile(options.pool) as rows:
            options.rows = len(rows)
    if options.stage:
        run_stage(options)
        return
    results: list[dict[str, Any]] = []
    with TemporaryDirectory(dir=options.folder) as folder:
        for stage in STAGES:
            arguments = [str(options.pool), '--rows', str(options.rows), '--shards', str(options.shards)]
            arguments += ['--folder', folder, '--stage', stage] + ['--keep-duplicates'] * options.keep_duplicates
            output = subprocess.run(
                [sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            results.append({'rows': options.rows, 'stage': stage, **json.loads(output)})
            print(json.dumps(results[-1]), flush=True)
    table(f'{options.rows} crystals', results)
    if options.json:
        options.json.write_text(json.dumps({'machine': machine(), 'stages': results}, indent=1) + '\n')


if __name__ == '__main__':
    main()
