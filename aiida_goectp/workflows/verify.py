"""``goectp.verify``: DFPT calculations of selected crystals within a budget, compared with the predictions."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.base import validate_positive
from aiida_goectp.calculations.inprocess import predict_nodes
from aiida_goectp.calculations.select import select_top
from aiida_goectp.calculations.structures import import_group, to_crystals
from aiida_goectp.calculations.verification import (
    COMPUTED,
    DUPLICATE,
    FAILED,
    INTERRUPTED,
    NOT_RUN,
    REUSED,
    RUNNING,
    WAITING,
    adopt_dielectric,
    compare_predictions,
    conclude,
    content_hash,
)
from aiida_goectp.core.dielectric.gate_codes import VerdictLabel
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData
from aiida_goectp.workflows.aiida_private import ResumeAfterEachChildMixin
from aiida_goectp.workflows.budget import Budget
from aiida_goectp.workflows.dfpt.base import validate_thresholds
from aiida_goectp.workflows.dfpt.engines import earlier_runs, engine_inputs, load_engine, running_run
from aiida_goectp.workflows.dfpt.gates import evaluate_gap_gate, evaluate_gates
from aiida_goectp.workflows.dfpt.reuse import find_usable_runs, gap_of_metal
from aiida_goectp.workflows.failures import MissingResourceError, ended_within_step, failure_reason
from aiida_goectp.workflows.gamma_phonons import model_of, names_without_phonons
from aiida_goectp.workflows.submit_once import SubmitOnceMixin
from aiida_goectp.workflows.verify_inputs import validate_verify

__all__ = ('VerifyWorkChain',)

_NAMESPACES = {
    VerdictLabel.ACCEPTED: 'accepted',
    VerdictLabel.ELECTRONIC_ONLY: 'electronic_only',
    VerdictLabel.REFUSED: 'refused_responses',
}
"""output namespace of a response by the label that the gates give it"""
_CALCULATION = 'dfpt_{}'
"""label of the call, and key in the context, of the calculation of a structure"""


class VerifyWorkChain(ResumeAfterEachChildMixin, SubmitOnceMixin):
    """Compute the dielectric response of selected crystals by DFPT, and compare it with the prediction.

    Calculations are submitted in the order of the selection; the next one starts as soon as one has ended. A response
    that was computed earlier for an equal structure with the same settings is reused, as is that of a calculation that
    runs in another verification. A failed calculation is recorded and does not stop the others.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        cls._define_inputs(spec)
        steps: Any = cls  # the type hints of aiida-core do not admit steps of a subclass
        spec.outline(
            steps.setup,
            while_(steps.should_continue)(
                steps.run_calculations,
            ),
            steps.collect,
            steps.predict_phonons,
            steps.compare,
            steps.results,
        )
        spec.output('selection', valid_type=orm.List, required=False, help='The selection made from the ranking.')
        for name, meaning in (
            ('accepted', 'Responses that passed all gates, by the structure names of the selection.'),
            ('electronic_only', 'Responses of which only the electronic part is valid.'),
            ('refused_responses', 'Responses that failed the gates; stored, and not to be used in a training.'),
        ):
            spec.output_namespace(name, valid_type=DielectricData, dynamic=True, help=meaning)
        spec.output_namespace(
            'verdicts', valid_type=orm.Dict, dynamic=True, help='Results of the gates for each computed crystal.'
        )
        spec.output('refused', valid_type=orm.Dict, help='Name → id, label, reason and process, of all others.')
        spec.output(
            'comparison',
            valid_type=orm.Dict,
            help='`rows`: predicted and computed tensors in one frame, and frequencies at Γ where predicted.',
        )
        spec.output('summary', valid_type=orm.Dict, help='Counts, cost, and one line a crystal in `rows`.')
        spec.exit_code(220, 'ERROR_NOTHING_SELECTED', message='The selection is empty.')
        spec.exit_code(221, 'ERROR_RANKING_REFUSED', message='Nothing can be selected from the ranking: {message}')
        spec.exit_code(
            420,
            'ERROR_ALL_FAILED',
            message='All {number} calculations failed, the first one of {name}: {message}',
        )

    @classmethod
    def _define_inputs(cls, spec: WorkChainSpec) -> None:
        to_node = orm.to_aiida_type
        spec.input(
            'selection', valid_type=orm.List, required=False, help='Selected crystals, best first, as a screen gives.'
        )
        spec.input_namespace(
            'structures', valid_type=orm.StructureData, dynamic=True, required=False, help='Their structures, by name.'
        )
        spec.input('ranking', valid_type=RankingData, required=False, help='Ranking to select from instead.')
        spec.input('crystals', valid_type=CrystalsData, required=False, serializer=to_crystals, help='Of the ranking.')
        spec.input(
            'predictions',
            valid_type=PredictionsData,
            required=False,
            help='Predicted tensors to compare with; without them the averages of the selection are compared.',
        )
        spec.input(
            'engine', valid_type=orm.Str, serializer=to_node, help='Entry point of the engine: goectp.dfpt.vasp, …'
        )
        spec.input_namespace(
            'dfpt',
            valid_type=orm.Data,
            dynamic=True,
            required=False,
            help='Arguments of `get_builder_from_protocol` of the engine without the structure, each as a node.',
        )
        spec.input(
            'thresholds',
            valid_type=orm.Dict,
            required=False,
            serializer=to_node,
            validator=validate_thresholds,
            help='Thresholds of quality gates by name, overriding the defaults; null disables a gate.',
        )
        spec.input(
            'reuse',
            valid_type=orm.Bool,
            default=lambda: orm.Bool(True),
            serializer=to_node,
            help='Whether to reuse responses of equal structures that were computed with the same settings.',
        )
        cls._define_numbers(spec)
        spec.inputs.validator = validate_verify

    @classmethod
    def _define_numbers(cls, spec: WorkChainSpec) -> None:
        numbers: tuple[tuple[str, Any, Any, str], ...] = (
            ('number', orm.Int, None, 'Number of crystals to select from the ranking.'),
            ('max_concurrent', orm.Int, 4, 'Maximum number of calculations at the same time.'),
            ('max_calculations', orm.Int, None, 'Budget: maximum number of calculations.'),
            (
                'max_core_hours',
                orm.Float,
                None,
                'Budget: core-hours of ended calculations after which none is started.',
            ),
        )
        for name, kind, default, meaning in numbers:
            spec.input(
                name,
                valid_type=kind,
                required=False,
                serializer=orm.to_aiida_type,
                validator=validate_positive,
                help=meaning,
                **({} if default is None else {'default': lambda kind=kind, value=default: kind(value)}),
            )

    def setup(self) -> ExitCode | None:
        """Select the crystals, find duplicates among them and responses that were computed earlier."""
        structures = dict(self.inputs.structures) if 'structures' in self.inputs else {}
        self.ctx.selection = self.inputs.get('selection', None)
        if 'ranking' in self.inputs:
            given = {name: self.inputs[name] for name in ('ranking', 'crystals', 'number')}
            try:
                selected = self.call_once('select_top', select_top, **given)
            except ValueError as error:
                return self.exit_codes.ERROR_RANKING_REFUSED.format(message=error)
            self.ctx.selection = selected.selection
            structures = dict(selected.structures) if 'structures' in selected else {}
            self.out('selection', self.ctx.selection)
        self.ctx.order = [item['structure'] for item in self.ctx.selection.get_list()]
        if not self.ctx.order:
            return self.exit_codes.ERROR_NOTHING_SELECTED
        self.ctx.structures = {name: structures[name] for name in self.ctx.order}
        hashes = {name: content_hash(structures[name]) for name in self.ctx.order}
        first: dict[str, str] = {}
        for name in self.ctx.order:
            first.setdefault(hashes[name], name)
        self.ctx.rows = {
            name: {'state': WAITING, 'pk': None, 'reason': '', 'core_hours': 0.0, 'same_as': first[hashes[name]]}
            for name in self.ctx.order
        }
        self.ctx.earlier, self.ctx.interrupted = {}, {}
        if self.inputs.reuse.value:
            by_hash = earlier_runs(self._engine, first)
            self.ctx.earlier = {name: by_hash.get(hashes[name], []) for name in self.ctx.order}
        self.ctx.submitted = 0
        self.report(f'{len(first)} crystals to compute with {self._engine.__name__}, {Budget.of(self.inputs).text}')
        return None

    @property
    def _engine(self) -> Any:
        return load_engine(self.inputs.engine.value)

    def _names(self, state: str) -> list[str]:
        return [name for name in self.ctx.order if self.ctx.rows[name]['state'] == state]

    def _title(self, name: str) -> str:
        """Return the name of a structure and the id of its crystal, for messages."""
        found = next((item.get('id') for item in self.ctx.selection.get_list() if item['structure'] == name), None)
        return f'{name} ({found})' if found else name

    def _calculation(self, name: str) -> Any:
        """Return the node of the calculation that gives the response of a crystal."""
        return orm.load_node(self.ctx.rows[name]['pk'])

    def should_continue(self) -> bool:
        """Return whether calculations are running or waiting."""
        return bool(self._names(RUNNING) or self._names(WAITING))

    def run_calculations(self) -> None:
        """Record the calculations that have ended, and submit as many as may run at the same time."""
        for name in self._names(RUNNING):
            node = self._calculation(name)
            if node.is_terminated:
                self._record(name, node)
        own = [name for name in self._names(RUNNING) if not self.ctx.rows[name].get('awaited')]
        free = self.inputs.max_concurrent.value - len(own)
        for name in self._names(WAITING):
            # a worker that was killed in this step may have submitted it already, when the budget still allowed it
            if submitted := self.find_calls(_CALCULATION.format(name)):
                self._track(name, submitted[0])
                free -= 1
            elif not (self._settle_without_calculation(name) or self._await_other(name)):
                if free < 1:
                    break
                free -= self._submit(name)
        self.to_context(**{_CALCULATION.format(name): self._calculation(name) for name in self._names(RUNNING)})

    def _settle_without_calculation(self, name: str) -> bool:
        """Return whether a crystal needs no calculation: a duplicate, an earlier response, or invalid inputs.

        If the newest earlier runs were interrupted, their finished processes are used in the calculation.
        """
        row = self.ctx.rows[name]
        if row['same_as'] != name:
            row['state'] = DUPLICATE
            return True
        earlier = self.ctx.earlier.get(name, [])
        inputs = self._engine_inputs(name) if earlier else {}
        if inputs is None:
            return True
        runs = find_usable_runs(self._engine, earlier, inputs)
        if runs.finished is not None:
            row.update(state=REUSED, pk=runs.finished.pk)
            self.report(f'{self._title(name)}: reuses the response of process {runs.finished.pk}')
            return True
        if runs.interrupted:
            self.ctx.interrupted[name] = [run.uuid for run in runs.interrupted]
        return False

    def _await_other(self, name: str) -> bool:
        """Return whether another process computes this crystal with these settings now; its end is waited for then."""
        inputs = self._engine_inputs(name) if self.inputs.reuse.value else None
        other = None if inputs is None else running_run(self._engine, self.ctx.structures[name], inputs)
        if other is None:
            return False
        self.ctx.rows[name].update(state=RUNNING, pk=other.pk, awaited=True)
        self.report(f'{self._title(name)}: waits for process {other.pk}, which computes the same crystal')
        return True

    def _submit(self, name: str) -> int:
        """Submit a calculation if the budget allows it; return how many were submitted."""
        row = self.ctx.rows[name]
        if reason := Budget.of(self.inputs).exhausted(self.ctx.submitted, self._core_hours()):
            row.update(state=NOT_RUN, reason=reason)
            return 0
        inputs = self._engine_inputs(name)
        if inputs is None:
            return 0
        if name in self.ctx.interrupted:
            inputs['continue_from'] = self.ctx.interrupted[name]
        try:
            node = self.submit_once(_CALCULATION.format(name), self._engine, inputs)
        except ValueError as error:
            row.update(state=FAILED, reason=f'not submitted: {error}')
            return 0
        self._track(name, node)
        return 1

    def _track(self, name: str, node: orm.ProcessNode) -> None:
        self.ctx.rows[name].update(state=RUNNING, pk=node.pk)
        self.ctx.submitted += 1

    def _engine_inputs(self, name: str) -> dict[str, Any] | None:
        """Return the inputs of the engine; ``None``, with the reason recorded, if it refuses the structure.

        A missing code or family of potentials is no failure of the crystal, which can be computed later.
        """
        try:
            return engine_inputs(
                self._engine,
                self.ctx.structures[name],
                self.inputs.get('dfpt', {}),
                self.inputs.get('thresholds', None),
            )
        except ValueError as error:
            state = INTERRUPTED if isinstance(error, MissingResourceError) else FAILED
            self.ctx.rows[name].update(state=state, reason=f'not submitted: {error}')
            return None

    def _record(self, name: str, node: orm.ProcessNode) -> None:
        row = self.ctx.rows[name]
        if row.get('awaited'):  # now it is an earlier run
            row.update(state=WAITING, pk=None, awaited=False)
            self.ctx.earlier[name] = [node.pk, *self.ctx.earlier.get(name, [])]
            return
        row['core_hours'] = self._engine.core_hours(node)
        if node.is_finished_ok:
            row['state'] = COMPUTED
        else:
            row.update(state=INTERRUPTED if ended_within_step(node) else FAILED, reason=failure_reason(node))
            self.report(f'{self._title(name)}: {row["state"]}, {row["reason"]}')

    def _core_hours(self) -> float:
        return float(sum(row['core_hours'] for row in self.ctx.rows.values()))

    def collect(self) -> None:
        """Attach responses and gate results; a response of another calculation is linked to its structure here too."""
        self.ctx.responses, self.ctx.qualities = {}, {}
        thresholds = self.inputs.get('thresholds', None)
        for name in self.ctx.order:
            row = self.ctx.rows[name]
            origin = self.ctx.rows[row['same_as']]
            if row['state'] == DUPLICATE:
                row['pk'] = origin['pk']
                if origin['state'] not in (COMPUTED, REUSED):
                    row.update(state=origin['state'], reason=origin['reason'])
            if row['state'] not in (COMPUTED, REUSED, DUPLICATE):
                continue
            calculation = self._calculation(name)
            outputs = calculation.outputs
            quality, response = outputs.quality, outputs.dielectric if 'dielectric' in outputs else None
            if response is None and row['state'] == REUSED:
                gap = gap_of_metal(calculation)
                gates = self.call_once(f'gates_{name}', evaluate_gap_gate, band_gap=gap, thresholds=thresholds)
                quality = gates.result
            elif response is not None and row['state'] != COMPUTED:
                structure = self.ctx.structures[name]
                adopted = self.call_once(f'adopt_{name}', adopt_dielectric, structure=structure, dielectric=response)
                response = adopted.result
                gates = self.call_once(f'gates_{name}', evaluate_gates, dielectric=response, thresholds=thresholds)
                quality = gates.result
            self.ctx.qualities[name] = quality
            self.out(f'verdicts.{name}', quality)
            if response is not None:
                self.ctx.responses[name] = response
                self.out(f'{_NAMESPACES[quality["label"]]}.{name}', response)

    def predict_phonons(self) -> None:
        """Predict phonons at Γ in this process, if the model has force constants and they were not asked for before.

        A failure leaves them out of the comparison.
        """
        self.ctx.phonons = None
        predictions = self.inputs.get('predictions', None)
        model = None if predictions is None else model_of(predictions)
        if model is None or model.card.preset != 'force_constants':
            return
        names = names_without_phonons(self.ctx.selection.get_list(), predictions, self.ctx.responses)
        if not names:
            return
        structures = {name: self.ctx.structures[name] for name in names}
        options = {'device': orm.Str('cpu'), 'phonons': orm.Bool(True)}
        try:
            crystals = self.call_once('import_verified', import_group, **structures).result
            made = self.call_once('predict_phonons', predict_nodes, crystals=crystals, model=model, **options)
        except (ImportError, ValueError) as error:
            self.report(f'no phonons are predicted: {error}')
        else:
            self.ctx.phonons = made.result

    def compare(self) -> None:
        """Compare predictions and responses."""
        compared = self.call_once(
            'compare_predictions',
            compare_predictions,
            selection=self.ctx.selection,
            predictions=self.inputs.get('predictions', None),
            phonons=self.ctx.phonons,
            structures={name: self.ctx.structures[name] for name in self.ctx.responses},
            responses=dict(self.ctx.responses),
        )
        self.out('comparison', compared.result)

    def results(self) -> ExitCode | None:
        """Attach the summary; if every calculation failed, end with an exit code."""
        internal = ('same_as', 'awaited')
        rows = {name: {key: row[key] for key in row if key not in internal} for name, row in self.ctx.rows.items()}
        record = {
            'rows': rows,
            'calculations': self.ctx.submitted,
            'core_hours': self._core_hours(),
            'budget': Budget.of(self.inputs)._asdict(),
        }
        outputs = self.call_once(
            'conclude',
            conclude,
            selection=self.ctx.selection,
            record=orm.Dict(record),
            qualities=dict(self.ctx.qualities),
        )
        for name in ('refused', 'summary'):
            self.out(name, outputs[name])
        counts = outputs['summary']['counts']
        self.report(', '.join(f'{number} {label}' for label, number in counts.items()))
        failed = [name for name in self.ctx.order if self.ctx.rows[name]['state'] in (FAILED, INTERRUPTED)]
        if not failed or self.ctx.qualities:
            return None
        name, message = self._title(failed[0]), self.ctx.rows[failed[0]]['reason']
        return self.exit_codes.ERROR_ALL_FAILED.format(number=len(failed), name=name, message=message)
