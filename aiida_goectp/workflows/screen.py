"""``goectp.screen``: crystals predicted in parallel shards, ranked and selected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.base import validate_positive
from aiida_goectp.calculations.predict import validate_fraction
from aiida_goectp.calculations.rank import filter_crystals, merge_predictions, rank_crystals
from aiida_goectp.calculations.select import select_top
from aiida_goectp.calculations.structures import to_crystals
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection import FIGURES_OF_MERIT, Filters, figure_of_merit
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData, to_model
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData
from aiida_goectp.workflows.failures import failure_reason
from aiida_goectp.workflows.predict import PROVIDED, PredictWorkChain
from aiida_goectp.workflows.protocols.mixin import ProtocolMixin
from aiida_goectp.workflows.protocols.overrides import Check, as_argument, choice, prefixed, settings_of
from aiida_goectp.workflows.submit_once import SubmitOnceMixin

__all__ = ('ScreenWorkChain', 'runs_without_scheduler')


def validate_screen(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Return an error for inputs that would fail in a later step: crystals, filters and figure of merit."""
    crystals, model = inputs.get('crystals'), inputs.get('model')
    if crystals is None or model is None:
        return None
    if len(crystals) == 0:
        return f'crystals: node {crystals.pk} contains none; `aiida-goectp show {crystals.pk}` lists its failures'
    with crystals.open_rows() as rows:
        properties = rows.empty_properties()
    try:
        figure = figure_of_merit(inputs['figure_of_merit'].value)
        filters = inputs['filters'].get_dict() if 'filters' in inputs else {}
        read_settings(Filters, filters, 'filters').check_columns(properties)
    except ValueError as error:
        return str(error)
    missing = [name for name in figure.columns if name not in properties]
    if missing:
        have = ', '.join(crystals.columns) or 'none'
        return f'figure_of_merit: {figure.name!r} needs the property {", ".join(missing)}; the crystals have: {have}'
    if figure.committee and model.card.members < 2:
        return f'figure_of_merit: {figure.name!r} needs a committee; {model.card.name} is a single model'
    targets = set(model.card.targets)
    if figure.tensor not in targets | ({'total'} if {'electronic', 'ionic'} <= targets else set()):
        known = ', '.join(sorted(targets))
        return f'figure_of_merit: {figure.name!r} needs the {figure.tensor} tensor; {model.card.name} predicts {known}'
    return _stability_error(model.card) if 'min_stability' in inputs else None


def _stability_error(card: ModelCard) -> str | None:
    """Return an error for a model that gives no probability of stability."""
    if card.gives_stability:
        return None
    if card.preset != 'force_constants':
        return (
            f'min_stability: model {card.name} has preset {card.preset}, which gives no probability of stability; '
            'choose a model of preset force_constants'
        )
    return (
        f'min_stability: model {card.name} has no calibration of the lowest eigenvalue, and gives no probability of '
        'stability; train it with ten or more validation rows that have force constants'
    )


def runs_without_scheduler(code: orm.AbstractCode) -> bool:
    """Return whether the jobs of a code start at once, regardless of other jobs on the machine."""
    return code.computer is None or code.computer.scheduler_type == 'core.direct'


