"""What the main process of ``goectp predict`` adds to a crystal: reading, partial file, collection and final file.

python benchmarks/main_process.py FILE.jsonl.gz [--limit 9000] [--json RESULT.json]

The network and the preparation are left out: tensors are random numbers with the digits of a network in single
precision, and content hashes are those that the worker processes make.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from common import arguments, finish, load, one_thread, table

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.predictions import TENSORS
from aiida_goectp.core.executable import predict
from aiida_goectp.core.learning.results import PredictedBatch
from aiida_goectp.core.network.prepared import PreparedFile

BATCH_ATOMS = 16_384
"""as on a GPU"""


class RandomPredictor:
    """Stands for :class:`aiida_goectp.core.learning.predict.Predictor`."""

    device, phonons, batch_atoms = 'cpu', False, BATCH_ATOMS
    model = SimpleNamespace(hash='random', card=SimpleNamespace(preset='', preparation_can_be_kept=False))

    def __init__(self, crystals: CrystalSet) -> None:
        numbers = np.random.default_rng(0).normal(size=(len(crystals), len(TENSORS), 3, 3)).astype(np.float32)
        self.tensors = (numbers + np.swapaxes(numbers, 2, 3)).astype(np.float64)
        self.deviations = np.abs(self.tensors[:, :1, 0, :1]) * np.arange(1, 16).reshape(3, 5)
        self.hashes = crystals.hashes

    def settings(self) -> dict[str, Any]:
        """Return the settings of the table of predictions."""
        return {'device': 'cpu', 'precision': 'float32', 'network': 'random numbers'}

    def run(
        self, crystals: CrystalSet, start: int, prepared: PreparedFile | None, keep: bool
    ) -> Iterator[PredictedBatch]:
        """Yield the results of all rows."""
        offsets = crystals.atom_offsets
        while start < len(crystals):
            stop = int(np.searchsorted(offsets, offsets[start] + self.batch_atoms, side='right')) - 1
            rows = np.arange(start, max(stop, start + 1))
            start += len(rows)
            yield PredictedBatch(
                rows,
                self.tensors[rows],
                np.zeros(len(rows), dtype=np.uint32),
                [''] * len(rows),
                self.deviations[rows],
                np.full(len(rows), np.nan),
                self.hashes[rows],
            )


def main() -> None:
    """Measure and print."""
    one_thread()
    options = arguments(__doc__.splitlines()[0], limit=9000).parse_args()
    crystals = load(options)
    columns = (crystals.lattices, crystals.atom_offsets, crystals.atomic_numbers, crystals.fractional_positions)
    predictor = RandomPredictor(crystals)
    predict._load_predictor = lambda options: predictor  # type: ignore[assignment, return-value]
    with TemporaryDirectory() as folder:
        CrystalSet(*columns, crystals.ids).save(Path(folder) / 'crystals.npz')
        os.chdir(folder)
        rows = []
        for run in range(3):
            process, thread = time.process_time(), time.thread_time()
            predict.predict.main(['crystals.npz', '--output', f'{run}.npz', '--quiet'], standalone_mode=False)
            used = {'process': time.process_time() - process, 'main thread': time.thread_time() - thread}
            rows.append({'run': run, **{f'{name}, µs': 1e6 * value / len(crystals) for name, value in used.items()}})
        os.chdir('/')
    table(f'CPU time for each of {len(crystals)} crystals', rows)
    finish(options, {'crystals': len(crystals), 'main process': rows})


if __name__ == '__main__':
    main()
