"""``DfptWorkChain``: what every engine takes, does and gives.

A further engine is one subclass that says which processes to run and how their outputs become a
:class:`~aiida_goectp.data.dielectric.DielectricData`::

    class MyDfptWorkChain(DfptWorkChain):
        _PROTOCOLS = 'my_protocols.yaml'                  # only if it has protocols

        @classmethod
        def define(cls, spec):                            # its own inputs and exit codes (5xx)
            super().define(spec)
            spec.input('code', valid_type=AbstractCode)

        @classmethod
        def get_builder_from_protocol(cls, code, structure, protocol=None, overrides=None, options=None): ...

        def relax_process(self): ...                      # process class and inputs, from self.ctx.structure
        def relaxed_structure(self, node): ...            # the StructureData among the outputs of that process
        def dfpt_process(self): ...                       # process class and inputs, from self.ctx.structure
        def collect_dielectric(self): ...                 # a calcfunction, from self.ctx.last

An engine that needs several processes one after the other (ground state, response) overrides ``inspect_dfpt``: that
looks at ``self.ctx.last``, remembers in ``self.ctx`` where it is, and sets ``self.ctx.done`` after the last one;
``dfpt_process`` is asked again until then. What is put into ``self.ctx`` must be plain data or *stored* nodes, since it
is written to the database between steps: that is what makes a killed daemon lose nothing.

A ground state without gap is no reason to fail: the engine sets ``self.ctx.band_gap`` to a ``Float`` made by a
calcfunction of its own and ``self.ctx.done`` to true. The gap is judged, and no response is collected if it is refused.

What the numbers must be: see :class:`.DielectricResponse`. Everything stands in the Cartesian frame of
``self.ctx.structure`` as the engine computed it; if the engine turned the cell, turn the response back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.common.exceptions import NotExistent
from aiida.common.links import LinkType
from aiida.engine import ExitCode, Process, WorkChain, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.dfpt.gates import evaluate_gap_gate, evaluate_gates
from aiida_goectp.workflows.protocols.mixin import ProtocolMixin

__all__ = ('DfptWorkChain', 'called_by_label', 'failure_reason', 'validate_structure', 'validate_thresholds')


def validate_structure(structure: orm.StructureData | None, _: Any = None) -> str | None:
    """Refuse what is no ordered, periodic crystal."""
    from aiida_goectp.core.crystals.validation import check_crystal

    if structure is None:
        return None
    try:
        crystal = crystal_from_structure(structure.get_formula('hill_compact'), structure)
    except ValueError as error:
        return str(error)
    failure = check_crystal(crystal)
    return None if failure is None else failure.message


def validate_thresholds(thresholds: orm.Dict | None, _: Any = None) -> str | None:
    """Refuse thresholds of gates that do not exist."""
    from aiida_goectp.core.dielectric.gates import check_thresholds

    if thresholds is None:
        return None
    try:
        check_thresholds(thresholds.get_dict())
    except ValueError as error:
        return str(error)
    return None


class DfptWorkChain(ProtocolMixin, WorkChain):
    """Relax a structure if asked to, compute its dielectric response, and judge it; one subclass an engine.

    A failed gate is no failed work chain: it ends with exit code 0, and ``quality`` gives the verdict.
    """

    defaults = AttributeDict(
        {
            'max_processes': 12,  # of one response, so that no engine turns in circles for ever
        }
    )

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define what is common to all engines."""
        super().define(spec)
        cls._define_inputs(spec)
        steps: Any = cls  # the hints of aiida-core admit no steps of a subclass
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
            steps.judge,
            steps.results,
        )
        spec.output(
            'dielectric',
            valid_type=DielectricData,
            required=False,
            help='The response, in the frame of its cell; not there if the ground state is that of a metal.',
        )
        spec.output('quality', valid_type=orm.Dict, help='The verdict: `label`, `reason`, and every gate in `gates`.')
        spec.output('relaxed_structure', valid_type=orm.StructureData, required=False)
        spec.exit_code(401, 'ERROR_RELAX_FAILED', message='The relaxation failed, process {pk}: {message}')
        spec.exit_code(402, 'ERROR_DFPT_FAILED', message='A process of the response failed, {pk}: {message}')
        spec.exit_code(403, 'ERROR_TOO_MANY_PROCESSES', message='No response after {number} processes.')
        spec.exit_code(410, 'ERROR_NO_RELAXED_STRUCTURE', message='The relaxation {pk} gave no structure: {message}')
        spec.exit_code(411, 'ERROR_NO_DIELECTRIC', message='The outputs hold no dielectric response: {message}')

    @classmethod
    def _define_inputs(cls, spec: WorkChainSpec) -> None:
        to_node = orm.to_aiida_type
        spec.input(
            'structure',
            valid_type=orm.StructureData,
            validator=validate_structure,
            help='An ordered, periodic crystal.',
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
            ('relax', True, 'Whether to relax cell and positions first.'),
            ('electronic_only', False, 'Whether to compute the electronic part alone; the label is electronic-only.'),
            ('clean_workdir', False, 'Whether to remove the working folders of all jobs at the end.'),
        ):
            spec.input(
                name,
                valid_type=orm.Bool,
                default=lambda value=default: orm.Bool(value),
                serializer=to_node,
                help=meaning,
            )

    # What an engine says of itself

    @abstractmethod
    def relax_process(self) -> tuple[type[Process], Mapping[str, Any]]:
        """Return the process that relaxes ``self.ctx.structure``, and its inputs."""

    @abstractmethod
    def relaxed_structure(self, node: orm.ProcessNode) -> orm.StructureData:
        """Return the relaxed structure.

        :param node: the relaxation, which ended with exit code 0
        :raises ValueError: there is none; the message says why
        """

    @abstractmethod
    def dfpt_process(self) -> tuple[type[Process], Mapping[str, Any]]:
        """Return the next process on the way to the response of ``self.ctx.structure``, and its inputs."""

    @abstractmethod
    def collect_dielectric(self) -> DielectricData:
        """Return the response, made by a calcfunction from outputs of the processes and ``self.ctx.structure``.

        :raises ValueError: the outputs hold none; the message says why
        """

    @classmethod
    def job_seconds(cls, job: orm.CalcJobNode) -> float:
        """Return the wall time of a job in seconds, as the scheduler says, else from submission to end.

        An engine whose outputs know it better overrides this.
        """
        info = job.get_last_job_info()
        if info is not None and info.wallclock_time_seconds:
            return float(info.wallclock_time_seconds)
        return float((job.mtime - job.ctime).total_seconds())

    @classmethod
    def core_hours(cls, node: orm.ProcessNode) -> float:
        """Return what all jobs below a process cost so far; one that was taken from the cache cost nothing."""
        total = 0.0
        for job in node.called_descendants:
            if isinstance(job, orm.CalcJobNode) and not job.base.caching.is_created_from_cache:
                total += cls.job_seconds(job) * _cores(job) / 3600
        return total

    @classmethod
    def common_inputs(cls, inputs: Mapping[str, Any]) -> dict[str, orm.Data]:
        """Return nodes of those inputs of a protocol that all engines share, to set on a builder.

        :param inputs: as :meth:`get_protocol_inputs` returns them
        """
        nodes: dict[str, orm.Data] = {
            name: orm.Bool(inputs[name]) for name in ('relax', 'electronic_only', 'clean_workdir') if name in inputs
        }
        if inputs.get('thresholds'):
            nodes['thresholds'] = orm.Dict(inputs['thresholds'])
        return nodes

    # The steps

    def setup(self) -> None:
        """Start with the structure as given."""
        self.ctx.structure = self.inputs.structure
        self.ctx.done = False
        self.ctx.processes = 0

    def should_relax(self) -> bool:
        """Return whether the structure is to be relaxed."""
        return bool(self.inputs.relax.value)

    def run_relax(self) -> None:
        """Start the relaxation."""
        self.to_context(relax=self._start('relax', *self.relax_process()))

    def inspect_relax(self) -> ExitCode | None:
        """Go on with the relaxed structure."""
        node = self.ctx.relax
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_RELAX_FAILED.format(pk=node.pk, message=failure_reason_below(node))
        try:
            structure = self.relaxed_structure(node)
        except ValueError as error:
            return self.exit_codes.ERROR_NO_RELAXED_STRUCTURE.format(pk=node.pk, message=error)
        self.ctx.structure = structure
        self.out('relaxed_structure', structure)
        return None

    def should_run_dfpt(self) -> bool:
        """Return whether a process is still to be run."""
        return not self.ctx.done

    def run_dfpt(self) -> ExitCode | None:
        """Start the next process of the response."""
        if self.ctx.processes >= self.defaults['max_processes']:
            return self.exit_codes.ERROR_TOO_MANY_PROCESSES.format(number=self.ctx.processes)
        self.ctx.processes += 1
        self.to_context(last=self._start(f'dfpt_{self.ctx.processes:02d}', *self.dfpt_process()))
        return None

    def inspect_dfpt(self) -> ExitCode | None:
        """Look at the process that ended last; an engine of several processes overrides this."""
        node = self.ctx.last
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_DFPT_FAILED.format(pk=node.pk, message=failure_reason(node))
        self.ctx.done = True
        return None

    def should_collect(self) -> bool:
        """Return whether there is a response: not if the gap was judged and refused."""
        if 'band_gap' not in self.ctx:
            return True
        self.ctx.quality = evaluate_gap_gate(self.ctx.band_gap, **self._thresholds())
        return bool(self.ctx.quality['label'] == 'accepted')

    def collect(self) -> ExitCode | None:
        """Make the response from what the processes left."""
        try:
            self.ctx.dielectric = self.collect_dielectric()
        except ValueError as error:
            return self.exit_codes.ERROR_NO_DIELECTRIC.format(message=error)
        self.out('dielectric', self.ctx.dielectric)
        return None

    def judge(self) -> None:
        """Put the response to the gates."""
        if 'dielectric' in self.ctx:
            self.ctx.quality = evaluate_gates(self.ctx.dielectric, **self._thresholds())
        self.out('quality', self.ctx.quality)

    def results(self) -> None:
        """Say what came of it."""
        quality = self.ctx.quality.get_dict()
        self.report(': '.join(text for text in (quality['label'], quality['reason']) if text))

    def on_terminated(self) -> None:
        """Remove the working folders, if asked to."""
        super().on_terminated()
        if not self.inputs.clean_workdir.value:
            return
        for job in self.node.called_descendants:
            if isinstance(job, orm.CalcJobNode):
                try:
                    job.outputs.remote_folder._clean()
                except (OSError, KeyError, NotExistent):  # not begun, gone already, or out of reach
                    continue

    def _start(self, label: str, process: type[Process], inputs: Mapping[str, Any]) -> orm.ProcessNode:
        begun = called_by_label(self.node).get(label)
        if begun is not None:  # a worker died in this very step, after it had started the process
            return begun
        labelled = dict(inputs)
        labelled['metadata'] = {**labelled.get('metadata', {}), 'call_link_label': label}
        node = self.submit(process, **labelled)
        self.report(f'{label}: {process.__name__}<{node.pk}>')
        return node

    def _thresholds(self) -> dict[str, orm.Dict]:
        return {'thresholds': self.inputs.thresholds} if 'thresholds' in self.inputs else {}


