"""``goectp.active_learning``: a discovery campaign of rounds that predict, pick, verify and retrain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida import orm
from aiida.engine import ExitCode, ProcessBuilder, if_, while_
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
from aiida_goectp.calculations.retraining import record_retraining
from aiida_goectp.core.formats.settings import unknown_key
from aiida_goectp.core.selection import (
    allowed_picks,
    should_stop,
    summarise_candidates,
)
from aiida_goectp.core.selection.folds import BASE_SPLIT
from aiida_goectp.core.selection.history import UNFINISHED
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.picks import PicksData
from aiida_goectp.data.ranking import RankingData
from aiida_goectp.workflows.campaign.inputs import SETTINGS, define_inputs, inputs_from_labels
from aiida_goectp.workflows.campaign.pool import PoolPredictionMixin
from aiida_goectp.workflows.campaign.retrain import RetrainWorkChain, decision_of
from aiida_goectp.workflows.campaign.stop import REQUESTED, stop_requested
from aiida_goectp.workflows.campaign.validation import hold_out_warning
from aiida_goectp.workflows.dfpt.base import DfptWorkChain
from aiida_goectp.workflows.dfpt.engines import argument_nodes
from aiida_goectp.workflows.failures import failure_reason
from aiida_goectp.workflows.predict import PredictWorkChain
from aiida_goectp.workflows.protocols.mixin import ProtocolMixin, merge
from aiida_goectp.workflows.protocols.overrides import Check, as_argument, prefixed, settings_of
from aiida_goectp.workflows.screen import runs_without_scheduler
from aiida_goectp.workflows.train import TrainWorkChain
from aiida_goectp.workflows.verify import VerifyWorkChain

__all__ = ('ActiveLearningWorkChain',)

_RESPONSES = ('accepted', 'electronic_only', 'refused_responses')
"""output namespaces of a verification with responses"""
_NODES = ('split', 'predictions', 'labels', 'thresholds', 'reuse', 'extend')
"""inputs that no protocol contains"""
_ALL_FAILED = 'all_failed'
"""output ``stop`` of a campaign of which a whole round failed"""


class ActiveLearningWorkChain(ProtocolMixin, PoolPredictionMixin):
    """Run a discovery campaign: predict the pool, pick, verify by DFPT, add the labels, retrain, and repeat.

    A failed label is a result; a round in which all calculations failed ends the campaign, and its picks remain
    candidates. A failed retraining keeps the model in use. The history records both, and the reason of
    each pick. :func:`aiida_goectp.workflows.campaign.stop.request_stop` requests a stop after the current round.

    At any time the campaign runs one prediction, or one verification with at most ``max_concurrent`` calculations, or
    one retraining with at most ``max_trainings`` members in training.
    """

    _PROTOCOL_FILE = 'active_learning.yaml'
    _CHECKS: ClassVar[Mapping[str, Check]] = {
        **dict.fromkeys(('metadata', 'pool', 'dataset', 'engine', 'dfpt', 'model', *_NODES), as_argument),
        **{name: settings_of(model) for name, model in SETTINGS.items()},
        **prefixed('predict', PredictWorkChain._CHECKS),
        **prefixed('train', TrainWorkChain._CHECKS),
    }

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        define_inputs(spec)
        steps: Any = cls  # the type hints of aiida-core do not admit steps of a subclass
        predict = if_(steps.should_run_prediction)(steps.run_prediction, steps.inspect_prediction)
        spec.outline(
            steps.setup,
            if_(steps.should_train_first_model)(
                steps.run_retraining,
                steps.inspect_first_training,
            ),
            while_(steps.should_continue)(
                predict,
                steps.pick,
                if_(steps.should_verify)(
                    steps.run_verification,
                    steps.inspect_verification,
                    steps.update_history,
                    steps.decide_retraining,
                    if_(steps.should_retrain)(
                        steps.run_retraining,
                        steps.inspect_retraining,
                    ),
                ),
            ),
            predict,
            steps.rank,
            steps.results,
        )
        cls._define_outputs(spec)

    @classmethod
    def _define_outputs(cls, spec: WorkChainSpec) -> None:
        unless = (
            'absent if it is an input: `aiida_goectp.workflows.campaign.state.campaign_state` returns it in any case.'
        )
        for name, kind, meaning in (
            ('model', ModelData, 'Model in use at the end'),
            ('dataset', DatasetData, 'Starting dataset with all labels of the campaign'),
            ('history', orm.Dict, 'All rounds, `aiida_goectp.core.selection.History`'),
        ):
            spec.output(name, valid_type=kind, required=False, help=f'{meaning}; {unless}')
        spec.output(
            'ranking',
            valid_type=RankingData,
            required=False,
            help='Ranking of the pool by verified values where there are any, else by predictions.',
        )
        spec.output(
            'stop', valid_type=orm.Dict, required=False, help='The `rule` that ended the campaign, and its `reason`.'
        )
        spec.output(
            'core_hours', valid_type=orm.Float, required=False, help='Cost of all rounds, those extended included.'
        )
        spec.output_namespace('picks', valid_type=PicksData, dynamic=True, help='By round: a reason for each crystal.')
        spec.exit_code(222, 'ERROR_DATASET_REFUSED', message='Invalid starting dataset: {message}')
        spec.exit_code(223, 'ERROR_PICKING_REFUSED', message='No crystal can be picked: {message}')
        spec.exit_code(450, 'ERROR_PREDICTION_FAILED', message='The crystals could not be predicted: {message}')
        spec.exit_code(452, 'ERROR_FIRST_TRAINING_FAILED', message='The first model could not be trained: {message}')
        spec.exit_code(453, 'ERROR_VERIFICATION_BROKEN', message='A verification ended without a summary: {message}')
        spec.exit_code(
            454,
            'ERROR_ALL_CALCULATIONS_FAILED',
            message='{message}. Correct the engine or its codes and extend the campaign.',
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        pool: Any,
        dataset: Any,
        engine: str,
        dfpt: Mapping[str, Any] | None = None,
        model: Any = None,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
        **nodes: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param code: the executable ``goectp``, or its full label
        :param pool: crystals to search in, as for :func:`.to_crystals`
        :param dataset: starting dataset: a node, or a dataset of the library
        :param engine: entry point of a DFPT engine, or ``vasp``, ``quantumespresso``
        :param dfpt: arguments of the engine's ``get_builder_from_protocol`` without the structure
        :param model: model to start with (node, file or shipped name). Without it, one is trained on the dataset, and
            each later one from scratch; with few labels by :func:`.inputs.inputs_from_labels`
        :param protocol: fast, balanced or stringent
        :param overrides: inputs that take precedence over the protocol, nested as in its YAML file
        :param options: options of each prediction and training
        :param gpus: number of GPUs to request from the scheduler for each prediction and each training
        :param nodes: further inputs: ``split``, ``predictions``, ``labels``, ``thresholds``, ``reuse``, ``extend``
        :raises ValueError: an unknown protocol or input, or a scheduler from which GPUs cannot be requested
        """
        if unknown := set(nodes) - set(_NODES):
            raise ValueError(unknown_key(min(unknown), _NODES, 'input'))
        dataset = DatasetData.wrap(dataset)
        own = inputs_from_labels(dataset, overrides or {}) if model is None else {}
        inputs = cls.get_protocol_inputs(protocol, merge(own, overrides or {}))
        train = merge({'goectp': {'settings': {'members': 1}}}, inputs.get('train') or {})
        builder: Any = cls.get_builder()
        builder.predict = PredictWorkChain.inputs_from_protocol(code, protocol, inputs.get('predict'), options, gpus)
        builder.train = TrainWorkChain.inputs_from_protocol(code, protocol, train, options, gpus)
        for name in ('picking', 'stop_rules', 'retraining'):
            builder[name] = orm.Dict(inputs[name])
        for name in ('max_concurrent', 'max_trainings', 'seed'):
            builder[name] = orm.Int(inputs[name])
        if 'max_trainings' not in (overrides or {}) and runs_without_scheduler(builder.train['goectp']['code']):
            builder.max_trainings = orm.Int(1)
        builder.pool, builder.dataset, builder.engine = pool, dataset, orm.Str(engine)
        builder.dfpt = argument_nodes(engine, dfpt or {})
        for name, value in {'model': model, **nodes}.items():
            if value is not None:
                builder[name] = value
        return builder

    def setup(self) -> ExitCode | None:
        """Initialize model, dataset and history, from the inputs or from the campaign that is extended."""
        extended = self.inputs.get('extend', {})
        self.ctx.model, self.ctx.predictions = (self.inputs.get(name, None) for name in ('model', 'predictions'))
        self.ctx.round, self.ctx.core_hours, self.ctx.stop, self.ctx.picks = 0, 0.0, None, {}
        self.ctx.all_predicted, self.ctx.pruned, self.ctx.models = self.ctx.predictions, None, 1
        self.ctx.mode = 'scratch'
        self.ctx.split = self.inputs.split.value if 'split' in self.inputs else BASE_SPLIT
        given = {name: self.inputs.get(name, None) for name in ('dataset', 'seed', 'split')}
        try:
            self.ctx.start = self.call_once('begin_dataset', begin_dataset, **given).result
            self.ctx.dataset = extended.get('dataset', self.ctx.start)
            if self.ctx.split not in self.ctx.dataset.splits:
                raise ValueError(f'the dataset to extend has no split {self.ctx.split!r}')
            if 'labels' in self.inputs:
                self._add_labels('grow_dataset', self.inputs.labels)
        except ValueError as error:
            return self.exit_codes.ERROR_DATASET_REFUSED.format(message=error)
        self.ctx.history = extended.get('history', None)
        if self.ctx.history is None:
            self.ctx.history = self.call_once('begin_history', begin_history, picking=self.inputs.picking).result
        if warning := hold_out_warning(self.inputs):
            self.report(f'warning: {warning}')
        return None

    def _add_labels(self, label: str, labels: DatasetData) -> None:
        grown = self.call_once(
            label, grow_dataset, dataset=self.ctx.dataset, labels=labels, split=orm.Str(self.ctx.split)
        )
        self.ctx.dataset = grown.dataset

    def should_train_first_model(self) -> bool:
        """Return whether no model is given."""
        return self.ctx.model is None

    def run_retraining(self) -> None:
        """Submit the training of a committee on all labels."""
        train = self.exposed_inputs(TrainWorkChain, 'train')
        name = train.goectp.name.value if 'name' in train.goectp else 'campaign'
        train.goectp.name = orm.Str(f'{name}-round-{self.ctx.round:02d}')
        inputs = {
            **{name: self.inputs[name] for name in ('picking', 'retraining', 'seed', 'max_trainings')},
            **{name: self.ctx[name] for name in ('dataset', 'start', 'model') if self.ctx[name] is not None},
            'split': orm.Str(self.ctx.split),
            'mode': orm.Str(self.ctx.mode),
            'train': train,
        }
        self.to_context(training=self.submit_once(self._label('retrain'), RetrainWorkChain, inputs))

    def inspect_first_training(self) -> ExitCode | None:
        """Start with the model that was trained on the starting dataset."""
        node = self.ctx.training
        self.ctx.core_hours += DfptWorkChain.core_hours(node)
        if not node.is_finished_ok:
            message = node.exit_message or failure_reason(node)
            return self._end(self.exit_codes.ERROR_FIRST_TRAINING_FAILED.format(message=message))
        self.ctx.model = node.outputs.model
        return None

    def should_continue(self) -> bool:
        """Return whether no rule and no request ends the campaign."""
        history = read_history(self.ctx.history)
        self.ctx.round = len(history.rounds) + 1
        if self.ctx.stop is None:
            stop = should_stop(history, self._rules(), spent=self.ctx.core_hours)
            if not self._ends_by(stop, 'history') and stop_requested(self.node):
                reason = f'a stop after round {self.ctx.round - 1} was requested'
                self.ctx.stop = {'rule': REQUESTED, 'reason': reason, 'by': 'request'}
        if self.ctx.stop is not None:
            if self.ctx.pruned is not None:  # the final ranking needs all crystals
                self.ctx.predictions, self.ctx.pruned = None, None
            self.report(f'stopped by {self.ctx.stop["rule"]}: {self.ctx.stop["reason"]}')
        return self.ctx.stop is None

    def pick(self) -> ExitCode | None:
        """Pick the batch of this round, unless a rule stops the campaign because of the candidates or the cost so far.

        If a pruned pool has too few, there is no selection, and the loop predicts all crystals and picks again.
        """
        place = f'round_{self.ctx.round:02d}'
        self.ctx.selection = None
        rules, history = self._rules(), read_history(self.ctx.history)
        if self._ends_by(should_stop(history, rules, spent=self.ctx.core_hours), 'history'):
            return None  # the prediction exhausted the budget
        try:
            picked = self.call_once(
                self._label('pick_again' if place in self.ctx.picks else 'pick'),
                pick_batch,
                **{name: self.inputs[name] for name in ('pool', 'picking', 'stop_rules', 'seed')},
                **{name: self.ctx[name] for name in ('predictions', 'dataset', 'history', 'model')},
            )
        except ValueError as error:
            return self._end(self.exit_codes.ERROR_PICKING_REFUSED.format(message=error))
        self.ctx.picks[place] = picked.picks
        picks = picked.picks.picks
        candidates = summarise_candidates(picks, rules)
        stop = should_stop(history, rules, candidates)
        if self._predicts_all_next(picks, allowed_picks(history, rules, picks.settings['batch_size']), stop):
            return None
        if self._ends_by(stop, 'picks'):
            return None
        self.ctx.selection = picked.selection
        ids = [item['id'] for item in picked.selection.get_list()]
        self.report(f'round {self.ctx.round}: picked {len(ids)} of {candidates.candidates} candidates, first {ids[0]}')
        return None

    def should_verify(self) -> bool:
        """Return whether crystals were picked."""
        return self.ctx.stop is None and self.ctx.selection is not None

    def run_verification(self) -> None:
        """Submit the verification of the picks, with the remaining budget of core-hours."""
        inputs: dict[str, Any] = {
            **{name: self.ctx[name] for name in ('selection', 'predictions')},
            'structures': self.ctx.selection.creator.outputs.structures,
            **{name: self.inputs[name] for name in ('engine', 'reuse', 'max_concurrent')},
            **{name: self.inputs[name] for name in ('dfpt', 'thresholds') if name in self.inputs},
        }
        limit = self._rules().max_core_hours
        if limit is not None:
            spent = read_history(self.ctx.history).core_hours + self.ctx.core_hours
            inputs['max_core_hours'] = orm.Float(limit - spent)  # positive, see pick
        self.to_context(verification=self.submit_once(self._label('verify'), VerifyWorkChain, inputs))

    def inspect_verification(self) -> ExitCode | None:
        """Add the responses with their gate results to the dataset; a round without any response is a result too."""
        outputs = self.ctx.verification.outputs
        if 'summary' not in outputs:
            message = failure_reason(self.ctx.verification)
            return self._end(self.exit_codes.ERROR_VERIFICATION_BROKEN.format(message=message))
        self.ctx.labels = None
        responses: dict[str, Any] = {}
        for space in _RESPONSES:
            if space in outputs:
                responses |= dict(outputs[space])
        if responses:
            self.ctx.labels = self.call_once(
                self._label('labels'),
                collect_labels,
                pool=self.inputs.pool,
                selection=self.ctx.selection,
                responses=responses,
                qualities={name: outputs.verdicts[name] for name in responses},
            ).result
            self._add_labels(self._label('grow'), self.ctx.labels)
        return None

    def update_history(self) -> None:
        """Add the round to the history."""
        recorded = self.call_once(
            self._label('record'),
            record_round,
            **{name: self.inputs[name] for name in ('pool', 'stop_rules')},
            **{name: self.ctx[name] for name in ('history', 'selection', 'dataset', 'labels', 'model')},
            picks=self.ctx.picks[f'round_{self.ctx.round:02d}'],
            summary=self.ctx.verification.outputs.summary,
            record=orm.Dict({'core_hours': self.ctx.core_hours}),
        )
        self.ctx.history, self.ctx.core_hours = recorded.result, 0.0
        verification, last = self.ctx.verification, read_history(self.ctx.history).rounds[-1]
        to_repeat = any(pick.inconclusive and pick.outcome == UNFINISHED for pick in last.picks)
        if verification.exit_status == VerifyWorkChain.exit_codes.ERROR_ALL_FAILED.status and to_repeat:
            self.ctx.stop = {'rule': _ALL_FAILED, 'reason': verification.exit_message, 'by': _ALL_FAILED}

    def decide_retraining(self) -> None:
        """Decide whether the round is followed by a retraining; if not, add the reason to the history."""
        decision, number = decision_of(self.inputs, self.ctx)
        self.ctx.mode = decision.mode
        self.ctx.retrain = decision.retrain and 'train' in self.inputs
        if self.ctx.retrain:
            self.report(f'retraining: {decision.reason}')
        else:
            given = 'train' in self.inputs
            self._record_retraining({'has_training': given, 'core_hours': 0.0, 'new_labels': number})

    def should_retrain(self) -> bool:
        """Return whether the round is followed by a retraining."""
        return bool(self.ctx.retrain)

    def _record_retraining(self, record: dict[str, Any], **nodes: Any) -> None:
        recorded = self.call_once(
            self._label('record_retraining'),
            record_retraining,
            history=self.ctx.history,
            retraining=self.inputs.retraining,
            record=orm.Dict(record),
            **nodes,
        )
        self.ctx.history = recorded.result

    def inspect_retraining(self) -> None:
        """Adopt the new model if it is not worse than the model in use, and add the reason to the history."""
        node = self.ctx.training
        failure = '' if node.is_finished_ok else node.exit_message or failure_reason(node)
        record: dict[str, Any] = {'core_hours': DfptWorkChain.core_hours(node), 'failure': failure}
        if 'left_out' in node.outputs:
            record['left_out'] = node.outputs.left_out.get_dict()
        outputs = {name: node.outputs[name] for name in ('model', 'comparison') if name in node.outputs}
        model = outputs.get('model')
        self._record_retraining(record, model=model, comparison=outputs.get('comparison'))
        last = read_history(self.ctx.history).rounds[-1]
        self.report(last.retraining_reason)
        if last.adopted:
            self.ctx.model, self.ctx.predictions = model, None
            self.ctx.models += 1

    def rank(self) -> None:
        """Rank the pool by verified values and predictions."""
        ranked = self.call_once(
            'rank_verified',
            rank_verified,
            **{name: self.inputs[name] for name in ('pool', 'picking')},
            **{name: self.ctx[name] for name in ('predictions', 'dataset', 'history', 'model')},
        )
        self.out('ranking', ranked.result)

    def results(self) -> ExitCode | None:
        """Attach the outputs; if all calculations of the last round failed, end with an exit code."""
        record = {'core_hours': self.ctx.core_hours, 'spent': self.ctx.stop.get('spent', 0.0)}
        if self.ctx.stop['by'] in ('request', _ALL_FAILED):
            record |= {name: self.ctx.stop[name] for name in ('rule', 'reason')}
        concluded = self.call_once(
            'conclude_campaign',
            conclude_campaign,
            history=self.ctx.history,
            stop_rules=self.inputs.stop_rules,
            record=orm.Dict(record),
            picks=self.ctx.picks[f'round_{self.ctx.round:02d}'] if self.ctx.stop['by'] == 'picks' else None,
        )
        self.out('stop', concluded.stop)
        self.out('core_hours', concluded.core_hours)
        self.attach_partial_results()
        if self.ctx.stop['by'] != _ALL_FAILED:
            return None
        return self.exit_codes.ERROR_ALL_CALCULATIONS_FAILED.format(message=self.ctx.stop['reason'].rstrip('.'))

    def attach_partial_results(self) -> None:
        """Attach the current state, with which any campaign can be extended; an input that was kept is no output."""
        self._add_core_hours()
        given = {item.uuid for item in self.node.base.links.get_incoming(node_class=orm.Data).all_nodes()}
        for name in ('model', 'dataset', 'history'):
            node = self.ctx.get(name, None)
            if node is not None and node.uuid not in given:
                self.out(name, node)
        for name, picks in self.ctx.get('picks', {}).items():
            self.out(f'picks.{name}', picks)
