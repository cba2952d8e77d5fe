"""What decides the outcome of a training, next to the data; free of torch, so that the AiiDA side checks it too."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aiida_goectp.core.formats.model_card import ModelCard

__all__ = ('FEW_LABELS', 'PUBLISHED_RECIPE', 'TrainSettings', 'settings_like')


class TrainSettings(BaseModel):
    """Settings of a training.

    :raises pydantic.ValidationError: an unknown name or a value out of range
    """

    model_config = ConfigDict(extra='forbid')

    preset: Literal['goectp', 'published', 'descriptors'] = 'goectp'
    options: dict[str, Any] = Field(default_factory=dict, description='options of the backbone, over the preset')
    functionals: list[str] = Field(
        default_factory=list,
        description='of the labels, the one to predict first; with two or more, the network is told which it sees',
    )
    stretches: int = Field(
        default=2, ge=0, le=20, description='copies of each layered crystal with its layers pulled apart'
    )
    members: int = Field(
        default=1,
        ge=1,
        le=32,
        description='size of the committee, seeds seed, seed + 1, …; that of a model to go on from if not given',
    )
    epochs: int = Field(default=60, ge=1)
    batch_size: int = Field(default=32, ge=2, description='crystals in a step')
    learning_rate: float = Field(default=2e-3, gt=0, description='peak')
    final_learning_rate: float = Field(default=0.01, ge=0, le=1, description='of the last step, as a share of the peak')
    schedule: Literal['linear', 'cosine', 'constant'] = 'linear'
    warm_up: int = Field(default=200, ge=0, description='steps of the first rise, at most a twentieth of all')
    weight_decay: float = Field(default=1e-5, ge=0)
    loss: Literal['difference', 'logarithm'] = Field(
        default='difference',
        description='of prediction and label; logarithm: the difference over the geometric mean of both norms, '
        'which is that of the logarithms unless it is large',
    )
    huber_delta: float = Field(
        default=1.0, gt=0, description='in units of relative permittivity; of the share, where logarithms are compared'
    )
    taming: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description='of differences; 0: every error counts alike; 1: errors count by their share of the label',
    )
    largest_gradient: float | None = Field(default=5.0, gt=0, description='norm at which a gradient is cut')
    average_decay: float = Field(
        default=0.995, ge=0, lt=1, description='of the running mean of weights that is kept, a step'
    )
    patience: int | None = Field(
        default=None, ge=1, description='epochs without a better validation after which to stop'
    )
    keep: Literal['last', 'best'] = 'last'
    precision: Literal['float32', 'bfloat16'] = 'float32'
    compile: bool = Field(default=False, description='let torch compile the network: minutes first, then faster steps')
    seed: int = Field(default=0, ge=0)

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for one training to go on as another: all that differs from the defaults.

        ``compile`` is left out, since it changes no formula, and ``patience``, which decides when to stop alone: a
        training on a plateau ends, with its best weights, when it goes on with patience.
        """
        return self.model_dump(exclude_defaults=True, exclude={'compile', 'patience'})


def settings_like(values: Mapping[str, Any], card: ModelCard, found: Collection[str] = ()) -> dict[str, Any]:
    """Return settings with preset, options of the backbone, functionals and members of a model to go on from.

    What the settings say themselves stays; if they name preset or options, the model gives neither. Of its functionals,
    one that the labels have comes first: what learns from PBE is to predict PBE.

    :param values: fields of :class:`TrainSettings`
    :param card: of the model; members of several architectures have no options in common to be named
    :param found: functionals of the labels; none to leave those of the model in their order
    """
    known = card.architecture.get('functionals', [])
    if known and found and known[0] not in found:
        known = sorted(known, key=lambda name: name not in found)
    values = {'members': card.members, 'functionals': known, **values}
    if {'preset', 'options'} & set(values):
        return values
    options = {} if card.architectures else card.architecture.get('options', {})
    return {**values, 'preset': card.preset, 'options': options}


PUBLISHED_RECIPE = TrainSettings(
    preset='published',
    stretches=0,
    epochs=200,
    batch_size=64,
    learning_rate=1e-3,
    warm_up=0,
    taming=0.0,
    largest_gradient=None,
    average_decay=0.0,
)
"""The published training: AdamW 1e-3 with linear decay to 1e-5, Huber, batch 64, 200 epochs, last weights."""

FEW_LABELS = TrainSettings(
    preset='descriptors',
    stretches=0,
    epochs=60,
    batch_size=128,
    learning_rate=1e-2,
    weight_decay=1e-2,
    loss='logarithm',
    huber_delta=3.0,
    average_decay=0.95,
    keep='last',
)
"""For some hundred labels: seconds a member on one core, and quick to rank crystals by.

A difference that counts by its share of the label is cheaper for a prediction that is too small than for one that is as
much too large. Such a network takes the extraordinary for ordinary; one that compares logarithms does not.
"""
