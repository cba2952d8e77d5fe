"""Predictions of the pool of a campaign, of all crystals or of those that pruning leaves, and the end of a campaign."""

from __future__ import annotations

from aiida import orm
from aiida.engine import ExitCode

from aiida_goectp.calculations.campaign import add_core_hours
from aiida_goectp.calculations.picks import fill_predictions, prune_pool
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection import Picks, PickSettings, StopRules
from aiida_goectp.core.selection.pruning import predict_all_first
from aiida_goectp.core.selection.stopping import Stop
from aiida_goectp.workflows.campaign.inputs import kept_inputs
from aiida_goectp.workflows.dfpt.base import DfptWorkChain
from aiida_goectp.workflows.failures import failure_reason
from aiida_goectp.workflows.predict import PredictWorkChain
from aiida_goectp.workflows.submit_once import SubmitOnceMixin

__all__ = ('PoolPredictionMixin',)


class PoolPredictionMixin(SubmitOnceMixin):
    """Steps of a campaign that predict its pool.

    In the context, ``all_predicted`` are the last predictions of all crystals, ``models`` is the number of the model in
    use, from 1 for the one that made them, and ``pruned`` are the crystals that the next models predict, None for
    all. The preparation of the crystals is kept for each of the two sets.
    """

    def _label(self, call: str) -> str:
        """Return the label of a call of this round."""
        return f'round_{self.ctx.round:02d}_{call}'

    def should_run_prediction(self) -> bool:
        """Return whether the model in use has not predicted the pool."""
        return self.ctx.predictions is None

    def run_prediction(self) -> None:
        """Submit the prediction by the model in use, of the pool or of what pruning leaves of it."""
        self._prune()
        label, crystals, prepared = 'predict', self.inputs.pool, self.ctx.get('prepared', None)
        if self.ctx.pruned is not None:
            label, crystals, prepared = 'predict_again', self.ctx.pruned, self.ctx.get('prepared_again', None)
        inputs = self.exposed_inputs(PredictWorkChain, 'predict')
        kept = kept_inputs('train' in self.inputs, self.ctx.model, prepared)
        inputs.goectp.update(crystals=crystals, model=self.ctx.model, **kept)
        self.to_context(prediction=self.submit_once(self._label(label), PredictWorkChain, inputs))

    def _prune(self) -> None:
        """Set the crystals to predict: None for all of them."""
        settings = read_settings(PickSettings, self.inputs.picking.get_dict(), 'picking').pruning
        done = self.ctx.stop is not None or self.ctx.all_predicted is None
        if settings is None or done or self.ctx.models > settings.every:
            self.ctx.pruned = None
        elif self.ctx.pruned is None:
            crystals = self.call_once(
                self._label('prune'),
                prune_pool,
                **{name: self.inputs[name] for name in ('pool', 'picking')},
                **{name: self.ctx[name] for name in ('dataset', 'history')},
                predictions=self.ctx.all_predicted,
            ).result
            self.ctx.pruned, self.ctx.prepared_again = crystals if len(crystals) else None, None
            self.report(f'{len(crystals)} of {len(self.inputs.pool)} crystals are predicted by the next models')

    def inspect_prediction(self) -> ExitCode | None:
        """Take the predictions, also those with failed rows."""
        node = self.ctx.prediction
        self.ctx.core_hours += DfptWorkChain.core_hours(node)
        if 'predictions' not in node.outputs:
            return self._end(self.exit_codes.ERROR_PREDICTION_FAILED.format(message=failure_reason(node)))
        predictions, kept = node.outputs.predictions, 'prepared'
        if self.ctx.pruned is None:
            self.ctx.predictions, self.ctx.all_predicted, self.ctx.models = predictions, predictions, 1
        else:
            filled = self.call_once(
                self._label('fill'), fill_predictions, pool=self.inputs.pool, predictions=predictions
            )
            self.ctx.predictions, kept = filled.result, 'prepared_again'
        if 'prepared' in node.outputs:
            self.ctx[kept] = node.outputs.prepared
        return None

    def _predicts_all_next(self, picks: Picks, number: int, stop: Stop | None) -> bool:
        """Return whether the batch is to be picked again, and drop the predictions of the pruned pool if so.

        :param number: size of the batch
        :param stop: rule that stops the campaign because of the candidates
        """
        if self.ctx.pruned is None or not predict_all_first(picks, number, stop):
            return False
        self.report(f'round {self.ctx.round}: too few candidates in the pruned pool; all crystals are predicted')
        self.ctx.predictions, self.ctx.all_predicted, self.ctx.pruned = None, None, None
        return True

    def _rules(self) -> StopRules:
        return read_settings(StopRules, self.inputs.stop_rules.get_dict(), 'stop_rules')

    def _ends_by(self, stop: Stop | None, by: str) -> bool:
        """Return whether a rule ends the campaign, and set it with the core-hours since the last round if so.

        :param by: what meets the rule: ``history``, or ``picks`` for the candidates
        """
        if stop is not None:
            self.ctx.stop = {'rule': stop.rule, 'reason': stop.reason, 'by': by, 'spent': self.ctx.core_hours}
        return stop is not None

    def _add_core_hours(self) -> None:
        """Add the core-hours since the last round to the history, which an extension continues."""
        spent, history = self.ctx.get('core_hours', 0.0), self.ctx.get('history', None)
        if spent and history is not None:
            added = self.call_once('add_core_hours', add_core_hours, history=history, core_hours=orm.Float(spent))
            self.ctx.history, self.ctx.core_hours = added.result, 0.0

    def _end(self, code: ExitCode) -> ExitCode:
        self.attach_partial_results()
        return code
