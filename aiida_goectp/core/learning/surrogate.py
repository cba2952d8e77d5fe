"""The networks of this package as the model of a backtest, trained as a campaign retrains them."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.splits import PARTS
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.training_log import finite
from aiida_goectp.core.learning.calibrate import calibrate_committee
from aiida_goectp.core.learning.committee_settings import committee_settings
from aiida_goectp.core.learning.predict import Predictor, assemble
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.train import train_committee
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model, save_model
from aiida_goectp.core.network.model import GoeCTP
from aiida_goectp.core.network.preparation import analysis_cache
from aiida_goectp.core.selection.backtest.loop import FittedModel
from aiida_goectp.core.selection.folds import fold_name

__all__ = ('NetworkSurrogate',)

_REMEMBERED = 16
"""loaded models: the one in use, the new one and its members"""


@dataclass
class NetworkSurrogate:
    """Committees of networks; fits :class:`aiida_goectp.core.selection.backtest.loop.Surrogate`.

    :param settings: of each training; their seed is that of the campaign if they give none
    :param device: as :func:`aiida_goectp.core.learning.device.choose_device` returns it
    :param threads: CPU threads of torch; as torch has it if None
    """

    settings: TrainSettings
    device: str = 'cpu'
    threads: int | None = None
    _loaded: dict[str, LoadedModel] = field(default_factory=dict, repr=False)
    _evaluations: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def fit(self, dealt: Dataset, split: str, folds: int, initial: bytes | None, seed: int) -> FittedModel:
        """Train member k on what is not in fold k, with the seed of the campaign + k, and calibrate the committee.

        :raises ValueError: a training diverged, or the initial model does not fit the settings
        """
        self._set_threads()
        begun = None if initial is None else self._load(initial)
        alone, together = self._settings(begun, folds, seed, set(dealt.functional.tolist()))
        parent = None if begun is None else begun.hash
        known = [] if begun is None else begun.card.elements
        with analysis_cache(self._evaluations):
            networks = [
                train_committee(
                    dealt.part(fold_name(split, member), 'train'),
                    _judged_by(dealt.part(fold_name(split, member), 'validation'), settings),
                    settings,
                    device=self.device,
                    initial=None if begun is None else _member(begun, member),
                )[0]
                for member, settings in enumerate(alone)
            ]
            parts = {part: dealt.part(split, part) for part in PARTS}
            model = self._finish(networks, parts, together, parent, known)
            learnt = {'train': parts['train']}
            members = tuple(
                self._finish([network], learnt, settings, parent, known)
                for network, settings in zip(networks, alone, strict=True)
            )
        return FittedModel(model, members)

    def predict(self, model: bytes, crystals: CrystalSet) -> Predictions:
        """Return the predictions of a committee or of a member."""
        self._set_threads()
        with analysis_cache(self._evaluations):
            predictor = Predictor(self._load(model), self.device)
            return assemble(crystals, list(predictor.run(crystals)), predictor)

    def _settings(
        self, begun: LoadedModel | None, folds: int, seed: int, found: set[str]
    ) -> tuple[list[TrainSettings], TrainSettings]:
        given = self.settings.model_dump(exclude_unset=True)
        alone, together = committee_settings(given, seed, folds, None if begun is None else begun.card, found)
        return [TrainSettings.model_validate(values) for values in alone], TrainSettings.model_validate(together)

    def _finish(
        self,
        networks: Sequence[GoeCTP],
        parts: dict[str, Dataset],
        settings: TrainSettings,
        parent: str | None,
        known: Sequence[int],
    ) -> bytes:
        functional = ', '.join(sorted(set(parts['train'].functional.tolist())))
        found, card = calibrate_committee(
            list(networks),
            parts,
            settings,
            device=self.device,
            name='backtest',
            data='labels of a backtest',
            functional=functional,
            parent=parent,
            known=known,
        )
        card.metrics = finite(card.metrics)
        with TemporaryDirectory() as folder:
            path = Path(folder) / 'model.safetensors'
            save_model(path, found, card)
            return path.read_bytes()

    def _load(self, content: bytes) -> LoadedModel:
        name = hashlib.sha256(content).hexdigest()
        if name not in self._loaded:
            while len(self._loaded) >= _REMEMBERED:
                self._loaded.pop(next(iter(self._loaded)))
            with TemporaryDirectory() as folder:
                path = Path(folder) / 'model.safetensors'
                path.write_bytes(content)
                self._loaded[name] = load_model(path)
        return self._loaded[name]

    def _set_threads(self) -> None:
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)


def _judged_by(held: Dataset, settings: TrainSettings) -> Dataset | None:
    """Return the rows that decide which weights are kept and when a training ends, None where nothing asks them."""
    return held if settings.keep == 'best' or settings.patience is not None else None


def _member(model: LoadedModel, place: int) -> LoadedModel:
    """Return one member of a committee; beyond the last it begins again with the first."""
    network = model.members[place % len(model.members)]
    return LoadedModel(model.card.of_member(place), nn.ModuleList([network]), model.hash)
