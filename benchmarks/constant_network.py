"""``goectp`` with a network that costs nothing: tensors are a function of the lattice. Used by other benchmarks.

python benchmarks/constant_network.py predict crystals.npz --model MODEL --output OUT.npz [--batch-atoms 16384]

Everything but the network and the graphs is that of ``goectp predict``: reading, partial file, status, collection and
writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.predictions import TENSORS
from aiida_goectp.core.executable import predict
from aiida_goectp.core.executable.main import main
from aiida_goectp.core.formats.model_card import model_hash, read_card, resolve_model
from aiida_goectp.core.learning.results import PredictedBatch

BATCH_ATOMS = 1024
"""as on a CPU"""


class ConstantPredictor:
    """Stands for :class:`aiida_goectp.core.learning.predict.Predictor`."""

    device, phonons = 'cpu', False

    def __init__(self, model: Path, batch_atoms: int | None) -> None:
        self.model = SimpleNamespace(hash=model_hash(model), card=read_card(model))
        self.batch_atoms = batch_atoms or BATCH_ATOMS

    def settings(self) -> dict[str, Any]:
        """Return the settings of the table of predictions."""
        return {'device': 'cpu', 'precision': 'float32', 'network': 'constant'}

    def run(
        self, crystals: CrystalSet, start: int = 0, prepared: None = None, keep: bool = False
    ) -> Iterator[PredictedBatch]:
        """Yield the results of all rows from ``start`` on; no preparation is read or kept."""
        offsets = crystals.atom_offsets
        while start < len(crystals):
            stop = int(np.searchsorted(offsets, offsets[start] + self.batch_atoms, side='right')) - 1
            rows = np.arange(start, min(max(stop, start + 1), len(crystals)))
            start += len(rows)
            yield self.batch(rows, crystals.take(rows))

    @staticmethod
    def batch(rows: np.ndarray, crystals: CrystalSet) -> PredictedBatch:
        """Return tensors that grow with the density, with the axes of the metric of the lattice."""
        lattices, atoms = crystals.lattices, crystals.atom_counts
        metric = np.swapaxes(lattices, 1, 2) @ lattices
        shape = metric / np.trace(metric, axis1=1, axis2=2)[:, None, None]
        density = atoms / np.abs(np.linalg.det(lattices))
        tensors = np.full((len(rows), len(TENSORS), 3, 3), np.nan)
        tensors[:, 0] = np.eye(3) + 30 * density[:, None, None] * shape
        tensors[:, 1] = 60 * density[:, None, None] * shape
        tensors[:, 2] = tensors[:, 0] + tensors[:, 1]
        return PredictedBatch(
            rows,
            tensors,
            np.zeros(len(rows), dtype=np.uint32),
            [''] * len(rows),
            np.full((len(rows), 3, 5), np.nan),
            np.full(len(rows), np.nan),
            crystals.hashes,
        )


def load_predictor(options: Mapping[str, Any]) -> ConstantPredictor:
    """Stand for the function of the same purpose in the executable."""
    return ConstantPredictor(resolve_model(options['model']), options['batch_atoms'])


if __name__ == '__main__':
    predict._load_predictor = load_predictor  # type: ignore[assignment]
    main()
