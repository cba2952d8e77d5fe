"""Training of one network on labelled crystals."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.functional import huber_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from aiida_goectp.dataset import Dataset
from aiida_goectp.learning.metrics import table
from aiida_goectp.network.batch import GraphBatch
from aiida_goectp.network.model import ARCHITECTURES, GoeCTP
from aiida_goectp.network.preparation import GraphArrays, prepare

__all__ = ('Epoch', 'TrainSettings', 'evaluate', 'train')

_TARGETS = ['electronic', 'ionic']


class TrainSettings(BaseModel):
    """What decides the outcome of a training, next to the data."""

    model_config = ConfigDict(extra='forbid')

    preset: str = 'goectp'
    options: dict[str, Any] = Field(default_factory=dict, description='options of the backbone, over the preset')
    epochs: int = Field(60, ge=1)
    batch_size: int = Field(64, ge=2, description='crystals in a step')
    learning_rate: float = Field(2e-3, gt=0, description='peak; a short rise, then linear decay to a hundredth')
    weight_decay: float = Field(1e-5, ge=0)
    huber_delta: float = Field(1.0, gt=0, description='in units of relative permittivity')
    average_decay: float = Field(0.995, ge=0, lt=1, description='of the running mean of weights that is kept, a step')
    seed: int = 0

    def architecture(self) -> dict[str, Any]:
        """Return the architecture of the preset with the options."""
        base = ARCHITECTURES[self.preset]
        return {**base, 'options': {**base['options'], **self.options}}


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history."""

    epoch: int
    loss: float
    seconds: float
    validation: dict[str, dict[str, float]]


@dataclass
class _State:
    network: GoeCTP
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    epoch: int = 0

    def parts(self) -> dict[str, Any]:
        return {
            'network': self.network, 'average': self.average,
            'optimizer': self.optimizer, 'scheduler': self.scheduler,
        }  # fmt: skip


def train(
    training: Dataset,
    validation: Dataset | None,
    settings: TrainSettings,
    *,
    device: str = 'cpu',
    state_file: Path | None = None,
    report: Callable[[Epoch], None] | None = None,
) -> GoeCTP:
    """Train a network from scratch, or go on where a killed training stopped.

    :param training: labels may be missing; a row without any teaches nothing
    :param validation: reported after each epoch, never learnt from
    :param state_file: written after each epoch and read at the start
    :param report: called after each epoch
    :return: the network with the running mean of its weights, in evaluation mode on the CPU
    :raises ValueError: the state file belongs to other data or settings
    """
    graphs, labels = _prepared(training, settings.preset)
    held = _prepared(validation, settings.preset) if validation is not None and len(validation) else None
    torch.manual_seed(settings.seed)
    state = _start(settings, len(training), device)
    identity = _identity(settings, training)
    if state_file is not None and state_file.exists():
        _restore(state, state_file, identity)
    while state.epoch < settings.epochs:
        begun = time.perf_counter()
        loss = _one_epoch(state, graphs, labels, settings, device)
        state.epoch += 1
        figures = _validate(state.average.module, *held, device=device) if held else {}
        if state_file is not None:
            _store(state, state_file, identity)
        if report is not None:
            report(Epoch(state.epoch, loss, time.perf_counter() - begun, figures))
    trained: Any = state.average.module
    return trained.cpu().eval()


def _identity(settings: TrainSettings, training: Dataset) -> dict[str, str]:
    """Return what a state file must agree on before it is continued."""
    labels = np.stack([training.electronic, training.ionic])
    return {
        'identity': json.dumps([settings.model_dump(), len(training), training.crystals.hashes.tolist()]),
        'labels': hashlib.sha256(np.where(np.isnan(labels), np.nan, labels).tobytes()).hexdigest(),
    }


def _prepared(data: Dataset, preset: str) -> tuple[GraphArrays, torch.Tensor]:
    labels = np.stack([data.electronic, data.ionic], axis=1)
    return prepare(data.crystals, preset), torch.from_numpy(labels).float()


