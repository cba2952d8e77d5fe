"""History of a campaign: picks, outcomes and retraining of each round, as plain JSON."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

from pydantic import Field, model_validator

from aiida_goectp.core.dielectric.coverage import within_interval
from aiida_goectp.core.dielectric.gate_codes import VerdictLabel
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.settings import Settings, read_settings

__all__ = ('FAILED', 'LABELLED', 'OUTCOMES', 'UNFINISHED', 'CandidateSummary', 'History', 'PickRecord', 'Round')

_Outcome = Literal['accepted', 'electronic-only', 'refused', 'failed', 'unfinished']

OUTCOMES: tuple[str, ...] = get_args(_Outcome)
"""label that the gates give to the response of a pick; or no response, permanently or so far"""
FAILED, UNFINISHED = OUTCOMES[3:]
LABELLED = (VerdictLabel.ACCEPTED.value, VerdictLabel.ELECTRONIC_ONLY.value)
"""outcomes with a label for training"""


class PickRecord(Settings):
    """Prediction and outcome of one pick."""

    id: str = Field(min_length=1)
    hash: str = Field(min_length=1, description='content hash of the crystal')
    mean: float = Field(description='predicted figure of merit')
    std: float | None = Field(default=None, ge=0, description='standard deviation of the prediction')
    margin: float = Field(
        default=0.0, ge=0, description='standard deviations that the mean lies below the expected value, by its formula'
    )
    stability: float | None = Field(default=None, ge=0, le=1, description='predicted probability of stability')
    value: float | None = Field(default=None, description='figure of merit of the label')
    electronic: float | None = Field(default=None, description='polycrystalline average of the electronic label')
    ionic: float | None = Field(default=None, description='polycrystalline average of the ionic label')
    outcome: _Outcome = 'unfinished'
    reason: str = Field(default='', description='why it was picked')
    failure: str = Field(default='', description='why there is no label, or why it is refused')
    inconclusive: bool = Field(
        default=False,
        description='whether its calculation was interrupted, or failed in a round in which all calculations failed',
    )
    core_hours: float = Field(default=0.0, ge=0)
    submitted: bool = Field(
        default=True,
        description='whether a calculation was started for it: false for a reused result, the duplicate of another '
        'pick, and a crystal that the engine refused',
    )

    @model_validator(mode='after')
    def _check_value(self) -> PickRecord:
        if self.value is not None and self.outcome in (FAILED, UNFINISHED):
            raise ValueError(f'{self.id}: outcome {self.outcome!r} with a value; leave out one of them')
        return self

    @property
    def calculated(self) -> bool:
        """Whether a calculation was started for this pick."""
        return self.submitted and (self.outcome != UNFINISHED or self.core_hours > 0)

    @property
    def expected(self) -> float:
        """Expected value of the label."""
        return self.mean + self.margin * (self.std or 0.0)

    @property
    def relative_error(self) -> float | None:
        """(predicted − verified) / verified; None without a label, or if it is zero."""
        return (self.expected - self.value) / self.value if self.value else None

    @property
    def within_interval(self) -> bool | None:
        """Whether the label is within the 90 % interval of the prediction; None without label or interval."""
        if self.value is None or self.std is None:
            return None
        return bool(within_interval(self.expected - self.value, self.std))


class CandidateSummary(Settings):
    """Predictions of the candidates that are left, as the stop rules need them."""

    candidates: int = Field(ge=0, description='neither verified, nor failed permanently, nor excluded by filters')
    best: float | None = Field(default=None, description='highest μ + κσ of the candidates')


class Round(Settings):
    """One round: predict, pick, verify, possibly retrain."""

    number: int = Field(ge=1, description='from 1')
    model_hash: str = Field(description='content hash of the model whose predictions were used')
    picks: tuple[PickRecord, ...] = ()
    core_hours: float = Field(default=0.0, ge=0, description='of predictions and training, without those of the picks')
    outlook: CandidateSummary | None = Field(default=None, description='candidates when the round was picked')
    top: tuple[str, ...] = Field(default=(), description='content hashes of the best verified crystals after the round')
    retrained: bool = False
    new_model_hash: str | None = Field(default=None, description='content hash of the trained model, adopted or not')
    adopted: bool = Field(default=False, description='whether the new model replaces the old one')
    retraining_reason: str = ''
    metrics: dict[str, float | None] = Field(default_factory=dict, description='further numbers, by name')

    @model_validator(mode='after')
    def _check_retraining(self) -> Round:
        if self.adopted and not (self.retrained and self.new_model_hash):
            raise ValueError(f'round {self.number}: adopted requires retrained and new_model_hash')
        return self

    @property
    def labels(self) -> int:
        """Number of picks with a label for training."""
        return sum(pick.outcome in LABELLED for pick in self.picks)


class History(Settings):
    """All rounds of a campaign, in order."""

    version: Literal[1] = 1
    figure_of_merit: str
    rounds: tuple[Round, ...] = ()
    further_core_hours: float = Field(
        default=0.0, ge=0, description='of predictions and training that belong to no round, as after the last one'
    )

    @model_validator(mode='after')
    def _check_rounds(self) -> History:
        numbers = [item.number for item in self.rounds]
        if numbers != list(range(1, len(numbers) + 1)):
            raise ValueError(f'rounds must be numbered 1 to {len(numbers)} in order; found {numbers}')
        seen: dict[str, int] = {}
        for item in self.rounds:
            for pick in item.picks:
                if pick.hash in seen:
                    raise ValueError(
                        f'{pick.id} ({pick.hash}) is picked in rounds {seen[pick.hash]} and {item.number}; '
                        'only an unfinished pick can be picked again'
                    )
                if pick.outcome != UNFINISHED:
                    seen[pick.hash] = item.number
        return self

    @property
    def calculations(self) -> int:
        """Number of picks of all rounds whose calculation was started."""
        return sum(pick.calculated for item in self.rounds for pick in item.picks)

    @property
    def core_hours(self) -> float:
        """Core-hours of all rounds and picks, and further ones."""
        rounds = sum(item.core_hours + sum(pick.core_hours for pick in item.picks) for item in self.rounds)
        return rounds + self.further_core_hours

    @property
    def labels(self) -> int:
        """Number of labels for training."""
        return sum(item.labels for item in self.rounds)

    def outcomes(self) -> dict[str, str]:
        """Return content hash → why the pick failed permanently, empty if it is verified, of all finished picks.

        A label without the tensor that the figure of merit needs counts as a failure: its crystal is not picked again.
        """
        return {
            pick.hash: _failure(pick, self.figure_of_merit)
            for item in self.rounds
            for pick in item.picks
            if pick.outcome != UNFINISHED
        }

    def reopened(self, ids: Collection[str] = ()) -> History:
        """Return the history in which failed picks are unfinished, so that they can be picked again.

        :param ids: of the picks; all failed ones if empty
        :raises FormatError: a pick of this id did not fail, or none failed
        """
        failed = {pick.id for item in self.rounds for pick in item.picks if pick.outcome == FAILED}
        if unknown := sorted(set(ids) - failed):
            raise FormatError(
                f'{unknown[0]}: no failed pick has this id; failed are: {", ".join(sorted(failed)) or "none"}'
            )
        if not failed:
            raise FormatError('no pick failed')
        wanted = set(ids) or failed
        values = self.model_dump()
        for pick in (pick for item in values['rounds'] for pick in item['picks']):
            if pick['id'] in wanted and pick['outcome'] in (FAILED, UNFINISHED):
                pick |= {'outcome': UNFINISHED, 'inconclusive': False}
        return read_settings(History, values, 'history')

    def with_round(self, item: Round) -> History:
        """Return the history with a new round, or with the last round replaced by one of the same number.

        :raises FormatError: a wrong number, or a pick that was finished before
        """
        rounds = self.rounds[:-1] if self.rounds and self.rounds[-1].number == item.number else self.rounds
        values = {**self.model_dump(), 'rounds': [*(one.model_dump() for one in rounds), item.model_dump()]}
        return read_settings(History, values, 'history')


def _failure(pick: PickRecord, figure_of_merit: str) -> str:
    if pick.outcome not in LABELLED:
        return pick.failure or pick.outcome
    return '' if pick.value is not None else f'{pick.outcome}, without a value of {figure_of_merit}'
