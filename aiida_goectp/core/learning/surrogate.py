"""Networks as the model of a backtest, trained as a campaign retrains them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.splits import SPLIT_PARTS
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.training_log import json_safe
from aiida_goectp.core.learning.calibrate import calibrate_committee, trained_on
from aiida_goectp.core.learning.committee import split_members
from aiida_goectp.core.learning.committee_settings import committee_settings
from aiida_goectp.core.learning.model_cache import cached_model
from aiida_goectp.core.learning.predict import predict_crystals
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.train import train_committee
from aiida_goectp.core.network.checkpoint import LoadedModel, save_model
from aiida_goectp.core.network.model import Network
from aiida_goectp.core.network.preparation import analysis_cache
from aiida_goectp.core.selection.backtest.loop import FittedModel
from aiida_goectp.core.selection.folds import fold_name

__all__ = ('NetworkSurrogate',)


@dataclass
class NetworkSurrogate:
    """Committees of networks; implements :class:`aiida_goectp.core.selection.backtest.loop.Surrogate`.

    :param settings: settings of each training; without a seed, that of the campaign is used
    :param device: as :func:`aiida_goectp.core.learning.device.choose_device` returns it
    :param threads: number of CPU threads; unchanged if None
    """

    settings: TrainSettings
    device: str = 'cpu'
    threads: int | None = None
    _analyses: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def fit(self, dataset: Dataset, split: str, folds: int, initial: bytes | None, seed: int) -> FittedModel:
        """Train member k without fold k, with the seed of the campaign + k, and calibrate the committee.

        :raises ValueError: a training diverged, or the initial model does not fit the settings
        """
        self._set_threads()
        parent = None if initial is None else cached_model(initial, 'cpu')
        each, common = self._settings(parent, folds, seed, set(dataset.functional.tolist()))
        with analysis_cache(self._analyses):
            networks = [
                train_committee(
                    dataset.part(fold_name(split, member), 'train'),
                    _validation_rows(dataset.part(fold_name(split, member), 'validation'), settings),
                    settings,
                    device=self.device,
                    initial=None if parent is None else _member(parent, member),
                )[0]
                for member, settings in enumerate(each)
            ]
            parts = {part: dataset.part(split, part) for part in SPLIT_PARTS}
            model = self._model_file(networks, parts, common, parent, inherited=parent)
            training = {'train': parts['train']}
            members = tuple(
                self._model_file([network], training, settings, parent)
                for network, settings in zip(networks, each, strict=True)
            )
        return FittedModel(model, members, cached_model(model, 'cpu').card.architecture.get('functionals', []))

    def predict(self, model: bytes, crystals: CrystalSet) -> Predictions:
        """Return the predictions of a committee or of a member."""
        self._set_threads()
        with analysis_cache(self._analyses):
            return predict_crystals(crystals, model, device=self.device)

    def members(self, model: bytes) -> list[bytes]:
        """Return each member of a committee as a model of its own."""
        return split_members(model)

    def _settings(
        self, parent: LoadedModel | None, folds: int, seed: int, found: set[str]
    ) -> tuple[list[TrainSettings], TrainSettings]:
        """Return the settings of each member and of the committee."""
        given = self.settings.model_dump(exclude_unset=True)
        each, common = committee_settings(given, seed, folds, None if parent is None else parent.card, found)
        return [TrainSettings.model_validate(values) for values in each], TrainSettings.model_validate(common)

    def _model_file(
        self,
        networks: Sequence[Network],
        parts: dict[str, Dataset],
        settings: TrainSettings,
        parent: LoadedModel | None,
        inherited: LoadedModel | None = None,
    ) -> bytes:
        """Return the content of the model file of calibrated networks."""
        calibrated, card = calibrate_committee(
            list(networks),
            parts,
            settings,
            device=self.device,
            name='backtest',
            data='labels of a backtest',
            functional=', '.join(sorted(set(parts['train'].functional.tolist()))),
            parent=None if parent is None else parent.hash,
            inherited=inherited,
            known=[] if parent is None else parent.card.elements,
        )
        card.metrics = json_safe(card.metrics)
        with TemporaryDirectory() as folder:
            path = Path(folder) / 'model.safetensors'
            save_model(path, calibrated, card, trained_on([] if parent is None else [parent], parts['train']))
            return path.read_bytes()

    def _set_threads(self) -> None:
        if self.threads is not None:
            torch.set_num_threads(self.threads)


def _validation_rows(validation: Dataset, settings: TrainSettings) -> Dataset | None:
    """Return the validation rows if the settings need them, which saves their evaluation after each epoch."""
    return validation if settings.keep == 'best' or settings.patience is not None else None


def _member(model: LoadedModel, member: int) -> LoadedModel:
    """Return a model of one member, counted modulo their number."""
    network = model.members[member % len(model.members)]
    return replace(model, card=model.card.of_member(member), networks=torch.nn.ModuleList([network]))
