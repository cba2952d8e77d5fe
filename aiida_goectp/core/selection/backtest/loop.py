"""One campaign on hidden labels, round by round, by the functions that decide in the work chain."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.selection.backtest.hidden import SearchTask
from aiida_goectp.core.selection.backtest.settings import BacktestSettings
from aiida_goectp.core.selection.folds import add_labels, with_folds
from aiida_goectp.core.selection.history import History, Round
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.model_errors import Predict, comparison_errors
from aiida_goectp.core.selection.picking import pick
from aiida_goectp.core.selection.retraining import compare_models, decide_retraining
from aiida_goectp.core.selection.rounds import (
    Outcome,
    retrained_round,
    summarise_candidates,
    verified_round,
    with_seeds,
)
from aiida_goectp.core.selection.stopping import Stop, allowed_picks, should_stop

__all__ = ('Campaign', 'FittedModel', 'RoundRecord', 'Surrogate', 'first_model')


class FittedModel(NamedTuple):
    """What a training gives, as the content of files."""

    model: bytes
    """the committee"""
    members: tuple[bytes, ...]
    """each member alone, in the order of the folds"""


class Surrogate(Protocol):
    """A model that can be trained; :class:`aiida_goectp.core.learning.surrogate.NetworkSurrogate` is the one in use."""

    def fit(self, dealt: Dataset, split: str, folds: int, initial: bytes | None, seed: int) -> FittedModel:
        """Train a committee, member k on the part train of the split of fold k.

        :param dealt: a dataset with folds, see :func:`aiida_goectp.core.selection.folds.with_folds`
        :param split: the base split
        :param folds: members
        :param initial: a committee to go on from, None for a training from scratch
        :param seed: of the campaign
        :raises ValueError: the training failed
        """

    def predict(self, model: bytes, crystals: CrystalSet) -> Predictions:
        """Return the predictions of a committee or of a member."""


class RoundRecord(NamedTuple):
    """What is kept of a round: enough to go on after it."""

    labels: int
    """bought so far"""
    found: int
    """of the best"""
    round: Round | None
    """None before the first"""

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        done = None if self.round is None else self.round.model_dump(mode='json')
        return {'labels': self.labels, 'found': self.found, 'round': done}


class Campaign:
    """A campaign of one seed and one acquisition function.

    :param task: what it begins with, and what it is to find
    :param surrogate: the model
    :param settings: of the backtest
    :param acquisition: as :func:`.settings.read_acquisition` reads it
    :param seed: of the campaign
    :param model: the model to begin with, of the starting labels or of other data
    """

    def __init__(
        self,
        task: SearchTask,
        surrogate: Surrogate,
        settings: BacktestSettings,
        acquisition: str,
        seed: int,
        model: bytes,
    ) -> None:
        self.task, self.surrogate, self.settings, self.seed, self.model = task, surrogate, settings, seed, model
        self.picking = with_seeds(settings.picking(acquisition), seed)
        self.history = History(figure_of_merit=settings.figure_of_merit)
        self.dataset = task.start
        self.seen = len(task.start)
        """rows of the dataset that the model in use was trained on, or could have been"""

    def state(self) -> RoundRecord:
        """Return how far it is."""
        rounds, found = self.history.rounds, self.task.found(self.dataset.crystals)
        return RoundRecord(self.history.calculations, int(found.sum()), rounds[-1] if rounds else None)

    def resume(self, rounds: list[Round], model: bytes) -> None:
        """Go on after rounds that are done.

        :param model: the model in use after them
        :raises FormatError: rounds of another campaign
        """
        for done in rounds:
            self.history = self.history.with_round(done)
            self.dataset = self._joined([item.hash for item in done.picks])
            if done.adopted:
                self.seen = len(self.dataset)
        self.model = model

    def advance(self) -> RoundRecord | Stop:
        """Do one round, or return the rule that ends the campaign."""
        rules, pool, merit = self.settings.rules, self.task.pool, self.settings.figure_of_merit
        if (stop := should_stop(self.history, rules)) is not None:
            return stop
        past = KnownCrystals.of_dataset(self.dataset, merit, pool, self.history.outcomes())
        picks = pick(
            pool,
            self.surrogate.predict(self.model, pool),
            past,
            self.picking,
            round_number=len(self.history.rounds) + 1,
            number=allowed_picks(self.history, rules, self.settings.batch_size),
            matcher=self.task.likeness,
        )
        if (stop := should_stop(self.history, rules, summarise_candidates(picks, rules))) is not None:
            return stop
        hidden = self.task.hidden
        outcomes = {
            str(pool.hashes[row]): Outcome('accepted', electronic=hidden.electronic[row], ionic=hidden.ionic[row])
            for row in picks.rows.tolist()
        }
        self.dataset = self._joined(list(outcomes))
        self.history = verified_round(self.history, picks, pool, outcomes, self.dataset, rules)
        self._retrain()
        return self.state()

    def _joined(self, hashes: list[str]) -> Dataset:
        """Return the dataset with the labels of some crystals of the pool.

        :raises FormatError: crystals that are not in the pool
        """
        places = {str(name): row for row, name in enumerate(self.task.pool.hashes)}
        if strange := [name for name in hashes if name not in places]:
            raise FormatError(f'{len(strange)} picks are not in the pool ({strange[0]}); they are of another backtest')
        labels = self.task.hidden.take([places[name] for name in hashes])
        return add_labels(self.dataset, labels, self.task.split)[0]

    def _retrain(self) -> None:
        """Train a new model if it is due, and take it if it is not worse."""
        policy, split = self.settings.policy, self.task.split
        due = decide_retraining(self.history, policy)
        if not due.retrain:
            self.history = retrained_round(self.history, due)
            return
        dealt = with_folds(self.dataset, self.task.start, split, policy.folds, self.seed)
        initial = self.model if due.mode == 'fine-tune' else None
        try:
            fitted = self.surrogate.fit(dealt, split, policy.folds, initial, self.seed)
        except ValueError as error:
            verdict = compare_models({}, None, policy, str(error))
            self.history = retrained_round(self.history, due, verdict)
            return
        before = self.dataset.take(np.arange(self.seen))
        models = (self._model(self.model), self._model(fitted.model), [self._model(one) for one in fitted.members])
        errors = comparison_errors(dealt, before, split, self.settings.figure_of_merit, *models)
        verdict = compare_models(*errors, policy)
        content = self.surrogate.predict(fitted.model, self.task.pool.take([])).model_hash
        self.history = retrained_round(self.history, due, verdict, content)
        if verdict.replace:
            self.model, self.seen = fitted.model, len(self.dataset)

    def _model(self, content: bytes) -> Predict:
        return lambda crystals: self.surrogate.predict(content, crystals)


def first_model(task: SearchTask, surrogate: Surrogate, settings: BacktestSettings, seed: int) -> bytes:
    """Return the model of the labels that a campaign begins with.

    :raises ValueError: the training failed
    """
    folds = settings.policy.folds
    dealt = with_folds(task.start, task.start, task.split, folds, seed)
    return surrogate.fit(dealt, task.split, folds, None, seed).model
