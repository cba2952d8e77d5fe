"""``goectp.active_learning``: predict, pick, verify, retrain, until a rule says stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.engine import ExitCode, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.campaign import (
    begin_dataset,
    begin_history,
    collect_labels,
    conclude_campaign,
    grow_dataset,
    rank_verified,
    read_history,
    record_round,
)
from aiida_goectp.calculations.picks import pick_batch
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.ranking import RankingData
from aiida_goectp.workflows.campaign.inputs import define_inputs, inputs_from_labels, predict_inputs, train_inputs
from aiida_goectp.workflows.campaign.retraining import RetrainingWorkChain
from aiida_goectp.workflows.campaign.stop import stop_requested
from aiida_goectp.workflows.dfpt.base import DfptWorkChain
from aiida_goectp.workflows.failures import failure_reason
from aiida_goectp.workflows.predict import PredictWorkChain
from aiida_goectp.workflows.protocols.mixin import ProtocolMixin, merge
from aiida_goectp.workflows.screen import runs_without_scheduler
from aiida_goectp.workflows.verify import VerifyWorkChain

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder

__all__ = ('ActiveLearningWorkChain',)

_RESPONSES = ('accepted', 'electronic_only', 'refused_responses')
_NODES = ('split', 'predictions', 'labels', 'thresholds', 'reuse', 'extend')
"""inputs that no protocol has"""


class ActiveLearningWorkChain(ProtocolMixin, RetrainingWorkChain):
    """Run a discovery campaign to its end: in each round predict the pool, pick, verify by DFPT, learn, decide.

    A label that fails is a result. A failed retraining keeps the old model. Both stand in the history, as does the
    reason of every pick. What was asked of the campaign from outside, to stop after the round, is read from the extras
    of its node (:func:`aiida_goectp.workflows.campaign.stop.request_stop`).

    Throttled: beside itself it holds at a time one prediction, or one verification with at most ``max_concurrent``
    calculations below it, or at most ``max_trainings`` trainings.
    """

    _PROTOCOL_FILE = 'active_learning.yaml'
    _FREE_KEYS = tuple(
        f'{name}.goectp.{key}'
        for name in ('predict', 'train')
        for key in ('metadata.options.resources', 'metadata.options.environment_variables', 'monitors')
    )

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        define_inputs(spec)
        steps: Any = cls  # the hints of aiida-core admit no steps of a subclass
        train = (steps.deal, while_(steps.has_members)(steps.train_members, steps.inspect_members), steps.merge)
        predict = if_(steps.lacks_predictions)(steps.predict, steps.inspect_prediction)
        spec.outline(
            steps.setup,
            if_(steps.lacks_model)(*train, steps.begin_with_model),
            while_(steps.goes_on)(
                predict,
                steps.pick,
                if_(steps.has_picks)(
                    steps.verify,
                    steps.take_labels,
                    steps.record,
                    steps.decide_retraining,
                    if_(steps.is_due)(*train, steps.compare),
                ),
            ),
            predict,
            steps.rank,
            steps.results,
        )
        cls._define_outputs(spec)

    @classmethod
    def _define_outputs(cls, spec: WorkChainSpec) -> None:
        spec.output('model', valid_type=ModelData, required=False, help='In use at the end.')
        spec.output('dataset', valid_type=DatasetData, help='The starting dataset with all labels of the campaign.')
        spec.output('history', valid_type=orm.Dict, help='All rounds: `aiida_goectp.core.selection.History`.')
        spec.output(
            'ranking',
            valid_type=RankingData,
            required=False,
            help='Of the pool, with verified values in place of predicted ones.',
        )
        spec.output(
            'stop', valid_type=orm.Dict, required=False, help='`rule` that ended it, and the `reason` in words.'
        )
        spec.output('core_hours', valid_type=orm.Float, required=False, help='Of all rounds, extended ones included.')
        spec.output_namespace('picks', valid_type=PicksData, dynamic=True, help='By round: a reason for each crystal.')
        spec.exit_code(222, 'ERROR_DATASET_REFUSED', message='The starting dataset will not do: {message}')
        spec.exit_code(223, 'ERROR_PICKING_REFUSED', message='Nothing can be picked: {message}')
        spec.exit_code(450, 'ERROR_PREDICTION_FAILED', message='The crystals could not be predicted: {message}')
        spec.exit_code(452, 'ERROR_FIRST_TRAINING_FAILED', message='There is no model to begin with: {message}')
        spec.exit_code(453, 'ERROR_VERIFICATION_BROKEN', message='A verification ended without a summary: {message}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        pool: CrystalsData,
        dataset: DatasetData,
        engine: str,
        dfpt: Mapping[str, Any] | None = None,
        model: ModelData | None = None,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
        **nodes: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param code: the executable ``goectp``, or its full label
        :param pool: crystals to search in
        :param dataset: labels that are known beforehand
        :param engine: entry point of a DFPT engine, or ``vasp``, ``quantumespresso``
        :param dfpt: arguments of the engine's ``get_builder_from_protocol`` but the structure
        :param model: to begin with; trained on the dataset if not given, and then each time from scratch, by the
            recipe for few labels if they are few (:func:`.inputs.inputs_from_labels`)
        :param protocol: fast, balanced or stringent
        :param overrides: inputs that take precedence over the protocol, nested as in its YAML file
        :param options: options of each prediction and training
        :param gpus: GPUs to ask the scheduler for, each prediction and each training
        :param nodes: further inputs: ``split``, ``predictions``, ``labels``, ``thresholds``, ``reuse``, ``extend``
        :raises ValueError: no such protocol or input, or a scheduler that cannot be asked for GPUs
        """
        if unknown := set(nodes) - set(_NODES):
            raise ValueError(f'no input is named {", ".join(sorted(unknown))}; there are {", ".join(_NODES)}')
        own = inputs_from_labels(dataset, overrides or {}) if model is None else {}
        inputs = cls.get_protocol_inputs(protocol, merge(own, overrides or {}))
        builder: Any = cls.get_builder()
        builder.predict = predict_inputs(code, protocol, inputs.get('predict'), options, gpus)
        builder.train = train_inputs(code, dataset, protocol, inputs.get('train'), options, gpus)
        for name in ('picking', 'stop_rules', 'retraining'):
            builder[name] = orm.Dict(inputs[name])
        for name in ('max_concurrent', 'max_trainings', 'seed'):
            builder[name] = orm.Int(inputs[name])
        if 'max_trainings' not in (overrides or {}) and runs_without_scheduler(builder.train['goectp']['code']):
            builder.max_trainings = orm.Int(1)
        builder.pool, builder.dataset, builder.engine = pool, dataset, orm.Str(engine)
        builder.dfpt = {
            name: value if isinstance(value, orm.Data) else orm.to_aiida_type(value)
            for name, value in (dfpt or {}).items()
        }
        for name, value in {'model': model, **nodes}.items():
            if value is not None:
                builder[name] = value
        return builder

    def setup(self) -> ExitCode | None:
        """Take what is given; whatever stage it belongs to."""
        given = self.inputs.get('extend', {})
        self.ctx.pks = {name: self.inputs[name].pk for name in ('model', 'predictions') if name in self.inputs}
        self.ctx.round, self.ctx.hours, self.ctx.stop, self.ctx.picks = 0, 0.0, None, {}
        self.ctx.split = self.inputs.split.value if 'split' in self.inputs else 'campaign'
        try:
            known = {name: self.inputs[name] for name in ('dataset', 'seed', 'split') if name in self.inputs}
            start = self.call_once('begin_dataset', begin_dataset, **known).result
            dataset = given.get('dataset', start)
            if self.ctx.split not in dataset.splits:
                raise ValueError(f'the dataset to extend has no split {self.ctx.split!r}')
            self.ctx.pks.update(start=start.pk, dataset=dataset.pk)
            if 'labels' in self.inputs:
                self._grow('grow_dataset', self.inputs.labels)
        except ValueError as error:
            return self.exit_codes.ERROR_DATASET_REFUSED.format(message=error)
        history = given.get('history', None)
        if history is None:
            history = self.call_once('begin_history', begin_history, picking=self.inputs.picking).result
        self.ctx.pks['history'] = history.pk
        return None

    def _grow(self, label: str, labels: DatasetData) -> None:
        grown = self.call_once(
            label, grow_dataset, dataset=self._known('dataset'), labels=labels, split=orm.Str(self.ctx.split)
        )
        self.ctx.pks['dataset'] = grown.dataset.pk

    def _rules(self) -> Any:
        from aiida_goectp.core.selection import StopRules, read_settings

        return read_settings(StopRules, self.inputs.stop_rules.get_dict(), 'stop_rules')

    def lacks_model(self) -> bool:
        """Return whether the model to begin with is still to be trained."""
        self.ctx.fine_tune = False
        return 'model' not in self.inputs

    def begin_with_model(self) -> ExitCode | None:
        """Begin with the model that was trained on the starting dataset; without one there is no campaign."""
        self.ctx.hours += self.ctx.training_hours
        if self.ctx.failure:
            return self._end(self.exit_codes.ERROR_FIRST_TRAINING_FAILED.format(message=self.ctx.failure))
        self.ctx.pks['model'] = self.ctx.pks['new_model']
        return None

    def goes_on(self) -> bool:
        """Return whether another round is to be begun; note why not."""
        from aiida_goectp.core.selection import should_stop

        history = read_history(self._known('history'))
        self.ctx.round = len(history.rounds) + 1
        if self.ctx.stop is None:
            fired = should_stop(history, self._rules())
            if fired is not None:
                self.ctx.stop = {'rule': fired.rule, 'reason': fired.reason, 'by': 'history'}
            elif stop_requested(self.node):
                reason = f'it was asked to stop after round {self.ctx.round - 1}'
                self.ctx.stop = {'rule': 'requested', 'reason': reason, 'by': 'request'}
        if self.ctx.stop is not None:
            self.report(f'stops by {self.ctx.stop["rule"]}: {self.ctx.stop["reason"]}')
        return self.ctx.stop is None

    def lacks_predictions(self) -> bool:
        """Return whether the model in use has not predicted the pool yet."""
        return self.ctx.pks.get('predictions') is None

    def predict(self) -> None:
        """Predict the pool by the model in use."""
        inputs = self.exposed_inputs(PredictWorkChain, 'predict')
        inputs.goectp.crystals = self.inputs.pool
        inputs.goectp.model = self._known('model')
        node = self.submit_once(self._labelled('predict'), PredictWorkChain, inputs)
        self.ctx.prediction = node.pk
        self.to_context(child_predict=node)

    def inspect_prediction(self) -> ExitCode | None:
        """Take the predictions; rows that failed are results."""
        node: Any = orm.load_node(self.ctx.prediction)
        self.ctx.hours += DfptWorkChain.core_hours(node)
        if 'predictions' not in node.outputs:
            return self._end(self.exit_codes.ERROR_PREDICTION_FAILED.format(message=failure_reason(node)))
        self.ctx.pks['predictions'] = node.outputs.predictions.pk
        return None

    def pick(self) -> ExitCode | None:
        """Pick the batch of this round, unless the candidates say that it is time to stop."""
        from aiida_goectp.core.selection import should_stop, summarise_candidates

        try:
            picked = self.call_once(
                self._labelled('pick'),
                pick_batch,
                pool=self.inputs.pool,
                **{name: self._known(name) for name in ('predictions', 'dataset', 'history')},
                **{name: self.inputs[name] for name in ('picking', 'stop_rules', 'seed')},
            )
        except ValueError as error:
            return self._end(self.exit_codes.ERROR_PICKING_REFUSED.format(message=error))
        self.ctx.pks['picks'] = picked.picks.pk
        self.ctx.picks[f'round_{self.ctx.round:02d}'] = picked.picks.pk
        rules = self._rules()
        outlook = summarise_candidates(picked.picks.picks, rules)
        fired = should_stop(read_history(self._known('history')), rules, outlook)
        if fired is not None:
            self.ctx.stop = {'rule': fired.rule, 'reason': fired.reason, 'by': 'picks'}
            return None
        self.ctx.pks['selection'] = picked.selection.pk
        chosen = [item['id'] for item in picked.selection.get_list()]
        self.report(f'round {self.ctx.round}: {len(chosen)} of {outlook.candidates} candidates, first {chosen[0]}')
        return None

    def has_picks(self) -> bool:
        """Return whether there is anything to verify."""
        return self.ctx.stop is None

    def verify(self) -> None:
        """Compute the picks by DFPT, as far as the budget of core-hours goes."""
        selection: Any = self._known('selection')
        structures: Any = selection.creator.outputs.structures
        inputs: dict[str, Any] = {
            'selection': selection,
            'structures': {item['structure']: structures[item['structure']] for item in selection.get_list()},
            'predictions': self._known('predictions'),
            **{name: self.inputs[name] for name in ('engine', 'reuse', 'max_concurrent')},
            **{name: self.inputs[name] for name in ('dfpt', 'thresholds') if name in self.inputs},
        }
        limit = self._rules().max_core_hours
        if limit is not None:
            inputs['max_core_hours'] = orm.Float(
                max(limit - read_history(self._known('history')).core_hours - self.ctx.hours, 1e-6)
            )
        node = self.submit_once(self._labelled('verify'), VerifyWorkChain, inputs)
        self.ctx.verification = node.pk
        self.to_context(child_verify=node)

    def take_labels(self) -> ExitCode | None:
        """Take the responses through their verdicts into the dataset; that all failed is a result, too."""
        node: Any = orm.load_node(self.ctx.verification)
        if 'summary' not in node.outputs:
            return self._end(self.exit_codes.ERROR_VERIFICATION_BROKEN.format(message=failure_reason(node)))
        self.ctx.pks.update(summary=node.outputs.summary.pk, labels=None)
        responses: dict[str, Any] = {}
        for space in _RESPONSES:
            if space in node.outputs:
                responses.update(node.outputs[space])
        if responses:
            made = self.call_once(
                self._labelled('labels'),
                collect_labels,
                pool=self.inputs.pool,
                selection=self._known('selection'),
                responses=responses,
                qualities={name: node.outputs.verdicts[name] for name in responses},
            )
            self.ctx.pks['labels'] = made.result.pk
            self._grow(self._labelled('grow'), made.result)
        return None

    def record(self) -> None:
        """Write the round into the history."""
        names = (
            'history',
            'picks',
            'selection',
            'summary',
            'dataset',
            *(('labels',) if self.ctx.pks['labels'] else ()),
        )
        done = self.call_once(
            self._labelled('record'),
            record_round,
            pool=self.inputs.pool,
            stop_rules=self.inputs.stop_rules,
            record=orm.Dict({'core_hours': self.ctx.hours}),
            **{name: self._known(name) for name in names},
        )
        self.ctx.pks['history'], self.ctx.hours = done.result.pk, 0.0

    def rank(self) -> None:
        """Rank the pool by what is verified, and by predictions where nothing is."""
        ranked = self.call_once(
            'rank_verified',
            rank_verified,
            pool=self.inputs.pool,
            picking=self.inputs.picking,
            **{name: self._known(name) for name in ('predictions', 'dataset', 'history')},
        )
        self.out('ranking', ranked.result)

    def results(self) -> None:
        """Say why it ended and what came of it."""
        noted = {'core_hours': self.ctx.hours}
        if self.ctx.stop['by'] == 'request':
            noted |= {name: self.ctx.stop[name] for name in ('rule', 'reason')}
        more = {'picks': self._known('picks')} if self.ctx.stop['by'] == 'picks' else {}
        concluded = self.call_once(
            'conclude_campaign',
            conclude_campaign,
            history=self._known('history'),
            stop_rules=self.inputs.stop_rules,
            record=orm.Dict(noted),
            **more,
        )
        self.out('stop', concluded.stop)
        self.out('core_hours', concluded.core_hours)
        self._attach()

    def _attach(self) -> None:
        """Attach what there is, also of a campaign that breaks off: another one can be begun with it."""
        for name in ('model', 'dataset', 'history'):
            if self.ctx.pks.get(name) is not None:
                self.out(name, self._known(name))
        for name, pk in self.ctx.picks.items():
            self.out(f'picks.{name}', orm.load_node(pk))

    def _end(self, code: ExitCode) -> ExitCode:
        self._attach()
        return code
