"""``DfptWorkChain``: base class of the DFPT engines.

An engine is a subclass that defines which processes are run and how their outputs are converted into a
:class:`~aiida_goectp.data.dielectric.DielectricData`::

    class MyDfptWorkChain(DfptWorkChain):
        _PROTOCOL_FILE = '/path/to/protocols.yaml'         # optional

        @classmethod
        def define(cls, spec):                            # inputs and exit codes (500 to 599) of the engine
            super().define(spec)
            spec.input('code', valid_type=AbstractCode)

        @classmethod
        def get_builder_from_protocol(cls, code, structure, protocol=None, overrides=None, options=None): ...

        def relax_process(self): ...                      # process class and inputs, for self.ctx.structure
        def relaxed_structure(self, node): ...            # StructureData from the outputs of that process
        def dfpt_process(self): ...                       # process class and inputs, for self.ctx.structure
        def collect_dielectric(self): ...                 # calls a calcfunction on the outputs of self.ctx.last

An engine with several consecutive processes (ground state, response) overrides ``inspect_dfpt``: it inspects
``self.ctx.last``, stores its state in ``self.ctx``, and sets ``self.ctx.done`` after the last process. Until then
``dfpt_process`` is called again. The context is saved in the database between two steps, so it may contain plain data
and nodes only; after a restart of the daemon the work chain resumes from there.

If the ground state has no band gap, the engine sets ``self.ctx.band_gap`` to a ``Float`` created by one of its
calcfunctions, and ``self.ctx.done``. The gap gate is then evaluated; if it fails, no response is collected.

Shapes, units and sign conventions of the response are those of :class:`.DielectricResponse`. All quantities are given
in the Cartesian frame of ``self.ctx.structure``; an engine that rotates the cell rotates the response back.

:mod:`aiida_goectp.workflows.dfpt.conformance` checks a subclass against these rules.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from aiida import orm
from aiida.common import AttributeDict
from aiida.common.exceptions import NotExistent
from aiida.engine import ExitCode, Process, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.core.crystals.validation import check_crystal
from aiida_goectp.core.dielectric.gate_codes import VerdictLabel
from aiida_goectp.core.dielectric.gates import check_thresholds
from aiida_goectp.data.crystals import crystal_from_structure, to_structure
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.aiida_private import clean_remote_folder
from aiida_goectp.workflows.dfpt.continuation import find_finished, validate_continuation
from aiida_goectp.workflows.dfpt.gates import evaluate_gap_gate, evaluate_gates
from aiida_goectp.workflows.failures import failure_reason, failure_reason_with_job, finished_process
from aiida_goectp.workflows.protocols.mixin import ProtocolMixin
from aiida_goectp.workflows.protocols.overrides import Check
from aiida_goectp.workflows.submit_once import SubmitOnceMixin

__all__ = ('IONIC_PART_DROPPED', 'DfptWorkChain', 'validate_structure', 'validate_thresholds')

IONIC_PART_DROPPED = 'ionic_part_dropped'
"""setting of a response, true if its ionic part was too large for memory or wall time, or was interrupted"""


def validate_structure(structure: orm.StructureData | None, _: Any = None) -> str | None:
    """Return why a structure is not an ordered crystal that is periodic in three dimensions, ``None`` if it is."""
    if structure is None:
        return None
    try:
        crystal = crystal_from_structure(structure.get_formula('hill_compact'), structure)
    except ValueError as error:
        return str(error)
    failure = check_crystal(crystal)
    return None if failure is None else failure.message


def validate_thresholds(thresholds: orm.Dict | None, _: Any = None) -> str | None:
    """Return why thresholds of quality gates are invalid, ``None`` if they are valid."""
    if thresholds is None:
        return None
    try:
        check_thresholds(thresholds.get_dict())
    except ValueError as error:
        return str(error)
    return None


class DfptWorkChain(ProtocolMixin, SubmitOnceMixin):
    """Optional relaxation, dielectric response by DFPT, and quality gates; one subclass for each engine.

    A failed gate does not make the work chain fail: the exit code is 0, and ``quality`` contains label and gates.
    """

    ARGUMENT_CHECKS: ClassVar[Mapping[str, Check]] = {}
    """argument of ``get_builder_from_protocol`` → check that does not depend on the structure"""
    _OPTIONS: ClassVar[str] = ''
    """dotted name of the options of a job, which the argument ``options`` sets for all jobs; empty without them"""
    job_failure: Callable[[orm.CalcJobNode], str] = staticmethod(failure_reason)
    """returns the reason of a failed job, with the message of the program where the engine can read it"""

    defaults = AttributeDict(
        {
            'max_processes': 12,  # for one response; ends an engine that never sets ``done``
        }
    )

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes of all engines."""
        super().define(spec)
        cls._define_inputs(spec)
        steps: Any = cls  # the type hints of aiida-core reject steps of a subclass
        spec.outline(
            steps.setup,
            if_(steps.should_relax)(
                steps.run_relax,
                steps.inspect_relax,
            ),
            while_(steps.should_run_dfpt)(
                steps.run_dfpt,
                steps.inspect_dfpt,
            ),
            if_(steps.should_collect)(
                steps.collect,
            ),
            steps.evaluate_quality,
            steps.results,
        )
        spec.output(
            'dielectric',
            valid_type=DielectricData,
            required=False,
            help='The response, in the Cartesian frame of its cell; absent if the ground state is metallic.',
        )
        spec.output(
            'quality',
            valid_type=orm.Dict,
            help='Result of the quality gates: `label`, `reason`, and each gate in `gates`.',
        )
        spec.output('relaxed_structure', valid_type=orm.StructureData, required=False)
        spec.exit_code(401, 'ERROR_RELAX_FAILED', message='The relaxation failed, process {pk}: {message}')
        spec.exit_code(402, 'ERROR_DFPT_FAILED', message='A process of the response failed, {pk}: {message}')
        spec.exit_code(403, 'ERROR_TOO_MANY_PROCESSES', message='No response after {number} processes.')
        spec.exit_code(
            410, 'ERROR_NO_RELAXED_STRUCTURE', message='The relaxation {pk} has no relaxed structure: {message}'
        )
        spec.exit_code(411, 'ERROR_NO_DIELECTRIC', message='The outputs contain no dielectric response: {message}')

    @classmethod
    def _define_inputs(cls, spec: WorkChainSpec) -> None:
        to_node = orm.to_aiida_type
        spec.input(
            'structure',
            valid_type=orm.StructureData,
            serializer=to_structure,
            validator=validate_structure,
            help='Ordered crystal, periodic in three dimensions.',
        )
        spec.input(
            'thresholds',
            valid_type=orm.Dict,
            required=False,
            serializer=to_node,
            validator=validate_thresholds,
            help='Thresholds of quality gates by name, overriding the defaults; null disables a gate.',
        )
        for name, default, meaning in (
            ('relax', True, 'Relax cell and positions first.'),
            ('electronic_only', False, 'Compute the electronic part only; the label is electronic-only.'),
            ('clean_workdir', False, 'Remove the working directories of all jobs at the end.'),
        ):
            spec.input(
                name,
                valid_type=orm.Bool,
                default=lambda value=default: orm.Bool(value),
                serializer=to_node,
                help=meaning,
            )
        spec.input(
            'continue_from',
            valid_type=(str, list),
            non_db=True,
            required=False,
            validator=validate_continuation(cls),
            help='UUID of a run with equal inputs that was killed or raised an exception, or several, newest first: '
            'finished processes are used in place of new ones.',
        )

    # Implemented by each engine

    @abstractmethod
    def relax_process(self) -> tuple[type[Process], Mapping[str, Any]]:
        """Return the process that relaxes ``self.ctx.structure``, and its inputs."""

    @abstractmethod
    def relaxed_structure(self, node: orm.ProcessNode) -> orm.StructureData:
        """Return the relaxed structure, in the Cartesian frame of the input structure.

        :param node: the relaxation, which ended with exit code 0
        :raises ValueError: the outputs contain no relaxed structure
        """

    @abstractmethod
    def dfpt_process(self) -> tuple[type[Process], Mapping[str, Any]]:
        """Return the next process for the response of ``self.ctx.structure``, and its inputs."""

    @abstractmethod
    def collect_dielectric(self) -> DielectricData:
        """Return the response, created by a calcfunction from ``self.ctx.structure`` and outputs of the processes.

        :raises ValueError: the outputs contain no response
        """

    @classmethod
    def functional_of(cls, inputs: Mapping[str, Any]) -> str | None:
        """Return the name of the functional that the response of a run will have, as in its label.

        A campaign compares it with the labels of its dataset before anything runs.

        :param inputs: valid inputs
        :return: None if it is known after the run only, as by default
        """
        return None

    @classmethod
    def has_same_potentials(cls, node: orm.WorkChainNode, inputs: Mapping[str, Any]) -> bool:
        """Return whether the jobs of an ended run had the potentials that new inputs, otherwise equal, stand for.

        An engine overrides this if its inputs name potentials by a label, whose meaning may change.
        """
        return True

    @classmethod
    def job_seconds(cls, job: orm.CalcJobNode) -> float:
        """Return the wall time of a job in seconds: from the scheduler, else from submission to last modification.

        An engine overrides this if its parsed outputs contain the wall time.
        """
        info = job.get_last_job_info()
        if info is not None and info.wallclock_time_seconds:
            return float(info.wallclock_time_seconds)
        return float((job.mtime - job.ctime).total_seconds())

    @classmethod
    def core_hours(cls, node: orm.ProcessNode) -> float:
        """Return the core-hours of all jobs below a process so far; jobs taken from the cache count as 0."""
        total = 0.0
        for job in node.called_descendants:
            if isinstance(job, orm.CalcJobNode) and not job.base.caching.is_created_from_cache:
                total += cls.job_seconds(job) * _cores(job) / 3600
        return total

    @classmethod
    def check_arguments(cls, **arguments: Any) -> None:
        """Check arguments of ``get_builder_from_protocol`` as far as they do not depend on the structure.

        :raises ValueError: one message for each wrong argument or key in it, joined by semicolons
        """
        errors = [
            error
            for name, check in cls.ARGUMENT_CHECKS.items()
            if arguments.get(name) is not None
            for error in check(name, arguments[name])
        ]
        if errors:
            raise ValueError('; '.join(errors))
        if cls._OPTIONS:
            cls.check_options(cls._OPTIONS, arguments.get('options'))
        if getattr(cls, '_PROTOCOL_FILE', None):
            cls.get_protocol_inputs(arguments.get('protocol'), arguments.get('overrides'))

    @classmethod
    def settled_arguments(cls, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return arguments of ``get_builder_from_protocol`` in which defaults that depend on the profile are given.

        They are settled when a verification or a campaign is prepared, so that what is installed later changes nothing.
        An engine overrides this if it has such defaults.

        :param arguments: without the structure
        :raises ValueError: invalid arguments
        """
        return arguments

    @classmethod
    def common_inputs(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the protocol inputs that all engines share, to be set on a builder: nodes, and `continue_from`.

        :param inputs: from :meth:`get_protocol_inputs`
        """
        nodes: dict[str, Any] = {
            name: orm.Bool(inputs[name]) for name in ('relax', 'electronic_only', 'clean_workdir') if name in inputs
        }
        if inputs.get('thresholds'):
            nodes['thresholds'] = orm.Dict(inputs['thresholds'])
        if 'continue_from' in inputs:
            nodes['continue_from'] = inputs['continue_from']
        return nodes

    # Steps of the outline

    def setup(self) -> None:
        """Initialise the context with the input structure."""
        self.ctx.structure = self.inputs.structure
        self.ctx.done = False
        self.ctx.processes = 0

    def should_relax(self) -> bool:
        """Return whether to relax the structure."""
        return bool(self.inputs.relax.value)

    def run_relax(self) -> None:
        """Submit the relaxation."""
        process, inputs = self.relax_process()
        node = self._finished_before('relax', process, inputs)
        self.to_context(relax=self.submit_once('relax', process, inputs) if node is None else node)

    def inspect_relax(self) -> ExitCode | None:
        """Continue with the relaxed structure."""
        node = self.ctx.relax
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_RELAX_FAILED.format(
                pk=node.pk, message=failure_reason_with_job(node, self.job_failure)
            )
        try:
            structure = self.relaxed_structure(node)
        except ValueError as error:
            return self.exit_codes.ERROR_NO_RELAXED_STRUCTURE.format(pk=node.pk, message=error)
        self.ctx.structure = structure
        self.out('relaxed_structure', structure)
        return None

    def should_run_dfpt(self) -> bool:
        """Return whether another process is needed."""
        return not self.ctx.done

    def run_dfpt(self) -> ExitCode | None:
        """Submit the next process of the response."""
        if self.ctx.processes >= self.defaults['max_processes']:
            return self.exit_codes.ERROR_TOO_MANY_PROCESSES.format(number=self.ctx.processes)
        self.ctx.processes += 1
        label = f'dfpt_{self.ctx.processes:02d}'
        process, inputs = self.dfpt_process()
        node = self._finished_before(label, process, inputs)
        if node is None and self.go_back():
            process, inputs = self.dfpt_process()
            node = self._finished_before(label, process, inputs)
        self.to_context(last=self.submit_once(label, process, inputs) if node is None else node)
        return None

    def go_back(self) -> bool:
        """Return whether the next process is another one than :meth:`dfpt_process` returned, since files are missing.

        It is called before a process is submitted. An engine of which a process reads the working folder of an earlier
        one overrides this: the folder may be gone since an interrupted run, and the earlier process is then repeated.
        """
        return False

    def _finished_before(self, label: str, process: type[Process], inputs: Mapping[str, Any]) -> orm.ProcessNode | None:
        """Return the process that an interrupted run finished under this label with equal inputs; else ``None``."""
        if 'continue_from' not in self.inputs or self.find_calls(label):
            return None
        found = find_finished(self.inputs.continue_from, label, process, inputs)
        if found is None:
            return None
        node, run = found
        self.report(f'{label}: {node.process_label}<{node.pk}> of the interrupted run {run.pk}')
        return node

    def inspect_dfpt(self) -> ExitCode | None:
        """Inspect the process that ended last; an engine with several processes overrides this.

        If a step of that process raised an exception after its job had finished, ``self.ctx.last`` becomes the job.
        """
        node = self.ctx.last = finished_process(self.ctx.last)
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_DFPT_FAILED.format(pk=node.pk, message=failure_reason(node))
        self.ctx.done = True
        return None

    def should_collect(self) -> bool:
        """Return whether there is a response to collect: not if the gap gate failed."""
        if 'band_gap' not in self.ctx:
            return True
        self.ctx.quality = evaluate_gap_gate(self.ctx.band_gap, **self._thresholds())
        return bool(self.ctx.quality['label'] == VerdictLabel.ACCEPTED)

    def collect(self) -> ExitCode | None:
        """Create the response from the outputs of the processes."""
        try:
            self.ctx.dielectric = self.collect_dielectric()
        except ValueError as error:
            return self.exit_codes.ERROR_NO_DIELECTRIC.format(message=error)
        self.out('dielectric', self.ctx.dielectric)
        return None

    def evaluate_quality(self) -> None:
        """Evaluate the quality gates."""
        if 'dielectric' in self.ctx:
            self.ctx.quality = evaluate_gates(self.ctx.dielectric, **self._thresholds())
        self.out('quality', self.ctx.quality)

    def results(self) -> None:
        """Report label and reason."""
        quality = self.ctx.quality.get_dict()
        self.report(': '.join(text for text in (quality['label'], quality['reason']) if text))

    def on_terminated(self) -> None:
        """Remove the working directories if ``clean_workdir`` is true."""
        super().on_terminated()
        if not self.inputs.clean_workdir.value:
            return
        for job in self.node.called_descendants:
            if isinstance(job, orm.CalcJobNode):
                try:
                    clean_remote_folder(job.outputs.remote_folder)
                except (OSError, KeyError, NotExistent):  # never created, removed already, or not reachable
                    continue

    def _thresholds(self) -> dict[str, orm.Dict]:
        return {'thresholds': self.inputs.thresholds} if 'thresholds' in self.inputs else {}


def _cores(job: orm.CalcJobNode) -> int:
    """Return the number of cores that a job requested."""
    resources = job.get_option('resources') or {}
    machines = int(resources.get('num_machines') or 1)
    processes = int(resources.get('tot_num_mpiprocs') or machines * (resources.get('num_mpiprocs_per_machine') or 1))
    return processes * int(resources.get('num_cores_per_mpiproc') or 1)
