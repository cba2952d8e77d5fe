"""Join members that were trained apart."""

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

__all__ = ('join_members',)


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
    networks: list[Any] = [network for content in contents for network in cached_model(content, 'cpu').networks]
    networks, told = finish(networks, parts, settings, device='cpu', **card)
    told.metrics = finite(told.metrics)
    save_model(output, networks, told)