def _start(settings: TrainSettings, rows: int, device: str) -> _State:
    network = GoeCTP(settings.architecture(), _TARGETS).to(device)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.average_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * len(_bounds(rows, settings.batch_size))
    rise = max(1, min(steps // 20, 200))

    def factor(step: int) -> float:
        return (step + 1) / rise if step < rise else 0.01 + 0.99 * (1 - (step - rise) / max(steps - rise, 1))

    return _State(network, average, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor))


def _bounds(rows: int, size: int) -> list[tuple[int, int]]:
    """Return batches; a last one of a single crystal joins the one before, since batch norm needs two."""
    starts = [start for start in range(0, rows, size) if rows - start > 1 or start == 0]
    return [(start, rows if start == starts[-1] else start + size) for start in starts]


def _batches(rows: int, settings: TrainSettings, epoch: int) -> Iterator[np.ndarray]:
    order = np.random.default_rng([settings.seed, epoch]).permutation(rows)
    return (order[start:stop] for start, stop in _bounds(rows, settings.batch_size))


def _one_epoch(state: _State, graphs: GraphArrays, labels: torch.Tensor, settings: TrainSettings, device: str) -> float:
    state.network.train()
    losses = []
    for rows in _batches(len(graphs), settings, state.epoch):
        batch = GraphBatch.from_arrays(graphs.take(rows)).to(device)
        wanted = labels[torch.from_numpy(rows)].to(device)
        known = torch.isfinite(wanted)
        predicted = state.network(batch)
        difference = torch.where(known, predicted - torch.nan_to_num(wanted), 0.0)
        zeros = torch.zeros_like(difference)
        loss = huber_loss(difference, zeros, reduction='sum', delta=settings.huber_delta) / known.sum().clamp(min=1)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
        state.optimizer.step()
        state.scheduler.step()
        state.average.update_parameters(state.network)
        losses.append(loss.detach())
    mean = float(torch.stack(losses).mean())
    if not np.isfinite(mean):
        raise ValueError(f'the loss became {mean} in epoch {state.epoch + 1}; lower the learning rate')
    return mean


@torch.no_grad()
def _validate(network: Any, graphs: GraphArrays, labels: torch.Tensor, device: str) -> dict[str, dict[str, float]]:
    network.eval()
    rows = np.arange(len(graphs))
    parts = [
        network(GraphBatch.from_arrays(graphs.take(part)).to(device)).cpu()
        for part in np.array_split(rows, max(1, len(rows) // 64))
    ]
    found, known = torch.cat(parts).double().numpy(), labels.double().numpy()
    return table(
        {name: found[:, t] for t, name in enumerate(_TARGETS)}, {name: known[:, t] for t, name in enumerate(_TARGETS)}
    )


def evaluate(network: GoeCTP, data: Dataset, preset: str, device: str = 'cpu') -> dict[str, dict[str, float]]:
    """Return the metrics of a network on labelled crystals, by target."""
    return _validate(network.to(device), *_prepared(data, preset), device=device)


def _store(state: _State, path: Path, identity: dict[str, str]) -> None:
    content: dict[str, Any] = {name: part.state_dict() for name, part in state.parts().items()}
    content.update(identity, epoch=state.epoch, random=torch.get_rng_state())
    temporary = path.with_name(path.name + '.writing')
    torch.save(content, temporary)
    temporary.replace(path)


def _restore(state: _State, path: Path, identity: dict[str, str]) -> None:
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
        found = {key: content[key] for key in identity}
    except Exception as error:  # the reader of a damaged pickle may stumble over anything
        raise ValueError(
            f'{path}: not the state of a training, or cut off; remove it, or name another output'
        ) from error
    if found != identity:
        raise ValueError(f'{path} belongs to a training with other data or settings; remove it, or name another output')
    for name, part in state.parts().items():
        part.load_state_dict(content[name])
    state.epoch = content['epoch']
    torch.set_rng_state(content['random'])
