"""Training of a network, or of a committee, on labelled crystals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aiida_goectp.core.datasets.augment import with_layer_copies
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.metrics import table
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.functionals import trained_as
from aiida_goectp.core.learning import parallel, testing_hooks
from aiida_goectp.core.learning.errors import TrainingDiverged, TrainingInputError, TrainingInterrupted
from aiida_goectp.core.learning.lattice.labels import LatticeLabels
from aiida_goectp.core.learning.lattice.loss import lattice_loss, permittivity_weight
from aiida_goectp.core.learning.loss import tensor_loss
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.state import TARGETS, TrainingState, batch_bounds, identity_of
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel
from aiida_goectp.core.network.descriptors import precompute_descriptors
from aiida_goectp.core.network.force_constants.network import ForceConstantNetwork
from aiida_goectp.core.network.force_constants.response import LatticeResponse
from aiida_goectp.core.network.model import Network
from aiida_goectp.core.network.preparation import GraphArrays, prepare

__all__ = ('Epoch', 'LabelledGraphs', 'evaluate', 'train_committee')

_EVALUATION_BATCH = 64
"""largest number of crystals that are evaluated at once"""
_EVALUATED = 4
"""crystals that are evaluated in the memory of one in a training step, at least"""
_CHUNK = 12
"""batches of the force constant network among which crystals are sorted by size"""
_MOST_SKIPPED = 0.02
"""share of the batches of an epoch whose gradients may not be finite"""


@dataclass(frozen=True)
class Epoch:
    """One line of the history of a training."""

    member: int
    members: int
    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    seconds: float
    validation: dict[str, dict[str, float]]
    """target → metric → value"""
    best: bool
    """whether the validation score is the best so far"""
    skipped: int = 0
    """batches without a step, since their gradient was not finite"""


@dataclass(frozen=True)
class LabelledGraphs:
    """Graphs and labels of n crystals."""

    graphs: GraphArrays
    labels: torch.Tensor
    """(n, targets, 3, 3), NaN where missing"""
    functional: torch.Tensor
    """(n,) index of the functional of each label among those of the settings"""
    lattice: LatticeLabels | None = None
    """force constants and Born charges, for the force constant network"""
    evaluation_batch: int = _EVALUATION_BATCH
    """crystals that are evaluated at once; fewer if a training step has few, since memory is short then"""

    def __len__(self) -> int:
        return len(self.graphs)

    @classmethod
    def from_dataset(cls, data: Dataset, settings: TrainSettings) -> LabelledGraphs:
        """Return the graphs of labelled crystals.

        :raises TrainingInputError: labels of several functionals, or of one that the settings do not name
        """
        labels = np.stack([data.electronic, data.ionic], axis=1)
        functional = _functional_indices(data.functional.tolist(), settings.functionals)
        graphs = prepare(data.crystals, settings.preset)
        lattice = None if graphs.cells is None else LatticeLabels.from_dataset(data, graphs.cells)
        together = min(_EVALUATION_BATCH, _EVALUATED * settings.batch_size)
        return cls(graphs, torch.from_numpy(labels).float(), torch.from_numpy(functional), lattice, together)

    def with_descriptors(self, networks: torch.nn.Module) -> LabelledGraphs:
        """Return graphs with their descriptors, if one of the networks uses them: most of its computation."""
        descriptors = precompute_descriptors(networks, self.graphs)
        return self if descriptors is None else replace(self, graphs=replace(self.graphs, descriptors=descriptors))

    def batch(self, rows: np.ndarray, device: str) -> tuple[GraphBatch, torch.Tensor]:
        """Return graphs and functionals of some rows on a device."""
        graphs = GraphBatch.from_arrays(self.graphs.take(rows)).to(device)
        return graphs, self.functional[torch.from_numpy(rows)].to(device)

    def batches(self, device: str) -> Iterator[tuple[GraphBatch, torch.Tensor]]:
        """Yield graphs and functionals of all rows on a device, for evaluation."""
        for rows in np.array_split(np.arange(len(self)), max(1, math.ceil(len(self) / self.evaluation_batch))):
            yield self.batch(rows, device)


def _functional_indices(found: list[str], functionals: list[str]) -> np.ndarray:
    """Return the index of the functional of each label among those of the settings."""
    known = functionals or sorted(set(found))
    if len(known) > 1 and not functionals:
        raise TrainingInputError(
            f'functionals: the labels have several ({", ".join(known)}); name them in the setting functionals, the one '
            'to predict first, or train on one of them'
        )
    try:
        names = trained_as(found, known)
    except FormatError as error:
        raise TrainingInputError(str(error)) from error
    if unknown := sorted(set(found) - set(names)):
        raise TrainingInputError(f'functionals: {", ".join(known)}; the labels also have {", ".join(unknown)}')
    return np.array([known.index(names[name]) for name in found], dtype=np.int64)


def train_committee(
    training: Dataset,
    validation: Dataset | None,
    settings: TrainSettings,
    *,
    device: str = 'cpu',
    initial: LoadedModel | None = None,
    state_file: Path | None = None,
    report: Callable[[Epoch], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[Network]:
    """Train the members of a committee one after the other, or resume a training.

    :param training: labels may be missing; rows without any are ignored
    :param validation: evaluated after each epoch
    :param initial: a model of the same architecture to fine-tune; member k starts from its member k, which may differ
        from the others. The settings may name its functionals in another order
    :param state_file: written after each epoch and read at the start
    :param report: called after each epoch, before the state is written
    :param stop: called after each epoch, after the state is written; True interrupts the training, unless it is the
        last epoch of a member
    :return: networks in evaluation mode on the CPU, with the moving average of their weights
    :raises TrainingInputError: the state file or the initial model does not fit the data or the settings
    :raises TrainingInterrupted: ``stop`` returned True before the end
    :raises TrainingDiverged: the loss is not finite
    """
    if initial is not None:
        initial = initial.with_functionals(settings.functionals)
        _check_initial(initial, settings)
    usable = training.trainable if settings.preset == 'force_constants' else training.trainable & training.has_tensor
    training = training.take(np.flatnonzero(usable))
    augmented = with_layer_copies(training, settings.layer_augmentation_copies, settings.seed)
    rows = LabelledGraphs.from_dataset(augmented, settings)
    state = TrainingState(settings, identity_of(settings, training, validation, initial), len(rows), device, initial)
    state.begin_member(0)
    networks = state.network if initial is None else initial.networks
    rows = rows.with_descriptors(networks)
    validated = None
    if validation is not None and len(validation):
        validated = LabelledGraphs.from_dataset(validation, settings).with_descriptors(networks)
    if state_file is not None and state_file.exists():
        state.restore(state_file)
    while state.member < settings.members:
        while not _is_finished(state, settings):
            line = _run_epoch(state, rows, validated, settings, device)
            if report is not None and parallel.is_first():
                report(line)  # before the state: a run that ends in between repeats the epoch, and no line is lost
            if state_file is not None and parallel.is_first():
                state.store(state_file)
            stopped = stop is not None and stop()
            if stop is not None and not _is_finished(state, settings) and parallel.any_rank(stopped):
                raise TrainingInterrupted(f'stopped after epoch {state.epoch} of {settings.epochs}')
        state.close_member()
        if state.member < settings.members:
            state.begin_member(state.member)
            if state_file is not None and parallel.is_first():
                state.store(state_file)
    return state.networks()


def _check_initial(initial: LoadedModel, settings: TrainSettings) -> None:
    different = initial.card.differing_options(settings.options)
    if settings.preset != initial.card.preset:
        different.append('preset')
    if initial.card.functionals_differ(settings.functionals):
        different.append('functionals')
    if initial.card.targets != list(TARGETS):
        different.append('targets')
    if different:
        raise TrainingInputError(
            f'initial model {initial.card.name!r}: its {", ".join(different)} differ from the settings; leave out '
            'preset, options and functionals to take those of the model, or train from scratch'
        )


def _is_finished(state: TrainingState, settings: TrainSettings) -> bool:
    """Return whether the member in training is finished."""
    plateau = settings.patience is not None and state.epoch - state.best_epoch >= settings.patience
    return state.epoch >= settings.epochs or (plateau and state.best_epoch > 0)


def _run_epoch(
    state: TrainingState, rows: LabelledGraphs, validated: LabelledGraphs | None, settings: TrainSettings, device: str
) -> Epoch:
    """Train one epoch and evaluate the moving average of the weights."""
    begun = time.perf_counter()
    loss, skipped = _train_epoch(state, rows, settings, device)
    state.epoch += 1
    validation = _metrics(state.average.module, validated, device) if validated is not None else {}
    score = _score(validation)
    best = state.note_score(None if score is None else parallel.of_first(score))
    rate = state.optimizer.param_groups[0]['lr']
    seconds = time.perf_counter() - begun
    place = (state.member, settings.members, state.epoch, settings.epochs)
    return Epoch(*place, loss, rate, seconds, validation, best, skipped)


def _score(metrics: dict[str, dict[str, float]]) -> float | None:
    """Return the geometric mean of the errors of both targets, so that the larger ionic errors do not dominate."""
    errors = [metrics[name]['mae'] for name in TARGETS if 'mae' in metrics.get(name, {})]
    return math.exp(sum(math.log(max(error, 1e-12)) for error in errors) / len(errors)) if errors else None


def _train_epoch(state: TrainingState, rows: LabelledGraphs, settings: TrainSettings, device: str) -> tuple[float, int]:
    """Return the mean loss of an epoch, and the number of batches whose gradient was not finite.

    A batch can overflow while the learning rate is high; the network stays as it was then.

    :raises TrainingDiverged: more than a few batches overflow
    """
    state.network.train()
    losses, skipped = [], 0
    batches = _epoch_batches(state, rows, settings)
    for members in batches:
        chosen = parallel.local_rows(members)
        testing_hooks.before_batch(len(chosen))
        batch, functional = rows.batch(chosen, device)
        with _precision(settings, device):
            output = state.forward(batch, functional=functional)
        loss = _loss(output, state, batch, rows, chosen, settings)
        loss = testing_hooks.training_loss(loss, state.epoch + 1)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = math.inf if settings.gradient_clip_norm is None else settings.gradient_clip_norm
        # the same on all GPUs, which have the mean gradient
        norm = float(torch.nn.utils.clip_grad_norm_(state.network.parameters(), limit))
        if math.isfinite(norm):
            state.optimizer.step()
            state.average.update_parameters(state.network)
            losses.append(loss.detach())
        else:
            skipped += 1
            state.repair_buffers()
        state.scheduler.step()
        if skipped > max(1, _MOST_SKIPPED * len(batches)) or skipped == len(batches):
            raise TrainingDiverged(
                f'the gradients of {skipped} batches are not finite in epoch {state.epoch + 1}; reduce the learning '
                'rate, or set gradient_clip_norm'
            )
    mean = parallel.mean(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise TrainingDiverged(f'the loss is {mean} in epoch {state.epoch + 1}; reduce the learning rate')
    return mean, skipped


def _epoch_batches(state: TrainingState, rows: LabelledGraphs, settings: TrainSettings) -> list[np.ndarray]:
    """Return the rows of each batch of an epoch, drawn at random.

    For the force constant network, the crystals of a batch have similar numbers of atoms, so that their matrices can be
    evaluated together: rows are sorted within chunks of several batches.
    """
    random = np.random.default_rng([settings.seed + state.member, state.epoch])
    order, size = random.permutation(len(rows)), settings.batch_size
    if rows.graphs.cells is None:
        return [order[start:stop] for start, stop in batch_bounds(len(rows), size)]
    counts = rows.graphs.cells.atom_counts
    chunks = [order[start : start + _CHUNK * size] for start in range(0, len(rows), _CHUNK * size)]
    order = np.concatenate([chunk[np.argsort(counts[chunk], kind='stable')] for chunk in chunks])
    batches = [order[start:stop] for start, stop in batch_bounds(len(rows), size)]
    return [batches[place] for place in random.permutation(len(batches))]


def _loss(
    output: torch.Tensor | LatticeResponse,
    state: TrainingState,
    batch: GraphBatch,
    rows: LabelledGraphs,
    chosen: np.ndarray,
    settings: TrainSettings,
) -> torch.Tensor:
    """Return the loss of a batch.

    :param chosen: its rows
    """
    labels = rows.labels[torch.from_numpy(chosen)].to(state.device)
    if isinstance(output, torch.Tensor):
        return tensor_loss(output.float(), labels, settings)
    assert isinstance(state.network, ForceConstantNetwork)
    assert rows.lattice is not None
    assert batch.cells is not None
    weight = 1.0
    if state.initial is None:
        weight = permittivity_weight(state.epoch / settings.epochs, settings.ionic_loss_start)
    known = rows.lattice.batch(chosen, state.device)
    return lattice_loss(output, batch.cells, known, labels, weight, batch.vacuum)


def _precision(settings: TrainSettings, device: str) -> Any:
    if settings.precision == 'float32':
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


@torch.no_grad()
def _metrics(network: Any, rows: LabelledGraphs, device: str) -> dict[str, dict[str, float]]:
    """Return the metrics of a network by target."""
    network.eval()
    outputs = [network(batch, functional=functional).float().cpu() for batch, functional in rows.batches(device)]
    predicted, labels = torch.cat(outputs).double().numpy(), rows.labels.double().numpy()
    return table(
        {name: predicted[:, place] for place, name in enumerate(TARGETS)},
        {name: labels[:, place] for place, name in enumerate(TARGETS)},
    )


def evaluate(
    network: Network, data: Dataset, settings: TrainSettings, device: str = 'cpu'
) -> dict[str, dict[str, float]]:
    """Return the metrics of a network on labelled crystals, by target."""
    return _metrics(network.to(device), LabelledGraphs.from_dataset(data, settings), device)
