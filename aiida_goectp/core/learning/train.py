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

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.metrics import table
from aiida_goectp.core.learning import parallel
from aiida_goectp.core.learning.augment import with_layer_copies
from aiida_goectp.core.learning.device import NoDeviceError, fault
from aiida_goectp.core.learning.loss import tensor_loss
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.state import TARGETS, TrainingState, bounds, identity_of
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel
from aiida_goectp.core.network.descriptors import precompute_descriptors
from aiida_goectp.core.network.model import GoeCTP
from aiida_goectp.core.network.preparation import GraphArrays, prepare

__all__ = ('TrainingDiverged', 'Epoch', 'TrainingInterrupted', 'evaluate', 'train_committee')


class TrainingInterrupted(Exception):
    """The training was asked to stop; its state file holds everything that is needed to go on."""


class TrainingDiverged(ValueError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history."""

    member: int
    members: int
    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    seconds: float
    validation: dict[str, dict[str, float]]
    best: bool
    """whether no epoch before did better on the validation rows"""


@dataclass(frozen=True)
class _Rows:
    graphs: GraphArrays
    labels: torch.Tensor
    """(n, targets, 3, 3), NaN where missing"""
    functional: torch.Tensor
    """(n,) place in the settings' functionals"""

    def __len__(self) -> int:
        return len(self.graphs)


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
) -> list[GoeCTP]:
    """Train the members of a committee one after the other, or go on where a killed training stopped.

    :param training: labels may be missing; a row without any teaches nothing
    :param validation: judged after each epoch, never learnt from
    :param initial: a model of the same architecture to go on from (fine-tuning); member k begins as its member k, which
        may differ from the others. The settings may name its functionals in another order
    :param state_file: written after each epoch and read at the start
    :param report: called after each epoch
    :param stop: asked after each epoch
    :return: networks in evaluation mode on the CPU, with the running mean of their weights
    :raises ValueError: the state file or the initial model does not fit the data or the settings
    :raises Interrupted: ``stop`` said so before the end
    :raises Diverged: the loss became infinite or no number
    """
    if initial is not None:
        initial = initial.with_functionals(settings.functionals)
        _check_initial(initial, settings)
    training = training.take(np.flatnonzero(training.trainable))
    rows = _rows(with_layer_copies(training, settings.stretches, settings.seed), settings)
    held = _rows(validation, settings) if validation is not None and len(validation) else None
    state = TrainingState(settings, identity_of(settings, training, initial), len(rows), device, initial)
    state.begin_member(0)
    asking = state.network if initial is None else initial.networks
    rows = _described(rows, asking)
    held = None if held is None else _described(held, asking)
    if state_file is not None and state_file.exists():
        state.restore(state_file)
    while state.member < settings.members:
        while not _finished(state, settings):
            line = _advance(state, rows, held, settings, device)
            if state_file is not None and parallel.is_first():
                state.store(state_file)
            if report is not None and parallel.is_first():
                report(line)
            if stop is not None and not _finished(state, settings) and parallel.any_rank(stop()):
                raise TrainingInterrupted(f'stopped after epoch {state.epoch} of {settings.epochs}')
        state.close_member()
        if state.member < settings.members:
            state.begin_member(state.member)
            if state_file is not None and parallel.is_first():
                state.store(state_file)
    return state.networks()


def _rows(data: Dataset, settings: TrainSettings) -> _Rows:
    labels = np.stack([data.electronic, data.ionic], axis=1)
    places = functional_places(data, settings.functionals)
    graphs = prepare(data.crystals, settings.preset)
    return _Rows(graphs, torch.from_numpy(labels).float(), torch.from_numpy(places))


def _described(rows: _Rows, networks: torch.nn.Module) -> _Rows:
    """Return rows whose fixed numbers are known, if a network reads them: most of what a small one computes."""
    descriptors = precompute_descriptors(networks, rows.graphs)
    return rows if descriptors is None else replace(rows, graphs=replace(rows.graphs, descriptors=descriptors))


def functional_places(data: Dataset, functionals: list[str]) -> np.ndarray:
    """Return the place of each row's functional among those that the network is told.

    :raises ValueError: labels of several functionals, or of one that the settings do not name
    """
    found = sorted(set(data.functional.tolist()))
    known = functionals or found
    if len(known) > 1 and not functionals:
        raise ValueError(
            f'labels of several functionals ({", ".join(found)}) must not be mixed unknowingly; name them in the '
            'setting functionals, the one to predict first, or train on one of them'
        )
    if unknown := set(found) - set(known):
        raise ValueError(f'labels of {", ".join(sorted(unknown))} are none of the functionals {", ".join(known)}')
    return np.array([known.index(name) for name in data.functional.tolist()], dtype=np.int64)


