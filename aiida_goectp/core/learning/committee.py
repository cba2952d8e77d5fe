"""Committees from separately trained members, and members from committees."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.formats.training_log import json_safe
from aiida_goectp.core.learning.calibrate import calibrate_committee, trained_on
from aiida_goectp.core.learning.model_cache import cached_model
from aiida_goectp.core.learning.settings import TrainSettings, settings_like
from aiida_goectp.core.network.checkpoint import save_model
from aiida_goectp.core.network.model import Network

__all__ = ('extract_member', 'join_members', 'split_members')


def join_members(
    contents: Sequence[bytes],
    parts: dict[str, Dataset],
    settings: TrainSettings | None,
    output: Path,
    initial: bytes | None = None,
    **card: Any,
) -> ModelCard:
    """Write the committee of all networks, calibrated and evaluated as if they had been trained together.

    :param contents: contents of the model files, in order; :func:`.check_same_kind` accepts their cards
    :param parts: train, validation and test, on which the members were trained
    :param settings: settings of the committee; None if the members have different ones, which the card then contains
    :param output: the model file
    :param initial: content of the model of whose members these were fine-tuned; its calibration is kept where there are
        too few validation rows
    :param card: arguments of :func:`.calibrate_committee` for the card
    :return: the card of the committee
    """
    models = [cached_model(content, 'cpu') for content in contents]
    # copies, since the calibration changes the networks, and the models stay in the cache
    networks: list[Network] = [deepcopy(network) for model in models for network in model.members]
    known = sorted({element for model in models for element in model.card.elements})
    cards = [model.card for model in models]
    common = TrainSettings.model_validate(settings_like({'members': len(networks)}, cards[0]))
    if settings is not None:  # preset and functionals may have been taken from the initial model
        common = settings.model_copy(update={'preset': common.preset, 'functionals': common.functionals})
    inherited = None if initial is None else cached_model(initial, 'cpu')
    networks, joined = calibrate_committee(networks, parts, common, known=known, inherited=inherited, **card)
    joined.metrics = json_safe(joined.metrics)
    if settings is None:
        del joined.training['settings']
        joined.training['joined'] = [{'name': item.name, **item.training} for item in cards]
    save_model(output, networks, joined, trained_on(models))
    return joined


def extract_member(content: bytes, member: int, output: Path) -> None:
    """Write one member of a committee as a model file, to be fine-tuned.

    Its card has neither uncertainty nor metrics, which were those of the committee.

    :param content: content of the model file
    :param member: counted from 0, modulo the number of members
    :param output: the model file
    """
    model = cached_model(content, 'cpu')
    save_model(output, [model.members[member % len(model.members)]], model.card.of_member(member), model.trained_on)


def split_members(content: bytes) -> list[bytes]:
    """Return each member of a committee as the content of a model file, see :func:`extract_member`.

    :param content: content of the model file
    """
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f'{member}.safetensors' for member in range(len(cached_model(content, 'cpu').members))]
        for member, path in enumerate(paths):
            extract_member(content, member, path)
        return [path.read_bytes() for path in paths]
