"""``goectp.verify``: compute what was selected, in order, within a budget, and compare it with what was predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import ExitCode, ProcessState, WorkChain, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.base import validate_positive
from aiida_goectp.calculations.select import select_top
from aiida_goectp.calculations.verification import adopt_dielectric, compare_predictions, conclude, content_hash
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.data.ranking import RankingData
from aiida_goectp.workflows.dfpt.base import called_by_label, failure_reason, validate_thresholds
from aiida_goectp.workflows.dfpt.engines import earlier_responses, engine_inputs, load_engine, same_settings
from aiida_goectp.workflows.dfpt.gates import evaluate_gates

__all__ = ('VerifyWorkChain',)

_WAITING, _RUNNING, _COMPUTED, _REUSED = 'waiting', 'running', 'computed', 'reused'
_DUPLICATE, _FAILED, _NOT_RUN = 'duplicate', 'failed', 'not run'
_NAMESPACES = {'accepted': 'accepted', 'electronic-only': 'electronic_only', 'refused': 'refused_responses'}
_CHILD = 'child_'  # before the names in the context, where they could hide its other entries


def _load(pk: int) -> Any:
    return orm.load_node(pk)


def validate_verify(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Refuse a selection that cannot be followed, and an engine that does not exist."""
    try:
        if 'engine' in inputs:
            load_engine(inputs['engine'].value)
    except ValueError as error:
        return f'engine: {error}'
    ranked = [name for name in ('ranking', 'crystals', 'number') if name in inputs]
    if ('selection' in inputs) == bool(ranked):
        return 'give either `selection` with its `structures`, or `ranking` with its `crystals` and a `number`'
    if ranked:
        return (
            None if len(ranked) == 3 else f'`ranking`, `crystals` and `number` go together; given: {", ".join(ranked)}'
        )
    structures = inputs.get('structures', {})
    for item in inputs['selection'].get_list():
        if not isinstance(item, dict) or not isinstance(item.get('structure'), str):
            return 'selection: each item must name its structure; use the output `selection` of a screen'
        if item['structure'] not in structures:
            return f'selection: the structure {item["structure"]} is missing in `structures`'
    return None


