"""Prediction of many crystals, in this order:

1. prepare and batch: :func:`.prepared_batches` makes graphs of the crystals of a :class:`.CrystalSet`, and yields them
   as :class:`.PreparedBatch`;
2. evaluate: :class:`Predictor` turns each into a :class:`.PredictedBatch`;
3. collect: :func:`.collect` joins these to :class:`.Predictions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aiida_goectp import __version__
from aiida_goectp.core.crystals.convert import as_crystal_set, warn_of_failures
from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.gamma_phonons import GammaPhonons, PhononCell
from aiida_goectp.core.dielectric.predictions import FLAG_NAMES, OUT_OF_MEMORY, TENSORS, Predictions
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.learning import testing_hooks
from aiida_goectp.core.learning.batches import PreparedBatch, prepared_batches
from aiida_goectp.core.learning.committee_output import combined, is_diverged, member_outputs, phonon_cells
from aiida_goectp.core.learning.device import choose_device, device_errors
from aiida_goectp.core.learning.errors import DeviceOutOfMemoryError
from aiida_goectp.core.learning.model_cache import cached_model
from aiida_goectp.core.learning.results import PredictedBatch, collect
from aiida_goectp.core.learning.uncertainty import deviations, stability
from aiida_goectp.core.learning.workers import useful_processes
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel
from aiida_goectp.core.network.preparation import GraphArrays
from aiida_goectp.core.network.prepared import PreparedFile

__all__ = ('Predictor', 'predict_crystals')

_SMALLEST = 64
"""atoms; if a batch of so few does not fit into the memory of the device, the prediction stops"""
_UNSEEN, _SYMMETRY_UNKNOWN, _UNLIKE_TRAINING, _SOFT_MODE, _UNSTABLE = (
    np.uint32(1 << bit) for bit in range(len(FLAG_NAMES))
)
_SOFT_SHARE = 0.25
"""share of the ionic permittivity from soft modes above which a prediction is flagged"""
_DIVERGED = 'diverged: larger than for any crystal, or not finite; unlike the training set'
"""reason of a failed row"""


class Predictor:
    """A model on a device.

    :param model: it is moved to the device
    :param device: as :func:`aiida_goectp.core.learning.device.choose_device` returns it
    :param batch_atoms: largest number of atoms in a batch; chosen by the memory of the device if None. Halved when
        memory runs out
    :param processes: number of processes that prepare crystals; 0 for a thread of this process
    :param phonons: return phonons at Γ as well, which takes kilobytes a crystal
    :raises FormatError: the model has no phonons
    :raises DeviceOutOfMemoryError: the model does not fit into the memory of the device
    :raises NoDeviceError: the GPU failed
    """

    def __init__(
        self,
        model: LoadedModel,
        device: str = 'cpu',
        batch_atoms: int | None = None,
        processes: int = 0,
        phonons: bool = False,
    ) -> None:
        if phonons and model.card.preset != 'force_constants':
            raise FormatError(
                f'model {model.card.name!r} has preset {model.card.preset}; phonons need one of preset force_constants'
            )
        self.device, self.processes, self.phonons = device, processes, phonons
        with device_errors(device):
            self.model = model.to(device)
            self.batch_atoms = batch_atoms or default_batch_atoms(device)
        self._seen = np.zeros(256, dtype=bool)
        """by atomic number: elements of the training set"""
        self._seen[model.card.elements or slice(None)] = True
        targets = set(model.card.targets)
        if {'electronic', 'ionic'} <= targets:
            targets.add('total')
        self._predicted = [place for place, name in enumerate(TENSORS) if name in targets]

    def run(
        self, crystals: CrystalSet, start: int = 0, prepared: PreparedFile | None = None, keep: bool = False
    ) -> Iterator[PredictedBatch]:
        """Yield the results of all rows from ``start`` on, in row order.

        :param prepared: preparation that was kept; it is read in this process
        :param keep: return the preparation with the results
        :raises DeviceOutOfMemoryError: not even a small batch fits into the memory of the device
        :raises NoDeviceError: the GPU failed
        """
        processes = useful_processes(0 if prepared is not None else self.processes, len(crystals) - start)
        preset = self.model.card.preset
        for batch in prepared_batches(crystals, preset, lambda: self.batch_atoms, start, processes, prepared, keep):
            count, valid = len(batch.rows), batch.valid
            result = PredictedBatch(
                batch.rows,
                np.full((count, len(TENSORS), 3, 3), np.nan),
                np.zeros(count, dtype=np.uint32),
                list(batch.errors),
                np.full((count, 3, 5), np.nan),
                np.full(count, np.nan),
                batch.hashes,
                prepared=batch.prepared,
            )
            result.flags[valid] = self._preparation_flags(batch.graphs)
            cells: list[PhononCell | None] = [None] * count
            self._evaluate(batch.graphs, valid, result, cells)
            yield self._with_phonons(result, batch, cells) if self.phonons else result

    @staticmethod
    def _with_phonons(
        result: PredictedBatch, batch: PreparedBatch, cells: Sequence[PhononCell | None]
    ) -> PredictedBatch:
        assert batch.graphs.cells is not None
        maps: list[np.ndarray | None] = [None] * len(cells)
        for place, atoms in zip(batch.valid, batch.graphs.cells.primitive_atoms, strict=True):
            maps[place] = None if cells[place] is None else atoms
        return result._replace(phonons=GammaPhonons.from_cells(cells, maps))

    def _preparation_flags(self, graphs: GraphArrays) -> np.ndarray:
        """Return the flags of each crystal that do not depend on its prediction."""
        first_atoms = graphs.atom_offsets[graphs.graph_offsets[:-1]]
        unseen = np.logical_or.reduceat(~self._seen[graphs.numbers], first_atoms)
        return unseen * _UNSEEN | ~graphs.symmetry_known * _SYMMETRY_UNKNOWN

    def _evaluate(
        self, graphs: GraphArrays, places: np.ndarray, result: PredictedBatch, cells: list[PhononCell | None]
    ) -> None:
        """Write the results of graphs to the given places; in halves if memory runs out."""
        if not len(places) or self._evaluate_at_once(graphs, places, result, cells):
            return
        # the error is gone here, and with it the tensors on the device that its traceback refers to
        torch.cuda.empty_cache()
        atoms = len(graphs.numbers)
        if len(places) > 1:
            self.batch_atoms = min(self.batch_atoms, max(_SMALLEST, min(self.batch_atoms, atoms) // 2))
            for half in np.array_split(np.arange(len(places)), 2):
                self._evaluate(graphs.take(half), places[half], result, cells)
        elif atoms > _SMALLEST:
            result.errors[places[0]] = f'{OUT_OF_MEMORY}: {atoms} atoms do not fit on {self.device}, even by themselves'
        else:
            raise DeviceOutOfMemoryError(
                f'{atoms} atoms do not fit on {self.device}; free memory there, or use another device'
            )

    def _evaluate_at_once(
        self, graphs: GraphArrays, places: np.ndarray, result: PredictedBatch, cells: list[PhononCell | None]
    ) -> bool:
        """Write the results of graphs to the given places; return False if memory ran out."""
        try:
            with device_errors(self.device):
                testing_hooks.before_batch(len(graphs.numbers))
                batch = GraphBatch.from_arrays(graphs).to(self.device)
                found = member_outputs(self.model, batch, stacked=True)
                output, diverged = combined(self.model, batch, found), is_diverged(batch, found)
        except DeviceOutOfMemoryError:
            return False
        std = deviations(output, self.model.card.uncertainty)
        tensors = np.concatenate([output.mean, std.tensors], axis=1)
        scalars = np.concatenate([std.average[:, :, None], std.anisotropy[:, :, None], std.eigenvalues], axis=2)
        unlike = output.leverage > self.model.card.uncertainty.get('unlike_above', np.inf)
        finite = np.isfinite(tensors[:, self._predicted]).all(axis=(1, 2, 3)) & ~diverged
        result.tensors[places[finite]] = tensors[finite]
        result.deviations[places[finite]] = scalars[finite]
        result.flags[places[finite & unlike]] |= _UNLIKE_TRAINING
        if output.soft_modes is not None:
            lowest, share = output.soft_modes.T
            result.flags[places[finite & (share > _SOFT_SHARE)]] |= _SOFT_MODE
            result.flags[places[finite & (lowest < 0)]] |= _UNSTABLE
            factors = self.model.card.uncertainty.get('lowest_eigenvalue', [])
            result.stability[places[finite]] = stability(output, factors)[finite]
        if self.phonons:
            for place, cell in zip(places[finite], phonon_cells(graphs, batch, found)[finite], strict=True):
                cells[place] = cell
        for place in places[~finite]:
            result.errors[place] = _DIVERGED
        return True

    def settings(self) -> dict[str, Any]:
        """Return device, precision and versions, for the table of predictions."""
        return {
            'device': self.device,
            'precision': 'float32',
            'package': __version__,
            'torch': str(torch.__version__),
            'preset': self.model.card.preset,
        }


def default_batch_atoms(device: str) -> int:
    """Return the number of atoms in a batch: on a GPU what fits into its free memory, at half a megabyte an atom."""
    if device == 'cpu':
        return 2048  # larger ones are not faster, by benchmarks/predict.py
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return int(np.clip(free // 2**20, 1024, 65536))


def predict_crystals(
    crystals: Any,
    model: str | Path | bytes = 'goectp',
    *,
    device: str = 'auto',
    batch_atoms: int | None = None,
    phonons: bool = False,
    prepared: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict the dielectric tensors of all crystals in this process.

    :param crystals: a :class:`.CrystalSet`, ASE ``Atoms``, a list of these, or a dict id → ``Atoms``; see
        :func:`.as_crystal_set`. Values of a list that are no valid crystals have no row; a warning names the first
    :param model: a path, the name of a shipped model, or the content of a model file; stays loaded between calls
    :param device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    :param batch_atoms: largest number of atoms in a batch; chosen by the memory of the device if None
    :param phonons: return phonons at Γ as well; see :class:`.GammaPhonons`
    :param prepared: ``prepared.npz`` of these crystals, which ``goectp prepare`` writes
    :param progress: called with the number of rows done
    :raises FormatError: no such model, not one of this version, one without phonons, or ``prepared`` does not fit
    :raises NoDeviceError: no such device
    """
    given, crystals = crystals, as_crystal_set(crystals)
    warn_of_failures(crystals, given)
    chosen = choose_device(device)
    predictor = Predictor(cached_model(model, chosen), chosen, batch_atoms, phonons=phonons)
    batches = []
    with ExitStack() as stack:
        kept = None
        if prepared is not None:
            kept = stack.enter_context(PreparedFile(prepared, crystals, predictor.model.card.preset))
        for batch in predictor.run(crystals, prepared=kept):
            batches.append(batch)
            if progress is not None:
                progress(int(batch.rows[-1]) + 1)
    return collect(crystals, batches, predictor.model.hash, predictor.settings())