class ScreenWorkChain(ProtocolMixin, SubmitOnceMixin):
    """Filter crystals, predict them in parallel shards, merge the predictions, rank and select.

    The order of the crystals is kept from the first node to the last. The ranking has a rank or a reason for each
    crystal; a ``StructureData`` is created for the selected ones only.
    """

    _PROTOCOL_FILE = 'screen.yaml'
    _CHECKS: ClassVar[Mapping[str, Check]] = {
        **dict.fromkeys(('metadata', 'crystals', 'model'), as_argument),
        'filters': settings_of(Filters),
        'figure_of_merit': choice(lambda: FIGURES_OF_MERIT),
        **prefixed('predict', PredictWorkChain._CHECKS),
    }

    defaults = AttributeDict(
        {
            'digits': 5,  # digits of the number in the name of a shard; names sort by rows
            'shards': 25,  # largest number of shards of a protocol, each of which has eight nodes
            # without a scheduler, shards are predicted one after the other: smaller ones would only cost time
            'shards_in_turn': 10,
            'least_in_turn': 50_000,
        }
    )

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        cls._define_inputs(spec)
        steps: Any = cls  # the type hints of aiida-core do not admit steps of a subclass
        spec.outline(
            steps.filter,
            while_(steps.should_run_shards)(
                steps.run_shards,
                steps.inspect_shards,
            ),
            steps.merge,
            steps.rank,
            steps.select,
            steps.results,
        )
        spec.output('predictions', valid_type=PredictionsData, help='Predictions of all candidates.')
        spec.output('ranking', valid_type=RankingData, help='A rank or a reason for each crystal.')
        spec.output('selection', valid_type=orm.List, help='The selected crystals, best first.')
        spec.output_namespace(
            'structures', valid_type=orm.StructureData, dynamic=True, help='Selected structures; names sort by rank.'
        )
        spec.exit_code(220, 'ERROR_NOTHING_PASSES', message='None of the {total} crystals passes the filters.')
        spec.exit_code(
            410,
            'ERROR_TOO_MANY_FAILED_ROWS',
            message='{failed} of {total} rows failed, more than allowed; the predictions are attached.',
        )
        spec.exit_code(
            420, 'ERROR_SHARDS_FAILED', message='{failed} of {total} shards failed, first {label}: {message}'
        )
        spec.exit_code(421, 'ERROR_MERGE_REFUSED', message='The shards cannot be merged: {message}')
        spec.exit_code(422, 'ERROR_RANKING_REFUSED', message='The crystals cannot be ranked: {message}')
        spec.exit_code(
            423, 'ERROR_NOTHING_RANKED', message='No crystal has a rank; the attached ranking gives the reasons.'
        )

    @classmethod
    def _define_inputs(cls, spec: WorkChainSpec) -> None:
        to_node = orm.to_aiida_type
        spec.input('crystals', valid_type=CrystalsData, serializer=to_crystals, help='The crystals.')
        spec.input('model', valid_type=ModelData, serializer=to_model, help='The model.')
        spec.input(
            'filters',
            valid_type=orm.Dict,
            required=False,
            serializer=to_node,
            help='Conditions: fields of `aiida_goectp.core.selection.filters.Filters`.',
        )
        spec.input(
            'figure_of_merit',
            valid_type=orm.Str,
            default=lambda: orm.Str('total'),
            serializer=to_node,
            help='Figure of merit of the ranking, a name in `aiida_goectp.core.selection.merit.FIGURES_OF_MERIT`.',
        )
        for name, default, meaning in (
            ('number', 20, 'Maximum number of crystals to select.'),
            ('shard_size', 10000, 'Number of crystals in one job.'),
            ('max_concurrent_shards', 4, 'Maximum number of jobs at the same time.'),
        ):
            spec.input(
                name,
                valid_type=orm.Int,
                default=lambda value=default: orm.Int(value),
                serializer=to_node,
                validator=validate_positive,
                help=meaning,
            )
        for name, meaning in (
            ('predict_all', 'Whether to predict also the crystals that the filters exclude.'),
            ('keep_duplicates', 'Whether to rank every row of equal crystals; otherwise they are ranked once.'),
        ):
            spec.input(name, valid_type=orm.Bool, default=lambda: orm.Bool(False), serializer=to_node, help=meaning)
        spec.input(
            'min_stability',
            valid_type=orm.Float,
            required=False,
            serializer=to_node,
            validator=validate_fraction,
            help='Smallest predicted probability of stability of a ranked crystal, 0 to 1; any if not given. Needs a '
            'calibrated model of preset force_constants.',
        )
        spec.expose_inputs(
            PredictWorkChain,
            namespace='predict',
            exclude=PROVIDED,
        )
        spec.inputs.validator = validate_screen

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        crystals: Any,
        model: ModelData | str | Path,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        filters: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param code: the executable ``goectp``, or its full label
        :param crystals: as for :func:`.to_crystals`
        :param model: a node, a model file, or the name of a shipped model
        :param protocol: fast, balanced or stringent
        :param overrides: inputs that take precedence over the protocol, nested as in its YAML file; those of the jobs
            under ``predict``
        :param filters: the fields of :class:`aiida_goectp.core.selection.filters.Filters`
        :param options: options of each job
        :param gpus: number of GPUs to request from the scheduler for each job
        :raises ValueError: an unknown protocol, or a scheduler from which GPUs cannot be requested

        Without a scheduler one shard runs at a time, unless overridden: each uses the whole machine. Unless their size
        is overridden, the shards of large sets are larger than the protocol says, so that there are at most 25. Shards
        that run one at a time have at least 50,000 crystals, and there are at most 10.
        """
        inputs = cls.get_protocol_inputs(protocol, overrides)
        predict = PredictWorkChain.inputs_from_protocol(code, protocol, inputs.get('predict'), options, gpus)
        builder = cls.get_builder()
        builder.crystals = nodes = to_crystals(crystals)
        builder.model = model
        builder.predict = predict
        builder.figure_of_merit = orm.Str(inputs['figure_of_merit'])
        for name in ('predict_all', 'keep_duplicates'):
            builder[name] = orm.Bool(inputs[name])
        for name in ('number', 'shard_size', 'max_concurrent_shards'):
            builder[name] = orm.Int(inputs[name])
        given = overrides or {}
        in_turn = 'max_concurrent_shards' not in given and runs_without_scheduler(predict['goectp']['code'])
        if 'shard_size' not in given:
            least = max(inputs['shard_size'], cls.defaults.least_in_turn if in_turn else 0)
            number = cls.defaults.shards_in_turn if in_turn else cls.defaults.shards
            builder.shard_size = orm.Int(max(least, -(-len(nodes) // number)))
        if in_turn:
            builder.max_concurrent_shards = orm.Int(1)
        if inputs.get('min_stability') is not None:
            builder.min_stability = orm.Float(inputs['min_stability'])
        conditions = {**inputs.get('filters', {}), **(filters or {})}
        ranges = read_settings(Filters, conditions, 'filters').ranges
        if ranges:
            conditions['ranges'] = {name: list(bounds) for name, bounds in ranges.items()}  # AiiDA stores no infinity
        if conditions:
            builder.filters = orm.Dict(conditions)
        return builder

    def filter(self) -> ExitCode | None:
        """Select the candidates: crystals that pass the filters, or all of them if all are to be predicted."""
        self.ctx.candidates = self.inputs.crystals
        if 'filters' in self.inputs and not self.inputs.predict_all.value:
            self.ctx.candidates = self.call_once(
                'filter_crystals', filter_crystals, crystals=self.inputs.crystals, filters=self.inputs.filters
            ).result
        total = len(self.ctx.candidates)
        if total == 0:
            return self.exit_codes.ERROR_NOTHING_PASSES.format(total=len(self.inputs.crystals))
        size = self.inputs.shard_size.value
        self.ctx.waiting = [(start, min(start + size, total)) for start in range(0, total, size)]
        self.ctx.names = []
        self.ctx.failed = []
        self.report(f'{total} of {len(self.inputs.crystals)} crystals to predict in {len(self.ctx.waiting)} shards')
        return None

    def should_run_shards(self) -> bool:
        """Return whether shards are waiting; after a failure none is submitted."""
        return bool(self.ctx.waiting) and not self.ctx.failed

    def run_shards(self) -> None:
        """Submit as many shards as may run at the same time."""
        count = self.inputs.max_concurrent_shards.value
        batch, self.ctx.waiting = self.ctx.waiting[:count], self.ctx.waiting[count:]
        self.ctx.running = []
        for start, stop in batch:
            name = f'shard_{len(self.ctx.names):0{self.defaults.digits}d}'
            inputs = self.exposed_inputs(PredictWorkChain, 'predict')
            inputs.goectp.crystals = self.ctx.candidates
            inputs.goectp.model = self.inputs.model
            if (start, stop) != (0, len(self.ctx.candidates)):
                inputs.goectp.shard = {'start': orm.Int(start), 'stop': orm.Int(stop)}
            self.to_context(**{name: self.submit_once(name, PredictWorkChain, inputs)})
            self.ctx.names.append(name)
            self.ctx.running.append(name)

    def inspect_shards(self) -> ExitCode | None:
        """Record the shards that failed; one with predictions counts as predicted, whatever its exit code."""
        for name in self.ctx.running:
            node = self.ctx[name]
            if not node.is_finished_ok and 'predictions' not in node.outputs:
                self.ctx.failed.append(name)
        done = len(self.ctx.names) - len(self.ctx.failed)
        self.report(f'{done} of {len(self.ctx.names) + len(self.ctx.waiting)} shards are predicted')
        if not self.ctx.failed:
            return None
        first = self.ctx[self.ctx.failed[0]]
        return self.exit_codes.ERROR_SHARDS_FAILED.format(
            failed=len(self.ctx.failed),
            total=len(self.ctx.names) + len(self.ctx.waiting),
            label=f'{self.ctx.failed[0]}<{first.pk}>',
            message=failure_reason(first),
        )

    def merge(self) -> ExitCode | None:
        """Merge the predictions of the shards."""
        parts = {name: self.ctx[name].outputs.predictions for name in self.ctx.names}
        try:
            merged = self.call_once('merge_predictions', merge_predictions, crystals=self.ctx.candidates, **parts)
        except ValueError as error:
            return self.exit_codes.ERROR_MERGE_REFUSED.format(message=error)
        self.ctx.predictions = merged.result
        self.out('predictions', self.ctx.predictions)
        return None

    def rank(self) -> ExitCode | None:
        """Rank all crystals by the figure of merit."""
        names = ('crystals', 'figure_of_merit', 'filters', 'keep_duplicates', 'min_stability')
        given = {name: self.inputs.get(name, None) for name in names}
        try:
            ranked = self.call_once('rank_crystals', rank_crystals, predictions=self.ctx.predictions, **given)
        except ValueError as error:
            return self.exit_codes.ERROR_RANKING_REFUSED.format(message=error)
        self.ctx.ranking = ranked.result
        self.out('ranking', self.ctx.ranking)
        return None

    def select(self) -> ExitCode | None:
        """Select the best crystals."""
        if self.ctx.ranking.base.attributes.get('ranked') == 0:
            return self.exit_codes.ERROR_NOTHING_RANKED
        given = {name: self.inputs[name] for name in ('crystals', 'number')}
        selected = self.call_once('select_top', select_top, ranking=self.ctx.ranking, **given)
        self.out('selection', selected.selection)
        for name, structure in selected.structures.items():
            self.out(f'structures.{name}', structure)
        return None

    def results(self) -> ExitCode | None:
        """Report the selection; too many failed rows of a shard end with an exit code, with all outputs attached."""
        self.report(f'{len(self.outputs["selection"].get_list())} crystals selected')
        bad = [name for name in self.ctx.names if not self.ctx[name].is_finished_ok]
        if not bad:
            return None
        failed = self.ctx.predictions.base.attributes.get('failed')
        return self.exit_codes.ERROR_TOO_MANY_FAILED_ROWS.format(failed=failed, total=len(self.ctx.predictions))
