"""``History``: what a campaign did, round by round, as plain JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from aiida_goectp.core.formats.settings import Settings, read_settings

__all__ = ('OUTCOMES', 'CandidateSummary', 'History', 'PickRecord', 'Round')

OUTCOMES = ('accepted', 'electronic-only', 'refused', 'failed', 'unfinished')
"""what became of a pick: a label of both parts or of one, a label that gates refuse, none for good, none yet"""


class PickRecord(Settings):
    """One pick: what was predicted, and what came of it."""

    id: str = Field(min_length=1)
    hash: str = Field(min_length=1, description='content hash of the crystal')
    mean: float = Field(description='predicted figure of merit')
    std: float | None = Field(default=None, ge=0, description='its standard deviation')
    value: float | None = Field(default=None, description='figure of merit of the label')
    electronic: float | None = Field(default=None, description='polycrystalline average of the label')
    ionic: float | None = Field(default=None, description='likewise')
    outcome: Literal['accepted', 'electronic-only', 'refused', 'failed', 'unfinished'] = 'unfinished'
    reason: str = Field(default='', description='why it was picked')
    failure: str = Field(default='', description='why there is no label, or why it is refused')
    core_hours: float = Field(default=0.0, ge=0)

    @model_validator(mode='after')
    def _consistent(self) -> PickRecord:
        if self.value is not None and self.outcome in ('failed', 'unfinished'):
            raise ValueError(f'{self.id} is {self.outcome} and yet has a value; leave out one of the two')
        return self


class CandidateSummary(Settings):
    """What the present model says of what is left."""

    candidates: int = Field(ge=0, description='not verified, not failed for good, not out by filters')
    best: float | None = Field(default=None, description='highest μ + κσ among them')


class Round(Settings):
    """One round: predict, pick, verify, perhaps retrain."""

    number: int = Field(ge=1, description='from 1')
    model_hash: str = Field(description='of the model that picked')
    picks: tuple[PickRecord, ...] = ()
    core_hours: float = Field(default=0.0, ge=0, description='of predictions and training; picks have their own')
    outlook: CandidateSummary | None = Field(default=None, description='when the round picked')
    top: tuple[str, ...] = Field(default=(), description='content hashes of the best that are verified after the round')
    retrained: bool = False
    new_model_hash: str | None = Field(default=None, description='of what the retraining gave, adopted or not')
    adopted: bool = Field(default=False, description='whether the new model replaces the old')
    retraining_reason: str = ''
    metrics: dict[str, float | None] = Field(default_factory=dict, description='any numbers worth keeping')

    @model_validator(mode='after')
    def _consistent(self) -> Round:
        if self.adopted and not (self.retrained and self.new_model_hash):
            raise ValueError(f'round {self.number} adopted a model; give retrained and new_model_hash as well')
        return self

    @property
    def labels(self) -> int:
        """Number of picks that gave a label to learn from."""
        return sum(pick.outcome in ('accepted', 'electronic-only') for pick in self.picks)


class History(Settings):
    """All rounds of a campaign, in order."""

    version: Literal[1] = 1
    figure_of_merit: str
    rounds: tuple[Round, ...] = ()

    @model_validator(mode='after')
    def _consistent(self) -> History:
        numbers = [item.number for item in self.rounds]
        if numbers != list(range(1, len(numbers) + 1)):
            raise ValueError(f'rounds must be numbered 1 to {len(numbers)} in order; they are {numbers}')
        seen: dict[str, int] = {}
        for item in self.rounds:
            for pick in item.picks:
                if pick.hash in seen:
                    raise ValueError(
                        f'{pick.id} ({pick.hash}) is picked in rounds {seen[pick.hash]} and {item.number}; '
                        'only an unfinished pick can be picked again'
                    )
                if pick.outcome != 'unfinished':
                    seen[pick.hash] = item.number
        return self

    @property
    def calculations(self) -> int:
        """Number of picks of all rounds that were begun, whatever became of them."""
        return sum(pick.outcome != 'unfinished' or pick.core_hours > 0 for item in self.rounds for pick in item.picks)

    @property
    def core_hours(self) -> float:
        """Core-hours of all rounds and picks."""
        return sum(item.core_hours + sum(pick.core_hours for pick in item.picks) for item in self.rounds)

    @property
    def labels(self) -> int:
        """Number of labels to learn from."""
        return sum(item.labels for item in self.rounds)

    def outcomes(self) -> dict[str, str]:
        """Return content hash → why it failed for good, empty if it is verified, of all picks that are finished.

        A label without the tensor that the figure of merit needs is a failure too: it would be picked for ever.
        """
        return {
            pick.hash: _failure(pick, self.figure_of_merit)
            for item in self.rounds
            for pick in item.picks
            if pick.outcome != 'unfinished'
        }

    def with_round(self, item: Round) -> History:
        """Return the history with one more round, or with the last one replaced by its new state.

        :raises FormatError: a round out of order, or a pick that was picked before
        """
        rounds = self.rounds[:-1] if self.rounds and self.rounds[-1].number == item.number else self.rounds
        values = {**self.model_dump(), 'rounds': [*(one.model_dump() for one in rounds), item.model_dump()]}
        return read_settings(History, values, 'history')

    def to_json(self) -> str:
        """Return JSON text, the same for the same content."""
        return self.model_dump_json(indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> History:
        """Read JSON text.

        :raises FormatError: what is wrong, and where
        """
        return read_settings(cls, text, 'history')


def _failure(pick: PickRecord, figure_of_merit: str) -> str:
    if pick.outcome in ('failed', 'refused'):
        return pick.failure or pick.outcome
    return '' if pick.value is not None else f'{pick.outcome}, without a value of {figure_of_merit}'
