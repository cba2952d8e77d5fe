"""State of a training from epoch to epoch, and the file from which a killed training is resumed."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.storage import replacing
from aiida_goectp.core.learning import parallel
from aiida_goectp.core.learning.errors import TrainingInputError
from aiida_goectp.core.learning.lattice.optimizer import Muon
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.network.checkpoint import LoadedModel
from aiida_goectp.core.network.model import Network, architecture_of, build_network

__all__ = ('TARGETS', 'TrainingState', 'batch_bounds', 'identity_of', 'rate_factor')

TARGETS = ('electronic', 'ionic')

_VERSION = 1
"""of the state; to be raised with each change after which a resumed training would differ from an uninterrupted one"""


def identity_of(
    settings: TrainSettings, training: Dataset, validation: Dataset | None, initial: LoadedModel | None
) -> dict[str, str]:
    """Return what a state file must have in common with a training to be resumed.

    :param validation: counts if the best weights are kept, which these rows decide
    """
    labels = np.stack([training.electronic, training.ionic])
    if training.force_constants is not None:
        labels = np.concatenate([labels.ravel(), training.force_constants.ravel(), training.born_charges.ravel()])
    parts = [settings.identity(), training.crystals.hashes.tolist(), initial.hash if initial else '']
    rows = [training, *([validation] if validation is not None and settings.keep == 'best' else [])]
    return {
        'identity': hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(),
        'labels': hashlib.sha256(np.where(np.isnan(labels), np.nan, labels).tobytes()).hexdigest(),
        'use': hashlib.sha256(''.join(map(_use_hash, rows)).encode()).hexdigest(),
    }


def _use_hash(data: Dataset) -> str:
    """Return a hash of the columns by which a training uses the labels."""
    found = hashlib.sha256()
    for texts in (data.crystals.hashes, data.functional, data.failed_gates):
        found.update(json.dumps(texts.tolist()).encode())
    for column in (data.electronic, data.ionic, data.born_charges):
        found.update(np.where(np.isnan(column), np.nan, column).tobytes())
    return found.hexdigest()


class TrainingState:
    """The member in training, its optimizer, the moving average of its weights, and the weights of finished members."""

    network: Network
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    forward: Callable[..., torch.Tensor]

    def __init__(
        self,
        settings: TrainSettings,
        identity: dict[str, str],
        rows: int,
        device: str,
        initial: LoadedModel | None = None,
    ) -> None:
        self.initial = initial
        self.settings, self.identity, self.rows, self.device = settings, identity, rows, device
        self.member = 0
        self.finished: list[dict[str, torch.Tensor]] = []

    def begin_member(self, member: int) -> None:
        """Initialise network, optimizer and schedule of a member."""
        settings, initial = self.settings, self.initial
        torch.manual_seed(settings.seed + member)
        network = self._new_network(member)
        if initial is not None:
            network.load_state_dict(initial.networks[member % len(initial.networks)].state_dict())
        self.network = network.to(self.device)
        averaging = get_ema_multi_avg_fn(settings.ema_decay)
        self.average = AveragedModel(self.network, multi_avg_fn=averaging, use_buffers=True)
        self.optimizer = _optimizer(settings, self.network)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate_factor(settings, self.rows))
        self.forward = parallel.wrap(self.network, self.device)
        if settings.compile:
            self.forward = torch.compile(self.forward, dynamic=True)
        self.member, self.epoch = member, 0
        self.best_score, self.best_epoch = math.inf, 0
        self.best: dict[str, torch.Tensor] = {}

    def _new_network(self, member: int) -> Network:
        settings = self.settings
        if self.initial is not None:
            return build_network(self.initial.card.architecture_of(member), list(TARGETS))
        try:
            return build_network(
                architecture_of(settings.preset, settings.options, settings.functionals), list(TARGETS)
            )
        except ValueError as error:
            raise TrainingInputError(f'options: {error}') from error

    @torch.no_grad()
    def repair_buffers(self) -> None:
        """Replace buffers that are not finite by their moving averages.

        Batch normalisation counts the statistics of a batch that overflowed, whether a step follows or not.
        """
        for own, average in zip(self.network.buffers(), self.average.module.buffers(), strict=True):
            if not torch.isfinite(own).all():
                own.copy_(average)

    def note_score(self, score: float | None) -> bool:
        """Keep the weights if their validation score is the best so far, and return whether it is."""
        if score is None or not score < self.best_score:
            return False
        self.best_score, self.best_epoch = score, self.epoch
        if self.settings.keep == 'best':
            self.best = {name: tensor.clone() for name, tensor in self.average.module.state_dict().items()}
        return True

    def close_member(self) -> None:
        """Store the weights of the member, and count on to the next."""
        weights = self.best or self.average.module.state_dict()
        self.finished.append({name: tensor.detach().cpu().clone() for name, tensor in weights.items()})
        self.member += 1

    def networks(self) -> list[Network]:
        """Return the finished members in evaluation mode on the CPU."""
        networks = []
        for member, weights in enumerate(self.finished):
            network = self._new_network(member)
            network.load_state_dict(weights)
            networks.append(network.eval())
        return networks

    def _stateful(self) -> dict[str, Any]:
        return {
            'network': self.network, 'average': self.average,
            'optimizer': self.optimizer, 'scheduler': self.scheduler,
        }  # fmt: skip

    def store(self, path: Path) -> None:
        """Write the state; the file is replaced atomically.

        :raises StorageError: it cannot be written
        """
        content: dict[str, Any] = {name: part.state_dict() for name, part in self._stateful().items()}
        content.update(
            self.identity,
            version=_VERSION,
            member=self.member,
            epoch=self.epoch,
            best_score=self.best_score,
            best_epoch=self.best_epoch,
            best=self.best,
            finished=self.finished,
            random=torch.get_rng_state(),
        )
        if self.device.startswith('cuda'):  # whose dropout has random numbers of its own
            content['random_gpu'] = torch.cuda.get_rng_state(self.device)
        buffer = io.BytesIO()  # torch.save reports a full disk without its reason
        torch.save(content, buffer)
        with replacing(path) as stream:
            stream.write(buffer.getbuffer())

    def restore(self, path: Path) -> None:
        """Resume from a state file.

        :raises TrainingInputError: damaged, of another version, or of a training with other data or settings
        """
        try:
            _check_archive(path)
            content = torch.load(path, map_location='cpu', weights_only=True)
            found = {key: content[key] for key in ('identity', 'labels')}
            found['use'] = content.get('use', self.identity['use'])  # the first ones do not state it, as the version
            version = content.get('version', 1)
        except Exception as error:  # reading a damaged pickle can raise anything
            raise TrainingInputError(
                f'{path}: not the state of a training, or cut off; remove it, or name another output'
            ) from error
        if version != _VERSION:
            raise TrainingInputError(
                f'{path}: unknown version {version} of the training state; supported: {_VERSION}; resume with the '
                'package version that wrote it, remove it, or name another output'
            )
        if found != self.identity:
            raise TrainingInputError(
                f'{path}: state of a training with other data or settings; remove it, or name another output'
            )
        try:
            self.begin_member(content['member'])  # whose architecture may differ from that of the first
            for name, part in self._stateful().items():
                part.load_state_dict(content[name])
            for name in ('member', 'epoch', 'best_score', 'best_epoch', 'best', 'finished'):
                setattr(self, name, content[name])
            torch.set_rng_state(content['random'])
            if self.device.startswith('cuda') and 'random_gpu' in content:  # another device may have written the state
                torch.cuda.set_rng_state(content['random_gpu'], self.device)
        except Exception as error:  # as above
            raise TrainingInputError(f'{path}: incomplete state; remove it, or name another output') from error


def _check_archive(path: Path) -> None:
    """Check that a file is an archive without compression, whose checksums are right; torch does not check them.

    :raises ValueError: it is not
    """
    with zipfile.ZipFile(path) as archive:
        if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
            raise ValueError('compressed')
        if damaged := archive.testzip():
            raise ValueError(f'checksum of {damaged}')


def _optimizer(settings: TrainSettings, network: Network) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == 'muon':
        return Muon(network, rate, decay)
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)


def rate_factor(settings: TrainSettings, rows: int) -> Callable[[int], float]:
    """Return the learning rate as a function of the step, divided by the peak.

    :param rows: number of training rows
    """
    steps = settings.epochs * len(batch_bounds(rows, settings.batch_size))
    rise = min(steps // 20, settings.warmup_steps)
    floor = settings.final_learning_rate_ratio

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        left = max(0.0, 1 - (step - rise) / max(steps - rise, 1))
        shape = {'linear': left, 'cosine': (1 - math.cos(math.pi * left)) / 2, 'constant': 1.0}[settings.schedule]
        return floor + (1 - floor) * shape

    return factor


def batch_bounds(rows: int, size: int) -> list[tuple[int, int]]:
    """Return first and last + 1 row of each batch.

    A last batch of a single row is joined to the one before, since batch normalisation needs two.
    """
    starts = [start for start in range(0, rows, size) if rows - start > 1 or start == 0]
    return [(start, rows if start == starts[-1] else start + size) for start in starts]