class VerifyWorkChain(WorkChain):
    """Compute the dielectric response of selected crystals by DFPT, and compare it with the prediction.

    The order of the selection is the order of submission. As soon as one calculation ends, the next one starts. What
    an equal structure was computed for with the same settings is taken over. A failure is noted and stops nothing.

    All that it knows between two steps is plain data in its context, and a calculation is recognised by the label of
    its call: a daemon that is killed loses nothing, and nothing is submitted twice.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        cls._define_inputs(spec)
        steps: Any = cls  # the hints of aiida-core admit no steps of a subclass
        spec.outline(
            steps.setup,
            while_(steps.goes_on)(
                steps.advance,
            ),
            steps.collect,
            steps.compare,
            steps.results,
        )
        spec.output('selection', valid_type=orm.List, required=False, help='If it was made here, from the ranking.')
        for name, meaning in (
            ('accepted', 'Labels that passed all gates; names as in the selection.'),
            ('electronic_only', 'Responses of which the electronic part alone can be trusted.'),
            ('refused_responses', 'Responses that the gates refuse; to be stored, never to be learnt from.'),
        ):
            spec.output_namespace(name, valid_type=DielectricData, dynamic=True, help=meaning)
        spec.output_namespace(
            'verdicts', valid_type=orm.Dict, dynamic=True, help='What the gates say of each crystal that was computed.'
        )
        spec.output('refused', valid_type=orm.Dict, help='Name → id, label, reason and process, of all others.')
        spec.output('comparison', valid_type=orm.Dict, help='`rows`: predicted and computed tensors in one frame.')
        spec.output('summary', valid_type=orm.Dict, help='Counts, cost, and one line a crystal in `rows`.')
        spec.exit_code(220, 'ERROR_NOTHING_SELECTED', message='The selection is empty.')
        spec.exit_code(221, 'ERROR_RANKING_REFUSED', message='Nothing can be selected from the ranking: {message}')
        spec.exit_code(
            420,
            'ERROR_ALL_FAILED',
            message='All {number} calculations failed, first {name}: {message}; the summary is attached.',
        )

    @classmethod
    def _define_inputs(cls, spec: WorkChainSpec) -> None:
        to_node = orm.to_aiida_type
        spec.input('selection', valid_type=orm.List, required=False, help='The output of a screen, best first.')
        spec.input_namespace(
            'structures', valid_type=orm.StructureData, dynamic=True, required=False, help='Its structures, by name.'
        )
        spec.input('ranking', valid_type=RankingData, required=False, help='Instead of a selection.')
        spec.input('crystals', valid_type=CrystalsData, required=False, help='The crystals of the ranking.')
        spec.input(
            'predictions',
            valid_type=PredictionsData,
            required=False,
            help='The predicted tensors; without them the averages of the selection are compared.',
        )
        spec.input(
            'engine', valid_type=orm.Str, serializer=to_node, help='Entry point of the engine: goectp.dfpt.vasp, …'
        )
        spec.input_namespace(
            'dfpt',
            valid_type=orm.Data,
            dynamic=True,
            required=False,
            help='Arguments of `get_builder_from_protocol` of the engine but the structure, each as a node.',
        )
        spec.input(
            'thresholds',
            valid_type=orm.Dict,
            required=False,
            serializer=to_node,
            validator=validate_thresholds,
            help='Thresholds of gates by name, over the defaults.',
        )
        spec.input(
            'reuse',
            valid_type=orm.Bool,
            default=lambda: orm.Bool(True),
            serializer=to_node,
            help='Whether to take over what an equal structure was computed for with the same settings.',
        )
        numbers: tuple[tuple[str, Any, Any, str], ...] = (
            ('number', orm.Int, None, 'How many of the ranking.'),
            ('max_concurrent', orm.Int, 4, 'Calculations at the same time.'),
            ('max_calculations', orm.Int, None, 'Budget: calculations that are submitted at most.'),
            ('max_core_hours', orm.Float, None, 'Budget: no more is submitted once what has ended has cost this much.'),
        )
        for name, kind, default, meaning in numbers:
            spec.input(
                name,
                valid_type=kind,
                required=False,
                serializer=to_node,
                validator=validate_positive,
                help=meaning,
                **({} if default is None else {'default': lambda kind=kind, value=default: kind(value)}),
            )
        spec.inputs.validator = validate_verify

    def setup(self) -> ExitCode | None:
        """Note what is to be computed, and what is known already."""
        structures = dict(self.inputs.structures) if 'structures' in self.inputs else {}
        self.ctx.selection = self.inputs.get('selection', None)
        if 'ranking' in self.inputs:
            try:
                chosen = select_top(self.inputs.ranking, self.inputs.crystals, self.inputs.number)
            except ValueError as error:
                return self.exit_codes.ERROR_RANKING_REFUSED.format(message=error)
            self.ctx.selection, structures = chosen['selection'], chosen.get('structures', {})
            self.out('selection', self.ctx.selection)
        self.ctx.order = [item['structure'] for item in self.ctx.selection.get_list()]
        if not self.ctx.order:
            return self.exit_codes.ERROR_NOTHING_SELECTED
        self.ctx.structures = {name: structures[name].pk for name in self.ctx.order}
        hashes = {name: content_hash(structures[name]) for name in self.ctx.order}
        first: dict[str, str] = {}
        for name in self.ctx.order:
            first.setdefault(hashes[name], name)
        self.ctx.rows = {
            name: {'state': _WAITING, 'pk': None, 'reason': '', 'core_hours': 0.0, 'same_as': first[hashes[name]]}
            for name in self.ctx.order
        }
        self.ctx.known = {}
        if self.inputs.reuse.value:
            by_hash = earlier_responses(self._engine, first)
            self.ctx.known = {name: by_hash.get(hashes[name], []) for name in self.ctx.order}
        self.ctx.submitted = 0
        self.report(f'{len(first)} crystals to compute with {self._engine.__name__}, {self._budget_text()}')
        return None

    @property
    def _engine(self) -> Any:
        return load_engine(self.inputs.engine.value)

    def _names(self, state: str) -> list[str]:
        return [name for name in self.ctx.order if self.ctx.rows[name]['state'] == state]

    def goes_on(self) -> bool:
        """Return whether something is running or may be started."""
        return bool(self._names(_RUNNING) or self._names(_WAITING))

    def advance(self) -> None:
        """Note what has ended, start what may be started, and wait for the next one to end."""
        for name in self._names(_RUNNING):
            node = _load(self.ctx.rows[name]['pk'])
            if node.is_terminated:
                self._note(name, node)
        called = called_by_label(self.node)
        room = self.inputs.max_concurrent.value - len(self._names(_RUNNING))
        for name in self._names(_WAITING):
            if name in called:  # a worker died in this very step, after it had started this one
                self._begun(name, called[name])
                room -= 1
            elif not self._take_over(name):
                if room < 1:
                    break
                room -= self._start(name)
        for name in self._names(_RUNNING):
            self.to_context(**{f'{_CHILD}{name}': _load(self.ctx.rows[name]['pk'])})

    def _on_awaitable_finished(self, awaitable: Any) -> None:
        """Go on when one calculation has ended; aiida-core itself waits for all of them.

        Each step waits anew for those that still run, so that a calculation may call back once more than is waited for.
        """
        current = next((item for item in self._awaitables if item.pk == awaitable.pk), None)
        if current is None:
            return
        super()._on_awaitable_finished(current)
        if self.state == ProcessState.WAITING and self._awaitables:
            self.resume()

    def _take_over(self, name: str) -> bool:
        """Settle a crystal without a calculation, if that can be done."""
        row = self.ctx.rows[name]
        if row['same_as'] != name:
            row['state'] = _DUPLICATE
            return True
        known = self.ctx.known.get(name, [])
        inputs = self._inputs_of(name) if known else {}
        if inputs is None:
            return True
        for pk in known:
            if same_settings(_load(pk), self._engine, inputs):
                row.update(state=_REUSED, pk=pk)
                self.report(f'{name}: computed before by process {pk}')
                return True
        return False

    def _start(self, name: str) -> int:
        """Start a calculation unless the budget is spent; return how many were started."""
        row = self.ctx.rows[name]
        spent = self._spent()
        if spent:
            row.update(state=_NOT_RUN, reason=spent)
            return 0
        inputs = self._inputs_of(name)
        if inputs is None:
            return 0
        inputs['metadata'] = {**inputs.get('metadata', {}), 'call_link_label': name}
        try:
            node = self.submit(self._engine, **inputs)
        except ValueError as error:
            row.update(state=_FAILED, reason=f'not submitted: {error}')
            return 0
        self._begun(name, node)
        return 1

    def _begun(self, name: str, node: orm.ProcessNode) -> None:
        self.ctx.rows[name].update(state=_RUNNING, pk=node.pk)
        self.ctx.submitted += 1
        self.report(f'{name}: {node.process_label}<{node.pk}>')

    def _inputs_of(self, name: str) -> dict[str, Any] | None:
        """Return the inputs of the engine; None, with the reason noted, if it refuses the structure."""
        try:
            return engine_inputs(
                self._engine,
                _load(self.ctx.structures[name]),
                self.inputs.get('dfpt', {}),
                self.inputs.get('thresholds', None),
            )
        except ValueError as error:
            self.ctx.rows[name].update(state=_FAILED, reason=f'not submitted: {error}')
            return None

    def _note(self, name: str, node: orm.ProcessNode) -> None:
        row = self.ctx.rows[name]
        row['core_hours'] = self._engine.core_hours(node)
        if node.is_finished_ok:
            row['state'] = _COMPUTED
        else:
            row.update(state=_FAILED, reason=failure_reason(node))
            self.report(f'{name}: failed, {row["reason"]}')

    def _core_hours(self) -> float:
        return float(sum(row['core_hours'] for row in self.ctx.rows.values()))

    def _spent(self) -> str:
        """Return which budget is spent, empty if none."""
        if 'max_calculations' in self.inputs and self.ctx.submitted >= self.inputs.max_calculations.value:
            return f'the budget of {self.inputs.max_calculations.value} calculations is spent'
        if 'max_core_hours' in self.inputs and self._core_hours() >= self.inputs.max_core_hours.value:
            return f'the budget of {self.inputs.max_core_hours.value:g} core-hours is spent'
        return ''

    def _budget(self) -> dict[str, float | None]:
        names = ('max_calculations', 'max_core_hours')
        return {name: self.inputs[name].value if name in self.inputs else None for name in names}

    def _budget_text(self) -> str:
        parts = [f'{key.removeprefix("max_")} {value:g}' for key, value in self._budget().items() if value is not None]
        return 'budget: ' + ', '.join(part.replace('_', '-') for part in parts) if parts else 'no budget'

    def collect(self) -> None:
        """Gather responses and verdicts; those of an earlier calculation get this structure as their origin, too."""
        self.ctx.responses, self.ctx.qualities = {}, {}
        thresholds = {'thresholds': self.inputs.thresholds} if 'thresholds' in self.inputs else {}
        for name in self.ctx.order:
            row = self.ctx.rows[name]
            origin = self.ctx.rows[row['same_as']]
            if row['state'] == _DUPLICATE:
                row['pk'] = origin['pk']
                if origin['state'] not in (_COMPUTED, _REUSED):
                    row.update(state=origin['state'], reason=origin['reason'])
            if row['state'] not in (_COMPUTED, _REUSED, _DUPLICATE):
                continue
            outputs = _load(row['pk']).outputs
            quality, response = outputs.quality, outputs.dielectric if 'dielectric' in outputs else None
            if response is not None and row['state'] != _COMPUTED:
                response = adopt_dielectric(_load(self.ctx.structures[name]), response)
                quality = evaluate_gates(response, **thresholds)
            self.ctx.qualities[name] = quality
            self.out(f'verdicts.{name}', quality)
            if response is not None:
                self.ctx.responses[name] = response
                self.out(f'{_NAMESPACES[quality["label"]]}.{name}', response)

    def compare(self) -> None:
        """Compare predictions and responses."""
        nodes: dict[str, Any] = {}
        for name, response in self.ctx.responses.items():
            nodes[f'dielectric_{name}'] = response
            nodes[f'structure_{name}'] = _load(self.ctx.structures[name])
        if 'predictions' in self.inputs:
            nodes['predictions'] = self.inputs.predictions
        self.out('comparison', compare_predictions(self.ctx.selection, **nodes))

    def results(self) -> ExitCode | None:
        """Say what came of it; if every single calculation failed, something is wrong with the engine."""
        rows = {name: {key: row[key] for key in row if key != 'same_as'} for name, row in self.ctx.rows.items()}
        record = {
            'rows': rows,
            'calculations': self.ctx.submitted,
            'core_hours': self._core_hours(),
            'budget': self._budget(),
        }
        outputs = conclude(self.ctx.selection, orm.Dict(record), **self.ctx.qualities)
        for name in ('refused', 'summary'):
            self.out(name, outputs[name])
        counts = outputs['summary']['counts']
        self.report(', '.join(f'{number} {label}' for label, number in counts.items()))
        failed = self._names(_FAILED)
        if not failed or self.ctx.qualities:
            return None
        first = failed[0]
        message = self.ctx.rows[first]['reason']
        return self.exit_codes.ERROR_ALL_FAILED.format(number=len(failed), name=first, message=message)
