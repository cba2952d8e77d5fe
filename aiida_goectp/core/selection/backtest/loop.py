"""One campaign on hidden labels, with the decision functions of the work chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.alignment import NOT_PREDICTED_AGAIN, align_predictions
from aiida_goectp.core.dielectric.gate_codes import VerdictLabel
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.selection.backtest.hidden import SearchTask
from aiida_goectp.core.selection.backtest.settings import BacktestSettings
from aiida_goectp.core.selection.folds import add_labels, count_new_labels, with_folds
from aiida_goectp.core.selection.history import History, Round
from aiida_goectp.core.selection.known import KnownCrystals
from aiida_goectp.core.selection.model_errors import Predict, comparison_errors
from aiida_goectp.core.selection.picking import pick
from aiida_goectp.core.selection.picks import Picks
from aiida_goectp.core.selection.pruning import predict_all_first, rows_to_predict
from aiida_goectp.core.selection.retraining import compare_models, decide_retraining
from aiida_goectp.core.selection.rounds import (
    Outcome,
    retrained_round,
    summarise_candidates,
    verified_round,
    with_seeds,
)
from aiida_goectp.core.selection.stopping import Stop, allowed_picks, should_stop

__all__ = ('Campaign', 'FittedModel', 'Pruned', 'RoundRecord', 'Surrogate', 'first_model')


class FittedModel(NamedTuple):
    """A trained committee, as the content of files."""

    model: bytes
    """the committee"""
    members: tuple[bytes, ...]
    """each member as a model of its own, in the order of the folds"""
    functionals: Sequence[str] = ()
    """that the model distinguishes, the predicted one first"""


class Surrogate(Protocol):
    """A model that can be trained, for example :class:`aiida_goectp.core.learning.surrogate.NetworkSurrogate`."""

    def fit(self, dataset: Dataset, split: str, folds: int, initial: bytes | None, seed: int) -> FittedModel:
        """Train a committee, member k on the part train of the split of fold k.

        :param dataset: with folds, see :func:`aiida_goectp.core.selection.folds.with_folds`
        :param split: the base split
        :param folds: number of members
        :param initial: committee with the initial weights, None for a training from scratch
        :param seed: of the campaign
        :raises ValueError: the training failed
        """

    def predict(self, model: bytes, crystals: CrystalSet) -> Predictions:
        """Return the predictions of a committee or of a member."""

    def members(self, model: bytes) -> list[bytes]:
        """Return each member of a committee as a model of its own."""


class Pruned(NamedTuple):
    """Crystals that the model in use predicts, see :mod:`aiida_goectp.core.selection.pruning`."""

    model: int = 1
    """number of the model, from 1 for the one that predicts all"""
    rows: list[int] | None = None
    """of the pool, None for all"""
    predicted: bool = False
    """whether the model has predicted them"""


class RoundRecord(NamedTuple):
    """State of a campaign after a round, sufficient to resume it."""

    labels: int
    """labels requested so far"""
    found: int
    """best crystals found so far"""
    round: Round | None
    """None before the first round"""
    predicted: int = 0
    """crystals predicted so far by new models, counted once a model; only if the pool is pruned"""
    pruned: Pruned | None = None
    """what the next model predicts; only if the pool is pruned"""

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        done = None if self.round is None else self.round.model_dump(mode='json')
        values = {'labels': self.labels, 'found': self.found, 'round': done}
        if self.pruned is not None:
            values |= {'predicted': self.predicted, 'pruned': self.pruned._asdict()}
        return values


class Campaign:
    """A campaign of one seed and one acquisition function.

    :param task: starting labels, pool, and crystals to find
    :param surrogate: trains and predicts
    :param settings: of the backtest
    :param acquisition: text, see :func:`.settings.read_acquisition`
    :param seed: of the campaign
    :param model: starting model, trained on the starting labels or on other data
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
        self.trained_rows = len(task.start)
        """number of first rows of the dataset that were available to the training of the model in use"""
        self.pruned = None if settings.pruning is None else Pruned()
        self.predicted = 0

    def state(self) -> RoundRecord:
        """Return the present state."""
        rounds, found = self.history.rounds, self.task.found(self.dataset.crystals)
        last = rounds[-1] if rounds else None
        return RoundRecord(self.history.calculations, int(found.sum()), last, self.predicted, self.pruned)

    def resume(self, records: list[RoundRecord], model: bytes) -> None:
        """Resume the campaign after completed rounds.

        :param records: all so far
        :param model: the model in use after these rounds
        :raises FormatError: rounds of another campaign
        """
        self.predicted, self.pruned = records[-1].predicted, records[-1].pruned
        for completed in (record.round for record in records if record.round is not None):
            self.history = self.history.with_round(completed)
            self.dataset = self._with_labels([item.hash for item in completed.picks])
            if completed.adopted:
                self.trained_rows = len(self.dataset)
        self.model = model

    def advance(self) -> RoundRecord | Stop:
        """Run one round and return the new state, or return the rule that ends the campaign."""
        rules, pool = self.settings.rules, self.task.pool
        if (stop := should_stop(self.history, rules)) is not None:
            return stop
        number = allowed_picks(self.history, rules, self.settings.batch_size)
        predictions = self._predict()
        picks, stop = self._pick(predictions, number)
        is_pruned = self.pruned is not None and self.pruned.rows is not None
        if is_pruned and predict_all_first(picks, number, stop):
            self.pruned = Pruned()
            predictions = self._predict()
            picks, stop = self._pick(predictions, number)
        if stop is not None:
            return stop
        hidden = self.task.hidden
        outcomes = {
            str(pool.hashes[row]): Outcome(
                VerdictLabel.ACCEPTED.value, electronic=hidden.electronic[row], ionic=hidden.ionic[row]
            )
            for row in picks.rows.tolist()
        }
        self.dataset = self._with_labels(list(outcomes))
        self.history = verified_round(self.history, picks, pool, outcomes, self.dataset, rules)
        self._retrain()
        if self.pruned is not None and self.history.rounds[-1].adopted:
            self.pruned = self._prune(predictions)
        return self.state()

    def _pick(self, predictions: Predictions, number: int) -> tuple[Picks, Stop | None]:
        """Return the batch, and the rule that ends the campaign because of its candidates."""
        rules = self.settings.rules
        picks = pick(
            self.task.pool,
            predictions,
            self._known(),
            self.picking,
            round_number=len(self.history.rounds) + 1,
            number=number,
            matcher=self.task.matcher,
        )
        return picks, should_stop(self.history, rules, summarise_candidates(picks, rules))

    def _known(self) -> KnownCrystals:
        merit, outcomes = self.settings.figure_of_merit, self.history.outcomes()
        return KnownCrystals.of_dataset(self.dataset, merit, self.task.pool, outcomes)

    def _predict(self) -> Predictions:
        """Return the predictions of the pool by the model in use; rows that pruning leaves out are failed ones."""
        pool, pruned = self.task.pool, self.pruned
        crystals = pool if pruned is None or pruned.rows is None else pool.take(pruned.rows)
        if pruned is not None and not pruned.predicted:
            self.predicted += len(crystals)
            self.pruned = pruned._replace(predicted=True)
        return align_predictions(pool, self.surrogate.predict(self.model, crystals), NOT_PREDICTED_AGAIN)[0]

    def _prune(self, last: Predictions) -> Pruned:
        """Return what the next model predicts, as the work chain does.

        :param last: predictions by the model before it
        """
        settings, pruned, pool = self.picking.pruning, self.pruned, self.task.pool
        assert settings is not None
        assert pruned is not None
        if pruned.model >= settings.every:
            return Pruned()
        rows = pruned.rows
        if rows is None:
            rows = rows_to_predict(pool, last, self._known(), self.picking, self.task.matcher).tolist() or None
        return Pruned(pruned.model + 1, rows)

    def _with_labels(self, hashes: list[str]) -> Dataset:
        """Return the dataset with the labels of crystals of the pool.

        :param hashes: content hashes
        :raises FormatError: crystals that are not in the pool
        """
        rows = {str(name): row for row, name in enumerate(self.task.pool.hashes)}
        if unknown := [name for name in hashes if name not in rows]:
            raise FormatError(
                f'{len(unknown)} picks are not in the pool, first {unknown[0]}; they belong to another one'
            )
        labels = self.task.hidden.take([rows[name] for name in hashes])
        return add_labels(self.dataset, labels, self.task.split)[0]

    def _retrain(self) -> None:
        """Train a new model if it is due, and adopt it if it is not worse."""
        policy, split = self.settings.policy, self.task.split
        previous = self.dataset.take(np.arange(self.trained_rows))
        decision = decide_retraining(self.history, policy, count_new_labels(self.dataset, previous, split))
        if not decision.retrain:
            self.history = retrained_round(self.history, decision)
            return
        dataset = with_folds(self.dataset, self.task.start, split, policy.folds, self.seed)
        initial = self.model if decision.mode == 'fine-tune' else None
        try:
            fitted = self.surrogate.fit(dataset, split, policy.folds, initial, self.seed)
        except ValueError as error:
            self.history = retrained_round(self.history, decision, compare_models({}, None, policy, str(error)))
            return
        models = (self._model(self.model), self._model(fitted.model), [self._model(one) for one in fitted.members])
        old_members = [self._model(one) for one in self.surrogate.members(self.model)]
        merit = self.settings.figure_of_merit
        errors = comparison_errors(dataset, previous, split, merit, *models, old_members, fitted.functionals)
        result = compare_models(*errors, policy)
        content_hash = self.surrogate.predict(fitted.model, self.task.pool.take([])).model_hash
        self.history = retrained_round(self.history, decision, result, content_hash)
        if result.replace:
            self.model, self.trained_rows = fitted.model, len(self.dataset)

    def _model(self, content: bytes) -> Predict:
        return lambda crystals: self.surrogate.predict(content, crystals)


def first_model(task: SearchTask, surrogate: Surrogate, settings: BacktestSettings, seed: int) -> bytes:
    """Return a model that is trained on the starting labels.

    :raises ValueError: the training failed
    """
    folds = settings.policy.folds
    dataset = with_folds(task.start, task.start, task.split, folds, seed)
    return surrogate.fit(dataset, task.split, folds, None, seed).model
