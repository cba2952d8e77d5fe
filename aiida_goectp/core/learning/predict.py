"""Prediction of many crystals: batches by size, failed rows kept, memory limits survived."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import numpy as np
import torch

from aiida_goectp import __version__
from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.dielectric.predictions import FLAG_NAMES, TENSORS, Predictions
from aiida_goectp.core.formats.model_card import resolve_model
from aiida_goectp.core.learning.batches import PreparedBatch, prepared_batches
from aiida_goectp.core.learning.device import MemoryShortage, NoDeviceError, choose_device, fault, known_failure
from aiida_goectp.core.learning.uncertainty import Raw, deviations
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model
from aiida_goectp.core.network.model import mean_by
from aiida_goectp.core.network.preparation import GraphArrays

__all__ = ('Chunk', 'Predictor', 'assemble', 'cached_model', 'predict_crystals', 'raw_outputs')

_SMALLEST = 64
"""atoms; a device without room for that many has no room for anything"""
_WORTH_A_PROCESS = 500
"""crystals; a process starts in the time that as many take"""


class Chunk(NamedTuple):
    """Results of some rows."""

    rows: np.ndarray
    """(k,) places in the crystal set"""
    tensors: np.ndarray
    """(k, 6, 3, 3) in the order of :data:`.TENSORS`, NaN where failed or not predicted"""
    flags: np.ndarray
    """(k,)"""
    errors: list[str]
    """(k,) empty where good"""
    deviations: np.ndarray
    """(k, 3, 5) of electronic, ionic, total: standard deviations of average, anisotropy, ascending eigenvalues"""


class _Outcome(NamedTuple):
    """Results of crystals that went through the network together."""

    tensors: np.ndarray
    deviations: np.ndarray
    unlike: np.ndarray

    def row(self, place: int) -> _Outcome:
        return _Outcome(*(column[place] for column in self))


@torch.no_grad()
def raw_outputs(model: LoadedModel, batch: GraphBatch, functional: torch.Tensor | None = None) -> Raw:
    """Return what each member says of the crystals of a batch."""
    tensors, leverage = [], []
    for network in model.members:
        features = network.features(batch, functional=functional)
        tensors.append(network.tensors(features, batch))
        leverage.append(network.leverage(features, batch))
    found = torch.stack(tensors).double().cpu().numpy()
    members = np.full((*found.shape[:2], 3, 3, 3), np.nan)
    for place, name in enumerate(model.card.targets):
        members[:, :, TENSORS.index(name)] = found[:, :, place]
    if {'electronic', 'ionic'} <= set(model.card.targets):
        members[:, :, 2] = members[:, :, 0] + members[:, :, 1]
    density = mean_by(batch.atom_density.unsqueeze(1), batch.owners, len(batch.projectors)).squeeze(1)
    far = torch.stack(leverage).mean(dim=0).double().cpu().numpy()
    return Raw(members, far, density.double().cpu().numpy())


class Predictor:
    """A model on a device, fed with crystals.

    :param model: as loaded; it is moved to the device
    :param device: as :func:`aiida_goectp.core.learning.device.choose_device` returns it
    :param batch_atoms: atoms in a batch; by the memory of the device if None. Halved when memory runs out
    :param processes: that make graphs; 0 for a thread of this one, which keeps up with a network on the CPU
    """

    def __init__(
        self, model: LoadedModel, device: str = 'cpu', batch_atoms: int | None = None, processes: int = 0
    ) -> None:
        self.model, self.device, self.processes = model.to(device), device, processes
        self.batch_atoms = batch_atoms or default_batch_atoms(device)
        self._elements = np.zeros(256, dtype=bool)
        self._elements[model.card.elements or slice(None)] = True
        targets = set(model.card.targets)
        sums = {'total'} if {'electronic', 'ionic'} <= targets else set()
        self._known = [place for place, name in enumerate(TENSORS) if name in targets | sums]

    def run(self, crystals: CrystalSet, start: int = 0) -> Iterator[Chunk]:
        """Yield results in row order, from row ``start`` on, batch by batch.

        :raises MemoryShortage: the device has no room even for a tiny batch
        :raises NoDeviceError: the GPU was lost on the way
        """
        processes = min(self.processes, (len(crystals) - start) // _WORTH_A_PROCESS)
        for batch in prepared_batches(crystals, self.model.card.preset, lambda: self.batch_atoms, start, processes):
            if seconds := fault('slow'):
                time.sleep(float(seconds))
            count = len(batch.rows)
            tensors, errors = np.full((count, len(TENSORS), 3, 3), np.nan), list(batch.errors)
            sure, flags = np.full((count, 3, 5), np.nan), self._flags(crystals, batch)
            for place, outcome in self._evaluate(batch, np.arange(len(batch.good))):
                where = batch.good[place]
                if isinstance(outcome, str):
                    errors[where] = outcome
                else:
                    tensors[where], sure[where] = outcome.tensors, outcome.deviations
                    flags[where] |= np.uint32(outcome.unlike) << np.uint32(FLAG_NAMES.index('unlike_training'))
            yield Chunk(batch.rows, tensors, flags, errors, sure)

    def _flags(self, crystals: CrystalSet, batch: PreparedBatch) -> np.ndarray:
        flags = np.zeros(len(batch.rows), dtype=np.uint32)
        unseen, unknown = (np.uint32(1 << FLAG_NAMES.index(name)) for name in ('unseen_element', 'symmetry_unknown'))
        for place, row in enumerate(batch.rows):
            numbers = crystals[int(row)].atomic_numbers
            if not batch.errors[place] and not self._elements[numbers].all():
                flags[place] |= unseen
        flags[batch.good[~batch.graphs.symmetry_known]] |= unknown
        return flags

    def _evaluate(self, batch: PreparedBatch, places: np.ndarray) -> Iterator[tuple[int, _Outcome | str]]:
        """Yield (place among the good rows, tensors or an error); halve the batch when memory runs out."""
        if not len(places):
            return
        graphs = batch.graphs.take(places)
        outcomes = self._try(graphs)
        if outcomes is not None:
            for place, outcome in zip(places, map(outcomes.row, range(len(places))), strict=True):
                good = np.isfinite(outcome.tensors[self._known]).all()
                yield int(place), outcome if good else 'the network gave numbers that are not finite'
            return
        # here the error is gone, and with it the tensors that its traceback kept on the device
        torch.cuda.empty_cache()
        atoms = len(graphs.numbers)
        if len(places) > 1:
            self.batch_atoms = min(self.batch_atoms, max(_SMALLEST, min(self.batch_atoms, atoms) // 2))
            for half in np.array_split(places, 2):
                yield from self._evaluate(batch, half)
        elif atoms > _SMALLEST:
            yield int(places[0]), f'out of memory: its {atoms} atoms do not fit on {self.device}, even alone'
        else:
            raise MemoryShortage(
                f'no room for {atoms} atoms on {self.device}; free memory there, or use another device'
            )

    def _try(self, graphs: GraphArrays) -> _Outcome | None:
        """Return the results, or None if memory ran out."""
        try:
            _raise_faults(len(graphs.numbers))
            return self._outcome(GraphBatch.from_arrays(graphs))
        except (MemoryError, RuntimeError) as error:
            known = known_failure(error, self.device)
            if isinstance(known, MemoryShortage):
                return None
            if known is None:
                raise
            raise known from error

    def _outcome(self, batch: GraphBatch) -> _Outcome:
        """Return mean tensors and standard deviations."""
        raw = raw_outputs(self.model, batch.to(self.device))
        sure = deviations(raw, self.model.card.uncertainty)
        columns = np.full((len(raw.density), len(TENSORS), 3, 3), np.nan)
        columns[:, :3], columns[:, 3:] = raw.members.mean(axis=0), sure.tensors
        rows = np.concatenate([sure.average[:, :, None], sure.anisotropy[:, :, None], sure.eigenvalues], axis=2)
        limit = self.model.card.uncertainty.get('unlike_above', np.inf)
        return _Outcome(columns, rows, raw.leverage > limit)

    def settings(self) -> dict[str, Any]:
        """Return how the numbers were made, for the record."""
        return {
            'device': self.device,
            'precision': 'float32',
            'package': __version__,
            'torch': str(torch.__version__),
            'preset': self.model.card.preset,
        }


def default_batch_atoms(device: str) -> int:
    """Return how many atoms to put into one batch.

    On a CPU as many as keep the work in its caches; on a GPU by its free memory, at half a megabyte an atom.
    """
    if device == 'cpu':
        return 1024
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return int(np.clip(free // 2**20, 1024, 65536))


def _raise_faults(atoms: int) -> None:
    limit = fault('oom_above')
    if limit and atoms > int(limit):
        raise MemoryError('a fault was asked for')
    if fault('gpu_lost') is not None:
        raise NoDeviceError('the GPU failed: a fault was asked for')


_KEPT = 12
"""models that stay loaded: a daemon that compares models in each round of a campaign must not keep them all"""

_loaded: dict[tuple[str, str], LoadedModel] = {}


def _load(model: str | Path | bytes) -> LoadedModel:
    if not isinstance(model, bytes):
        return load_model(model)
    with NamedTemporaryFile(suffix='.safetensors') as stream:
        stream.write(model)
        stream.flush()
        return load_model(stream.name)


def _identity(model: str | Path | bytes) -> str:
    """Return what tells models apart: for content its hash, for a file what it says of itself without being read."""
    if isinstance(model, bytes):
        return hashlib.sha256(model).hexdigest()
    path = resolve_model(model).resolve()
    state = path.stat()
    return f'{path} {state.st_ino} {state.st_size} {state.st_mtime_ns}'


def cached_model(model: str | Path | bytes, device: str) -> LoadedModel:
    """Load a model, or return it if it was loaded for that device before.

    :param model: a path, the name of a shipped model, or the content of a model file
    """
    key = (_identity(model), device)
    found = _loaded.pop(key, None) or _load(model)
    _loaded[key] = found  # used last
    for oldest in list(_loaded)[:-_KEPT]:
        del _loaded[oldest]
    return found


def predict_crystals(
    crystals: CrystalSet,
    model: str | Path | bytes,
    *,
    device: str = 'auto',
    batch_atoms: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict the tensors of all crystals in this process.

    :param model: a path, the name of a shipped model, or the content of a model file; kept loaded between calls
    :param device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    :param batch_atoms: atoms in a batch; by the memory of the device if None
    :param progress: called with the number of rows done
    :raises FormatError: no such model, or not one of this version
    :raises NoDeviceError: no such device
    """
    chosen = choose_device(device)
    predictor = Predictor(cached_model(model, chosen), chosen, batch_atoms)
    chunks = []
    for chunk in predictor.run(crystals):
        chunks.append(chunk)
        if progress is not None:
            progress(int(chunk.rows[-1]) + 1)
    return assemble(crystals, chunks, predictor)


def assemble(crystals: CrystalSet, chunks: list[Chunk], predictor: Predictor) -> Predictions:
    """Join chunks that cover every row, in order, to the table of predictions."""
    tensors = np.concatenate([np.zeros((0, len(TENSORS), 3, 3)), *(chunk.tensors for chunk in chunks)])
    errors = [error for chunk in chunks for error in chunk.errors]
    sure = np.concatenate([np.zeros((0, 3, 5)), *(chunk.deviations for chunk in chunks)])
    return Predictions(
        ids=crystals.ids,
        hashes=crystals.hashes,
        **{name: tensors[:, place] for place, name in enumerate(TENSORS)},
        flags=np.concatenate([np.zeros(0, np.uint32), *(chunk.flags for chunk in chunks)]).astype(np.uint32),
        errors=np.array(errors, dtype=np.str_).reshape(-1),
        model_hash=predictor.model.hash,
        settings=predictor.settings(),
        average_std=sure[:, :, 0],
        anisotropy_std=sure[:, :, 1],
        eigenvalues_std=sure[:, :, 2:],
    )
