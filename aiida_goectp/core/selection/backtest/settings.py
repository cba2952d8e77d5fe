"""What decides the outcome of a backtest, next to the labels and the model."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, field_validator

from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import Settings, read_settings
from aiida_goectp.core.selection.acquisition import AcquisitionSettings, acquisition_names
from aiida_goectp.core.selection.diversity import DiversitySettings
from aiida_goectp.core.selection.filters import Filters
from aiida_goectp.core.selection.merit import FIGURES_OF_MERIT
from aiida_goectp.core.selection.picking import PickSettings
from aiida_goectp.core.selection.retraining import FROM_LABELS, RetrainingPolicy
from aiida_goectp.core.selection.stopping import StopRules

__all__ = ('BacktestSettings', 'read_acquisition')


class BacktestSettings(Settings):
    """One campaign for each acquisition function and seed."""

    figure_of_merit: str = Field(default='total', description='what is looked for, more is better')
    top_k: int = Field(default=100, ge=1, description='so many of the best crystals of the pool are to be found')
    start: int = Field(default=200, ge=10, description='labels that a campaign begins with, drawn by its seed')
    batch_size: int = Field(default=40, ge=1, description='labels that a round buys')
    budget: int = Field(default=600, ge=1, description='labels that a campaign buys')
    seeds: int = Field(default=5, ge=1, le=1000, description='campaigns of each acquisition: seeds 0, 1, …')
    acquisitions: tuple[str, ...] = Field(
        default=('greedy', 'upper_confidence_bound'), description='as :func:`read_acquisition` reads them'
    )
    filters: Filters = Field(
        default_factory=lambda: Filters(unseen_elements=True),
        description='which crystals are candidates at all; those with elements that no label has shown yet are, since '
        'who leaves them out never finds them',
    )
    diversity: DiversitySettings = Field(default_factory=DiversitySettings, description='what is too alike')
    policy: RetrainingPolicy = Field(default=FROM_LABELS, description='when and how to retrain')

    @field_validator('figure_of_merit')
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FIGURES_OF_MERIT:
            raise ValueError(f'no figure of merit is named {name!r}; there are: {", ".join(FIGURES_OF_MERIT)}')
        if FIGURES_OF_MERIT[name].committee:
            raise ValueError(f'{name} needs the deviation of a prediction, which a label has not; take another')
        return name

    @field_validator('acquisitions')
    @classmethod
    def _readable(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not texts:
            raise ValueError(f'name one at least, of: {", ".join(acquisition_names())}')
        if len(set(texts)) < len(texts):
            raise ValueError(f'one is named twice: {", ".join(texts)}')
        for text in texts:
            read_acquisition(text)
        return texts

    def picking(self, acquisition: str) -> PickSettings:
        """Return how the batches of a campaign are picked."""
        return PickSettings(
            batch_size=self.batch_size,
            figure_of_merit=self.figure_of_merit,
            filters=self.filters,
            acquisition=read_acquisition(acquisition),
            diversity=self.diversity,
        )

    @property
    def rules(self) -> StopRules:
        """When a campaign ends: when the budget is spent."""
        return StopRules(max_rounds=None, max_calculations=self.budget)


def read_acquisition(text: str) -> AcquisitionSettings:
    """Return the acquisition that a text such as ``upper_confidence_bound`` or ``…:kappa=0.5,seed=3`` names.

    :raises FormatError: no such function, or no such setting of it
    """
    name, _, rest = text.partition(':')
    if name not in acquisition_names():
        raise FormatError(f'acquisition: {name!r} is not there; there are: {", ".join(acquisition_names())}')
    values: dict[str, Any] = {'name': name}
    for item in filter(None, rest.split(',')):
        key, equals, value = item.partition('=')
        if not equals or key == 'name':
            raise FormatError(f'acquisition {text!r}: give settings as {name}:kappa=0.5, separated by commas')
        try:
            values[key] = json.loads(value)
        except json.JSONDecodeError as error:
            raise FormatError(f'acquisition {text!r}: {value!r} is no number') from error
    return read_settings(AcquisitionSettings, values, f'acquisition {text!r}')
