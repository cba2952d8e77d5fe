"""Settings of the members of a committee, and which models can be its members; free of torch.

Work chain and backtest take the settings from here, so that the same seed trains the same networks in both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning.settings import settings_like
from aiida_goectp.core.network.preparation import PRESETS

__all__ = ('check_same_kind', 'committee_settings')


def check_same_kind(cards: Sequence[ModelCard]) -> None:
    """Check that models can be members of one committee.

    Their networks may differ: errors of different architectures are less correlated.

    :param cards: one or more
    :raises ValueError: different preparation of crystals, targets or functional
    """
    properties = {
        'preset (preparation of crystals)': lambda card: PRESETS.get(card.preset, card.preset),
        'targets': lambda card: card.targets,
        'functional': lambda card: card.functional,
        'functionals (input of the network)': lambda card: card.architecture.get('functionals', []),
    }
    for name, value_of in properties.items():
        if any(value_of(card) != value_of(cards[0]) for card in cards):
            models = ', '.join(card.name for card in cards)
            raise ValueError(f'members of a committee must have the same {name}; different in: {models}')


def committee_settings(
    values: Mapping[str, Any],
    seed: int,
    members: int,
    initial: ModelCard | None = None,
    found: Collection[str] = (),
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the settings of each member, with the seeds seed, seed + 1, …, and those of the committee.

    :param values: given fields of :class:`aiida_goectp.core.learning.settings.TrainSettings`; their seed takes
        precedence
    :param seed: seed of the campaign
    :param members: number of members
    :param initial: card of the model to fine-tune, or to replace by one of the same kind; gives preset, options and
        functionals where the settings do not
    :param found: functionals of the labels
    """
    given = {'seed': seed, **values}
    if initial is not None:
        given = settings_like(given, initial, found)
    each = [{**given, 'members': 1, 'seed': given['seed'] + member} for member in range(members)]
    return each, {**given, 'members': members}
