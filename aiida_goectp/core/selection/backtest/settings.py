"""Settings of a backtest."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.settings import Settings, read_settings
from aiida_goectp.core.selection.acquisition import AcquisitionSettings, acquisition_names
from aiida_goectp.core.selection.diversity import DiversitySettings
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.merit import FIGURES_OF_MERIT
from aiida_goectp.core.selection.picking import PickSettings, PruningSettings
from aiida_goectp.core.selection.retraining import FROM_LABELS, RetrainingPolicy
from aiida_goectp.core.selection.stopping import StopRules

__all__ = ('BacktestSettings', 'read_acquisition', 'read_pruning')


class BacktestSettings(Settings):
    """Settings of a backtest: one campaign for each acquisition function and seed."""

    figure_of_merit: str = Field(default='total', description='figure of merit to maximise')
    top_k: int = Field(default=100, ge=1, description='number of best crystals of the pool to find')
    start: int = Field(default=200, ge=10, description='number of starting labels, drawn by the seed')
    batch_size: int = Field(default=40, ge=1, description='labels requested in one round')
    budget: int = Field(default=600, ge=1, description='labels requested in one campaign')
    seeds: int = Field(default=5, ge=1, le=1000, description='campaigns of each acquisition function: seeds 0, 1, …')
    acquisitions: tuple[str, ...] = Field(
        default=('greedy', 'upper_confidence_bound'), description='texts such as upper_confidence_bound:kappa=0.5'
    )
    filters: Filters = Field(
        default_factory=lambda: Filters(unseen_elements=True),
        description='conditions on the candidates; crystals with elements outside of the training set are admitted, '
        'since they are never found otherwise',
    )
    diversity: DiversitySettings = Field(default_factory=DiversitySettings, description='exclusion of duplicates')
    pruning: PruningSettings | None = Field(
        default=None, description='let most models predict only the crystals that could be picked; null: all crystals'
    )
    policy: RetrainingPolicy = Field(default=FROM_LABELS, description='when and how to retrain')

    @field_validator('figure_of_merit')
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in FIGURES_OF_MERIT:
            raise ValueError(f'unknown figure of merit {name!r}; available: {", ".join(FIGURES_OF_MERIT)}')
        if FIGURES_OF_MERIT[name].committee:
            raise ValueError(f'{name!r} needs standard deviations, which labels do not have; choose another')
        return name

    @field_validator('acquisitions')
    @classmethod
    def _are_readable(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not texts:
            raise ValueError(f'is empty; give at least one of: {", ".join(acquisition_names())}')
        if len(set(texts)) < len(texts):
            raise ValueError(f'contains duplicates: {", ".join(texts)}')
        for text in texts:
            read_acquisition(text)
        return texts

    @model_validator(mode='after')
    def _picks_are_valid(self) -> BacktestSettings:
        for text in self.acquisitions:
            self.picking(text)
        return self

    def picking(self, acquisition: str) -> PickSettings:
        """Return the pick settings of a campaign.

        :param acquisition: text, see :func:`read_acquisition`
        """
        return PickSettings(
            batch_size=self.batch_size,
            figure_of_merit=self.figure_of_merit,
            filters=self.filters,
            acquisition=read_acquisition(acquisition),
            diversity=self.diversity,
            pruning=self.pruning,
        )

    @property
    def rules(self) -> StopRules:
        """Stop rules of a campaign: its budget of labels."""
        return StopRules(max_rounds=None, max_calculations=self.budget)


def read_acquisition(text: str) -> AcquisitionSettings:
    """Return the settings in a text such as ``upper_confidence_bound`` or ``upper_confidence_bound:kappa=0.5,seed=3``.

    :raises FormatError: an unknown function or setting, or an invalid value
    """
    name, _, rest = text.partition(':')
    if name not in acquisition_names():
        raise FormatError(f'acquisition: unknown function {name!r}; available: {", ".join(acquisition_names())}')
    values = _numbers(rest, f'acquisition {text!r}', f'{name}:kappa=0.5')
    if 'name' in values:
        raise FormatError(f'acquisition {text!r}: the name stands before the colon')
    return read_settings(AcquisitionSettings, {'name': name, **values}, f'acquisition {text!r}')


def read_pruning(text: str) -> PruningSettings:
    """Return the settings in a text such as ``margin=3,every=4``.

    :raises FormatError: an unknown setting, or an invalid value
    """
    return read_settings(PruningSettings, _numbers(text, 'pruning', 'margin=3,every=4'), 'pruning')


def _numbers(text: str, where: str, example: str) -> dict[str, Any]:
    """Return the values in a text such as ``kappa=0.5,seed=3``."""
    values: dict[str, Any] = {}
    for item in filter(None, text.split(',')):
        key, equals, value = item.partition('=')
        if not equals:
            raise FormatError(f'{where}: expected {example}, settings separated by commas')
        try:
            values[key] = parse_json(value)
        except FormatError as error:
            raise FormatError(f'{where}: {key} is {value!r}; give a number') from error
    return values
