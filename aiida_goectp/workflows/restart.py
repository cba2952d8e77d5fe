"""Work chains that restart one job of the executable ``goectp`` until it is finished, each time from its last state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import (
    ExitCode,
    ProcessBuilder,
    ProcessHandlerReport,
    while_,
)
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.core.formats.settings import unknown_key
from aiida_goectp.workflows.aiida_private import RestartMixin
from aiida_goectp.workflows.protocols.mixin import ProtocolMixin, gpu_options, job_options
from aiida_goectp.workflows.protocols.overrides import JOB_CHECKS, Check, as_argument, prefixed
from aiida_goectp.workflows.submit_once import SubmitOnceMixin

__all__ = ('GoectpBaseRestartWorkChain',)


class GoectpBaseRestartWorkChain(ProtocolMixin, SubmitOnceMixin, RestartMixin):
    """Base work chain of a job with restarts, whose inputs are in the namespace ``goectp``.

    Finished units of work (rows, epochs) are kept: each job continues from the working directory of the one before it.
    The work chain ends after ``defaults.idle_jobs`` jobs in a row that finished no further unit.
    """

    _process_class: Any = None
    _CHECKS: ClassVar[Mapping[str, Check]] = {
        'metadata': as_argument,
        'goectp.code': as_argument,
        **prefixed('goectp', JOB_CHECKS),
    }
    _STATUS_OUTPUT: ClassVar[str]
    """output of the job with the status that the executable reports"""
    _PROGRESS_KEY: ClassVar[str]
    """key of the status with the number of finished units"""
    _UNIT: ClassVar[str]
    """name of a unit of work, in the plural"""

    defaults: ClassVar[AttributeDict]

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define the inputs of the job, the outline, its outputs and the exit codes that all subclasses have."""
        super().define(spec)
        spec.expose_inputs(cls._process_class, namespace='goectp')
        steps: Any = cls  # the type hints of aiida-core do not admit steps of a subclass
        spec.outline(
            steps.setup,
            while_(steps.should_run_process)(
                steps.run_process,
                steps.inspect_process,
            ),
            steps.results,
        )
        spec.expose_outputs(cls._process_class, exclude=('remote_folder', 'retrieved', 'remote_stash'))
        spec.exit_code(212, 'ERROR_INPUT_REFUSED', message='The executable refused an input: {message}')
        unit = cls._UNIT.removesuffix('s')
        spec.exit_code(
            416,
            'ERROR_CANNOT_WRITE',
            message='The working folder cannot be written to; free space, then submit the same inputs with '
            '`goectp.parent_folder` = node {folder}, to continue from there. {message}',
        )
        spec.exit_code(
            414,
            'ERROR_NO_PROGRESS',
            message=f'{{jobs}} jobs in a row ended without a new {unit}; the last one: {{message}}',
        )

    @classmethod
    def inputs_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
        **nodes: Any,
    ) -> dict[str, Any]:
        """Return the inputs of a protocol as nested dictionaries, also where inputs of the job are still missing.

        :param code: the executable ``goectp``, or its full label
        :param protocol: fast, balanced or stringent
        :param overrides: inputs that take precedence over the protocol, nested as in its YAML file
        :param options: options of the job, for example ``{'queue_name': 'gpu', 'account': 'me'}``
        :param gpus: number of GPUs to request from the scheduler
        :param nodes: further inputs of the job; those that are ``None`` are left out
        :raises ValueError: an unknown protocol or input, or a scheduler from which GPUs cannot be requested
        """
        ports: Any = cls.spec().inputs
        known = set(ports['goectp'])
        if unknown := sorted(set(nodes) - known):
            raise ValueError(unknown_key(unknown[0], sorted(known), 'input'))
        inputs = cls.get_protocol_inputs(protocol, overrides)
        if isinstance(code, str):
            code = orm.load_code(code)
        job = inputs.pop('goectp')
        cls.check_options('goectp.metadata.options', options)
        scheduling = job_options(code, job['metadata']['options'], options)
        job['metadata']['options'] = scheduling | gpu_options(code, gpus, scheduling)
        job |= {'code': code, **{name: node for name, node in nodes.items() if node is not None}}
        return {
            'goectp': {name: value for name, value in job.items() if name in known},
            **{name: orm.to_aiida_type(value) for name, value in inputs.items() if name in ports},
        }

    @classmethod
    def _fill_builder(cls, inputs: Mapping[str, Any]) -> ProcessBuilder:
        builder = cls.get_builder()
        for name, value in inputs.items():
            builder[name] = value
        return builder

    def setup(self) -> None:
        """Initialize the inputs of the job and the record of its progress."""
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(self._process_class, 'goectp'))
        self.ctx.finished_units = 0
        self.ctx.idle_jobs = 0

    def _reported_status(self, node: orm.CalcJobNode) -> dict[str, Any]:
        """Return the status that the executable reported, empty without a status file."""
        return node.outputs[self._STATUS_OUTPUT].get_dict() if self._STATUS_OUTPUT in node.outputs else {}

    def _continue_from(self, node: orm.CalcJobNode, problem: str, action: str) -> ProcessHandlerReport:
        """Let the next job continue from the working directory of this one; count jobs without progress."""
        finished = int(self._reported_status(node).get(self._PROGRESS_KEY, 0))
        if finished > 0:
            self.ctx.inputs.parent_folder = node.outputs.remote_folder
        self.ctx.idle_jobs = 0 if finished > self.ctx.finished_units else self.ctx.idle_jobs + 1
        self.ctx.finished_units = max(finished, self.ctx.finished_units)
        return self._report_handled(node, f'{problem}; {finished} {self._UNIT} are finished', action)

    def _continue_or_abort(self, node: orm.CalcJobNode, problem: str) -> ProcessHandlerReport:
        """Let the next job continue from this one, unless too many jobs in a row made no progress."""
        report = self._continue_from(node, problem, 'continuing from its working directory')
        if self.ctx.idle_jobs < self.defaults.idle_jobs:
            return report
        code = self.exit_codes.ERROR_NO_PROGRESS
        return self._abort(code.format(jobs=self.ctx.idle_jobs, message=node.exit_message))

    def _abort_or_pause(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """Abort after a job that could not write, or pause if the user chose so for failures: the next would fail too.

        The next job, after the pause, continues from this one.
        """
        report = self._continue_from(node, 'the working folder cannot be written to', 'not restarting')
        self.ctx.idle_jobs = 0
        action = self.inputs.get('on_unhandled_failure', None)
        if action is not None and action.value in ('pause', 'restart_and_pause'):
            self.pause(f'{node.process_label}<{node.pk}> cannot write to its working folder; free space, then play')
            return report
        code = self.exit_codes.ERROR_CANNOT_WRITE
        return self._abort(code.format(folder=node.outputs.remote_folder.pk, message=node.exit_message))

    def _report_handled(self, node: orm.CalcJobNode, problem: str, action: str) -> ProcessHandlerReport:
        self.report(f'{node.process_label}<{node.pk}>: {problem}; {action}')
        return ProcessHandlerReport(True)

    def _abort(self, code: ExitCode) -> ProcessHandlerReport:
        self.report(str(code.message))
        return ProcessHandlerReport(True, code)
