"""Which networks make a committee, and the settings of one that is trained again and again; free of torch.

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
    """Check that models can be members of one committee: they see the same graphs and mean the same tensors.

    Their networks may differ: what two of another kind miss is less alike than what two of one kind miss.

    :param cards: one or more
    :raises ValueError: they differ in the cell that they are shown, in targets or in functional
    """
    kinds = {
        'the way in which they see a crystal (preset)': lambda card: PRESETS.get(card.preset, card.preset),
        'targets': lambda card: card.targets,
        'functional': lambda card: card.functional,
        'the functionals that they are told': lambda card: card.architecture.get('functionals', []),
    }
    for words, of_card in kinds.items():
        if any(of_card(card) != of_card(cards[0]) for card in cards):
            names = ', '.join(card.name for card in cards)
            raise ValueError(f'the members of a committee must not differ in {words}; these do: {names}')


def committee_settings(
    values: Mapping[str, Any],
    seed: int,
    members: int,
    begun: ModelCard | None = None,
    found: Collection[str] = (),
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the settings of each member, with the seeds seed, seed + 1, …, and those of the committee.

    :param values: fields of :class:`aiida_goectp.core.learning.settings.TrainSettings` that are given; their seed takes
        precedence
    :param seed: of the campaign
    :param members: how many
    :param begun: card of the model to fine-tune, or to replace by one like it; it gives preset, options and
        functionals where the settings say nothing of them
    :param found: functionals of the labels
    """
    given = {'seed': seed, **values}
    if begun is not None:
        given = settings_like(given, begun, found)
    alone = [{**given, 'members': 1, 'seed': given['seed'] + member} for member in range(members)]
    return alone, {**given, 'members': members}
