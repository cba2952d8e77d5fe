"""Join members that were trained apart, and take one out of a committee."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.formats.training_log import finite
from aiida_goectp.core.learning.calibrate import calibrate_committee
from aiida_goectp.core.learning.predict import cached_model
from aiida_goectp.core.learning.settings import TrainSettings, settings_like
from aiida_goectp.core.network.checkpoint import save_model

__all__ = ('extract_member', 'join_members')


def join_members(
    contents: Sequence[bytes], parts: dict[str, Dataset], settings: TrainSettings | None, output: Path, **card: Any
) -> ModelCard:
    """Write the committee of all networks, calibrated and judged as one, as if they had been trained together.

    :param contents: of the model files, in order; :func:`.check_same_kind` accepts their cards
    :param parts: train, validation and test, on which the members were trained
    :param settings: of the committee; None if each was trained by settings of its own, which then stand in the card
    :param output: the model file
    :param card: what :func:`aiida_goectp.core.learning.calibrate.calibrate_committee` wants to know for the card
    :return: the card of the committee
    """
    models = [cached_model(content, 'cpu') for content in contents]
    # copies: finish writes into the networks, and the models stay loaded for whoever predicts with them next
    networks: list[Any] = [deepcopy(network) for model in models for network in model.networks]
    known = sorted({element for model in models for element in model.card.elements})
    cards = [model.card for model in models]
    alike = TrainSettings.model_validate(settings_like({'members': len(networks)}, cards[0]))
    if settings is not None:  # of a training that took the rest from the model that it began with
        alike = settings.model_copy(update={'preset': alike.preset, 'functionals': alike.functionals})
    networks, told = calibrate_committee(networks, parts, alike, device='cpu', known=known, **card)
    told.metrics = finite(told.metrics)
    if settings is None:
        del told.training['settings']
        told.training['joined'] = [{'name': item.name, **item.training} for item in cards]
    save_model(output, networks, told)
    return told


def extract_member(content: bytes, place: int, output: Path) -> None:
    """Write one member of a committee as a model of its own, to go on from.

    It states no uncertainty, and its card gives no figures: both were those of the committee.

    :param content: of the model file
    :param place: from 0; beyond the last member it begins again with the first
    :param output: the model file
    """
    model = cached_model(content, 'cpu')
    network = model.members[place % len(model.members)]
    save_model(output, [network], model.card.of_member(place))
