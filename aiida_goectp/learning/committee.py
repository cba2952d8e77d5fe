"""Join members that were trained apart, and take one out of a committee."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiida_goectp.dataset import Dataset
from aiida_goectp.learning.finish import finish
from aiida_goectp.learning.predict import cached_model
from aiida_goectp.learning.settings import TrainSettings
from aiida_goectp.network.checkpoint import save_model
from aiida_goectp.traininglog import finite

__all__ = ('join_members', 'take_member')


def join_members(
    contents: Sequence[bytes], parts: dict[str, Dataset], settings: TrainSettings, output: Path, **card: Any
) -> None:
    """Write the committee of all networks, calibrated and judged as one, as if they had been trained together.

    :param contents: of the model files, in order
    :param parts: train, validation and test, on which the members were trained
    :param settings: of the committee
    :param output: the model file
    :param card: what :func:`aiida_goectp.learning.finish.finish` wants to know for the card
    """
    models = [cached_model(content, 'cpu') for content in contents]
    networks: list[Any] = [network for model in models for network in model.networks]
    known = sorted({element for model in models for element in model.card.elements})
    networks, told = finish(networks, parts, settings, device='cpu', known=known, **card)
    told.metrics = finite(told.metrics)
    save_model(output, networks, told)


def take_member(content: bytes, place: int, output: Path) -> None:
    """Write one member of a committee as a model of its own, to go on from.

    It states no uncertainty, and its card gives no figures: both were those of the committee.

    :param content: of the model file
    :param place: from 0; beyond the last member it begins again with the first
    :param output: the model file
    """
    model = cached_model(content, 'cpu')
    place %= len(model.members)
    changes = {'members': 1, 'uncertainty': {}, 'metrics': {}, 'name': f'{model.card.name}, member {place}'}
    save_model(output, [model.members[place]], model.card.model_copy(update=changes))
