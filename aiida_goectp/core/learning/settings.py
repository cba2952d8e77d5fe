"""Settings of a training; free of torch, so that the plugin validates them too."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aiida_goectp.core.formats.functionals import trained_as
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.formats.settings import unknown_key

__all__ = (
    'BACKBONE_OPTIONS',
    'FEW',
    'FEW_LABELS',
    'FORCE_CONSTANT_LABELS',
    'PRESET_NAMES',
    'PUBLISHED_RECIPE',
    'Preset',
    'TrainSettings',
    'settings_from_labels',
    'settings_like',
)

Preset: TypeAlias = Literal['goectp', 'published', 'descriptors', 'force_constants']
"""kind of network and of its input"""
PRESET_NAMES: tuple[str, ...] = get_args(Preset)

BACKBONE_OPTIONS: dict[str, tuple[str, ...]] = {
    'goectp': ('width', 'layers', 'bins', 'even', 'described'),
    'published': ('width', 'layers', 'bins', 'even', 'described'),
    'descriptors': ('width', 'layers', 'dropout'),
    'force_constants': (
        'scalars',
        'vectors',
        'tensors',
        'layers',
        'radial',
        'width',
        'floor',
        'dropout',
        'blocks',
        'envelope',
    ),
}
"""options of the backbone of each preset, as the arguments of its class, which needs torch"""

_SMALLEST_OPTION = {
    'width': 1,
    'layers': 1,
    'bins': 2,
    'scalars': 1,
    'vectors': 1,
    'tensors': 1,
    'radial': 1,
    'blocks': 0,
    'envelope': 0,
}
"""options that are whole numbers, and the smallest of each"""

_FORMER_NAMES = {
    'average_decay': 'ema_decay',
    'final_learning_rate': 'final_learning_rate_ratio',
    'largest_gradient': 'gradient_clip_norm',
    'stretches': 'layer_augmentation_copies',
    'taming': 'loss_label_exponent',
    'warm_up': 'warmup_steps',
}
"""former name → name, for model cards and settings written before the change"""


class TrainSettings(BaseModel):
    """Settings of a training, which determine its result together with the data.

    :raises pydantic.ValidationError: an unknown name or a value out of range
    """

    model_config = ConfigDict(extra='forbid')

    preset: Preset = 'goectp'
    options: dict[str, Any] = Field(
        default_factory=dict, description='options of the backbone, which override those of the preset'
    )
    functionals: list[str] = Field(
        default_factory=list,
        description='functionals of the labels, the one to predict first; with two or more, the functional of a label '
        'is an input of the network. X+U stands for labels of one protocol with any X+U(…), and for X without U',
    )
    layer_augmentation_copies: int = Field(
        default=2, ge=0, le=20, description='copies of each layered crystal with more vacuum between its layers'
    )
    members: int = Field(
        default=1,
        ge=1,
        le=32,
        description='size of the committee, trained with the seeds seed, seed + 1, …; default: that of the initial '
        'model, if there is one',
    )
    epochs: int = Field(default=60, ge=1)
    batch_size: int = Field(default=32, ge=2, description='crystals in a step')
    optimizer: Literal['adamw', 'muon'] = Field(
        default='adamw',
        description='muon orthogonalises the updates of weight matrices, and updates all other weights as adamw does',
    )
    learning_rate: float = Field(default=2e-3, gt=0, description='peak of the learning rate')
    final_learning_rate_ratio: float = Field(
        default=0.01, ge=0, le=1, description='ratio of the learning rate of the last step to the peak'
    )
    schedule: Literal['linear', 'cosine', 'constant'] = Field(
        default='linear', description='decay of the learning rate after the warm-up'
    )
    warmup_steps: int = Field(
        default=200, ge=0, description='steps of linear increase of the learning rate, at most a twentieth of all'
    )
    weight_decay: float = Field(default=1e-5, ge=0)
    loss: Literal['difference', 'logarithm'] = Field(
        default='difference',
        description='argument of the Huber loss: the difference of prediction and label, or (logarithm) this '
        'difference divided by the geometric mean of their norms, close to a difference of logarithms',
    )
    huber_delta: float = Field(
        default=1.0, gt=0, description='in units of relative permittivity; dimensionless with loss logarithm'
    )
    loss_label_exponent: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description='with loss difference, the loss is divided by this power of the norm of the label: 0 weights '
        'absolute errors, 1 relative ones',
    )
    ionic_loss_start: float = Field(
        default=0.12,
        ge=0,
        le=1,
        description='with preset force_constants and without an initial model, share of the epochs before the ionic '
        'permittivity enters the loss',
    )
    gradient_clip_norm: float | None = Field(
        default=5.0, gt=0, description='norm above which the gradient is scaled down to it; null: never'
    )
    ema_decay: float = Field(
        default=0.995, ge=0, lt=1, description='decay a step of the exponential moving average of the weights'
    )
    patience: int | None = Field(
        default=None, ge=1, description='stop after this many epochs without a lower validation error'
    )
    keep: Literal['last', 'best'] = Field(
        default='last', description='weights to return: of the last epoch, or of the one with the best validation score'
    )
    precision: Literal['float32', 'bfloat16'] = 'float32'
    compile: bool = Field(default=False, description='compile the network: takes minutes, then steps are faster')
    seed: int = Field(default=0, ge=0)

    @model_validator(mode='before')
    @classmethod
    def _rename_former_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        for former, name in _FORMER_NAMES.items():
            if former in values and name in values:
                raise ValueError(f'{former} is the former name of {name}; give {name} alone')
        return {_FORMER_NAMES.get(name, name): value for name, value in values.items()}

    @model_validator(mode='after')
    def _check_options(self) -> TrainSettings:
        known = BACKBONE_OPTIONS[self.preset]
        for name in self.options:
            if name not in known:
                raise ValueError(unknown_key(f'options.{name}', known, 'option'))
            if allowed := _allowed_unless_valid(name, self.options[name]):
                raise ValueError(f'options.{name}: expected {allowed}, found {self.options[name]!r:.40}')
        if self.precision == 'bfloat16' and self.preset == 'force_constants':
            raise ValueError('precision: preset force_constants needs float32')
        return self

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for a training to be resumed: all values that differ from the defaults.

        ``compile`` is excluded, since it does not change the formulas, and so is ``patience``, which only decides when
        to stop: a training on a plateau ends, with its best weights, when it is resumed with patience.
        """
        return self.model_dump(exclude_defaults=True, exclude={'compile', 'patience'})