def called_by_label(node: orm.ProcessNode) -> dict[str, orm.ProcessNode]:
    """Return the processes that a work chain has called, by the label of the call."""
    links = node.base.links.get_outgoing(link_type=(LinkType.CALL_WORK, LinkType.CALL_CALC)).all()
    called: dict[str, Any] = {link.link_label: link.node for link in links}
    return called


def failure_reason(node: orm.ProcessNode) -> str:
    """Return why a process did not succeed."""
    if node.exit_message:
        return f'[{node.exit_status}] {node.exit_message}'
    if node.is_excepted:
        lines = [line for line in (node.exception or '').splitlines() if line.strip()]
        return f'excepted: {lines[-1].strip() if lines else "no reason given"}'
    return f'{node.process_state.value if node.process_state else "ended"} [{node.exit_status}]'


def failure_reason_below(node: orm.ProcessNode) -> str:
    """Return why a process did not succeed, and why the last job below it that failed did not."""
    failed = [job for job in node.called_descendants if isinstance(job, orm.CalcJobNode) and not job.is_finished_ok]
    if not failed:
        return failure_reason(node)
    job = max(failed, key=lambda job: int(job.pk or 0))
    return f'{failure_reason(node)}; {job.process_label}<{job.pk}> {failure_reason(job)}'


def _cores(job: orm.CalcJobNode) -> int:
    """Return how many cores a job held."""
    resources = job.get_option('resources') or {}
    machines = int(resources.get('num_machines') or 1)
    processes = int(resources.get('tot_num_mpiprocs') or machines * (resources.get('num_mpiprocs_per_machine') or 1))
    return processes * int(resources.get('num_cores_per_mpiproc') or 1)