def _check_initial(initial: LoadedModel, settings: TrainSettings) -> None:
    other = initial.card.other_options(settings.options)
    if settings.preset != initial.card.preset:
        other.append('preset')
    if initial.card.other_functionals(settings.functionals):
        other.append('functionals')
    if other or initial.card.targets != list(TARGETS):
        differs = f' ({", ".join(other)})' if other else ''
        raise ValueError(
            f'the initial model {initial.card.name!r} has another architecture or other targets than the settings ask '
            f'for{differs}; leave preset, options and functionals out to take those of the model, or train from scratch'
        )


def _finished(state: TrainingState, settings: TrainSettings) -> bool:
    tired = settings.patience is not None and state.epoch - state.best_epoch >= settings.patience
    return state.epoch >= settings.epochs or (tired and state.best_epoch > 0)


def _advance(state: TrainingState, rows: _Rows, held: _Rows | None, settings: TrainSettings, device: str) -> Epoch:
    """Train one epoch and judge it."""
    begun = time.perf_counter()
    loss = _one_epoch(state, rows, settings, device)
    state.epoch += 1
    figures = _judge(state.average.module, held, device) if held is not None else {}
    best = state.note_score(_score(figures))
    rate = state.optimizer.param_groups[0]['lr']
    seconds = time.perf_counter() - begun
    return Epoch(
        state.member, settings.members, state.epoch, settings.epochs, loss, rate, seconds, figures, best
    )  # fmt: skip


def _score(figures: dict[str, dict[str, float]]) -> float | None:
    """Return the geometric mean of the errors of the parts, so that the larger ionic part does not decide alone."""
    errors = [figures[name]['mae'] for name in TARGETS if 'mae' in figures.get(name, {})]
    return math.exp(sum(math.log(max(error, 1e-12)) for error in errors) / len(errors)) if errors else None


def _batches(rows: int, state: TrainingState, settings: TrainSettings) -> Iterator[np.ndarray]:
    seed = [settings.seed + state.member, state.epoch]
    order = np.random.default_rng(seed).permutation(rows)
    return (parallel.local_rows(order[start:stop]) for start, stop in bounds(rows, settings.batch_size))


def _one_epoch(state: TrainingState, rows: _Rows, settings: TrainSettings, device: str) -> float:
    state.network.train()
    losses = []
    for chosen in _batches(len(rows), state, settings):
        batch = GraphBatch.from_arrays(rows.graphs.take(chosen)).to(device)
        wanted = rows.labels[torch.from_numpy(chosen)].to(device)
        _raise_faults(len(chosen))
        told = rows.functional[torch.from_numpy(chosen)].to(device)
        with _precision(settings, device):
            predicted = state.forward(batch, functional=told)
        loss = tensor_loss(predicted.float(), wanted, settings)
        if fault('nan_at_epoch') == str(state.epoch + 1):
            loss = loss * math.nan
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.largest_gradient is not None:
            torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.largest_gradient)
        state.optimizer.step()
        state.scheduler.step()
        state.average.update_parameters(state.network)
        losses.append(loss.detach())
    mean = parallel.mean(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise TrainingDiverged(f'the loss became {mean} in epoch {state.epoch + 1}; lower the learning rate')
    return mean


def _raise_faults(crystals: int) -> None:
    limit = fault('oom_above')
    if limit and crystals > int(limit):
        raise MemoryError('a fault was asked for')
    if fault('gpu_lost') is not None:
        raise NoDeviceError('the GPU failed: a fault was asked for')


def _precision(settings: TrainSettings, device: str) -> Any:
    if settings.precision == 'float32':
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


@torch.no_grad()
def predict_rows(network: Any, rows: _Rows, device: str) -> np.ndarray:
    """Return the (n, targets, 3, 3) outputs of a network, 64 crystals at a time."""
    network.eval()
    parts = []
    for part in np.array_split(np.arange(len(rows)), max(1, math.ceil(len(rows) / 64))):
        batch = GraphBatch.from_arrays(rows.graphs.take(part)).to(device)
        parts.append(network(batch, functional=rows.functional[torch.from_numpy(part)].to(device)).float().cpu())
    return torch.cat(parts).double().numpy()


def _judge(network: Any, rows: _Rows, device: str) -> dict[str, dict[str, float]]:
    found, known = predict_rows(network, rows, device), rows.labels.double().numpy()
    return table(
        {name: found[:, t] for t, name in enumerate(TARGETS)}, {name: known[:, t] for t, name in enumerate(TARGETS)}
    )


def evaluate(
    network: GoeCTP, data: Dataset, settings: TrainSettings, device: str = 'cpu'
) -> dict[str, dict[str, float]]:
    """Return the metrics of a network on labelled crystals, by target."""
    return _judge(network.to(device), _rows(data, settings), device)