def _allowed_unless_valid(name: str, value: object) -> str:
    """Return what is allowed as the value of an option; empty if the value is."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if (smallest := _SMALLEST_OPTION.get(name)) is not None:
        valid = number and isinstance(value, int) and value >= smallest
        return '' if valid else f'a whole number of at least {smallest}'
    if name == 'dropout':
        return '' if number and 0 <= value < 1 else 'a number from 0 to below 1'  # type: ignore[operator]
    if name == 'floor':
        return '' if number and 0 < value < math.inf else 'a number above 0, in eV/Å²'  # type: ignore[operator]
    return '' if isinstance(value, bool) else 'true or false'


def settings_like(values: Mapping[str, Any], card: ModelCard, found: Collection[str] = ()) -> dict[str, Any]:
    """Return settings completed by preset, options of the backbone, functionals and members of an initial model.

    Given settings take precedence; if they name preset or options, neither is taken from the model. Of its functionals,
    one that the labels have comes first, since the first one is predicted.

    :param values: fields of :class:`TrainSettings`
    :param card: card of the model; members of different architectures have no common options
    :param found: functionals of the labels; empty to keep the order of the model
    """
    functionals = card.architecture.get('functionals', [])
    present = set(trained_as(found, functionals).values())
    if functionals and found and functionals[0] not in present:
        functionals = sorted(functionals, key=lambda name: name not in present)
    values = {'members': card.members, 'functionals': functionals, **values}
    if {'preset', 'options'} & set(values):
        return values
    options = {} if card.architectures else card.architecture.get('options', {})
    return {**values, 'preset': card.preset, 'options': options}


PUBLISHED_RECIPE = TrainSettings(
    preset='published',
    layer_augmentation_copies=0,
    epochs=200,
    batch_size=64,
    learning_rate=1e-3,
    warmup_steps=0,
    loss_label_exponent=0.0,
    gradient_clip_norm=None,
    ema_decay=0.0,
)
"""The published training: AdamW 1e-3 with linear decay to 1e-5, Huber loss, batch size 64, 200 epochs, last weights."""

FEW_LABELS = TrainSettings(
    preset='descriptors',
    layer_augmentation_copies=0,
    epochs=60,
    batch_size=128,
    learning_rate=1e-2,
    weight_decay=1e-2,
    loss='logarithm',
    huber_delta=3.0,
    ema_decay=0.95,
    keep='last',
)
"""For some hundred labels, to rank crystals: trains in seconds a member on one core.

The loss is symmetric in the logarithm. A relative error costs less below the label than above it, so that a network
trained with it underestimates extraordinary values.
"""

FORCE_CONSTANT_LABELS = TrainSettings(
    preset='force_constants',
    options={'scalars': 64, 'vectors': 32, 'tensors': 16, 'width': 64, 'dropout': 0.0},
    layer_augmentation_copies=0,
    epochs=60,
    batch_size=24,
    learning_rate=3e-3,
    weight_decay=1e-2,
    schedule='cosine',
    gradient_clip_norm=10.0,
    ema_decay=0.99,
    keep='last',
)
"""For labels with force constants: trains in minutes a member on one core, and finds more with as many labels."""

FEW = 400
"""number of labels up to which :data:`FEW_LABELS` is used, compared in docs/explanation/accuracy.md"""
_FORCE_CONSTANTS_FROM = 200
"""smallest number of labels for which :data:`FORCE_CONSTANT_LABELS` was compared, in docs/howto/backtest.md"""


def settings_from_labels(rows: int, with_force_constants: int) -> TrainSettings | None:
    """Return the settings of a campaign whose models learn from its labels only; None for those of the protocol.

    :param rows: number of labels to start with
    :param with_force_constants: number of those with force constants
    """
    if rows >= _FORCE_CONSTANTS_FROM and 2 * with_force_constants >= rows:
        return FORCE_CONSTANT_LABELS
    return FEW_LABELS if rows <= FEW else None
