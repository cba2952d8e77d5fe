"""Settings of the members of a committee that is trained again and again; free of torch, as the AiiDA side needs them.

Work chain and backtest take them from here, so that the same seed trains the same networks in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida_goectp.learning.settings import settings_like
from aiida_goectp.modelcard import ModelCard

__all__ = ('committee_settings',)


def committee_settings(
    values: Mapping[str, Any], seed: int, members: int, begun: ModelCard | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the settings of each member, with the seeds seed, seed + 1, …, and those of the committee.

    :param values: fields of :class:`aiida_goectp.learning.settings.TrainSettings` that are given; their seed takes
        precedence
    :param seed: of the campaign
    :param members: how many
    :param begun: card of the model to fine-tune; it gives preset, options and functionals where the settings say
        nothing of them
    """
    given = {'seed': seed, **values}
    if begun is not None:
        given = settings_like(given, begun.preset, begun.architecture)
    alone = [{**given, 'members': 1, 'seed': given['seed'] + member} for member in range(members)]
    return alone, {**given, 'members': members}
