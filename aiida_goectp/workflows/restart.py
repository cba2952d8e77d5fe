"""Work chains that run one job of the executable ``goectp`` until it is done, going on where each one stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import BaseRestartWorkChain, ExitCode, ProcessHandlerReport, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.workflows.protocols.mixin import ProtocolMixin, gpu_options, merge

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder

__all__ = ('GoectpBaseRestartWorkChain',)


class GoectpBaseRestartWorkChain(ProtocolMixin, BaseRestartWorkChain):
    """A job with restarts, whose inputs stand under ``goectp``.

    What is done (rows, epochs) is never computed again: each new job goes on from the working folder of the one before
    it. Jobs that add nothing are counted; ``defaults.idle_jobs`` in a row are the end.
    """

    _process_class: Any = None
    _OPEN: ClassVar[tuple[str, ...]] = (
        'goectp.metadata.options.resources',
        'goectp.metadata.options.environment_variables',
    )
    _SAID: ClassVar[str]
    """output of the job that holds what the executable says of itself"""
    _DONE: ClassVar[str]
    """its field that says how much is done"""
    _UNIT: ClassVar[str]

    defaults: ClassVar[AttributeDict]

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define the inputs of the job, the outline, its outputs and the exit codes that all have."""
        super().define(spec)
        spec.expose_inputs(cls._process_class, namespace='goectp')
        steps: Any = cls  # the hints of aiida-core admit no steps of a subclass
        spec.outline(
            steps.setup,
            while_(steps.should_run_process)(
                steps.run_process,
                steps.inspect_process,
            ),
            steps.results,
        )
        spec.expose_outputs(cls._process_class, exclude=('remote_folder', 'retrieved', 'remote_stash'))
        spec.exit_code(411, 'ERROR_INPUT_REFUSED', message='The executable refused an input: {message}')
        unit = cls._UNIT.removesuffix('s')
        spec.exit_code(
            414,
            'ERROR_NO_PROGRESS',
            message=f'{{jobs}} jobs in a row ended without a new {unit}; the last one: {{message}}',
        )

    @classmethod
    def _builder(
        cls,
        inputs: Mapping[str, Any],
        code: orm.AbstractCode | str,
        nodes: Mapping[str, Any],
        options: Mapping[str, Any] | None,
        gpus: int,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol, and with nodes, laid over those of the job.

        :raises ValueError: a scheduler that cannot be asked for GPUs
        """
        builder = cls.get_builder()
        for name, value in cls._nodes_of(inputs, code, nodes, options, gpus).items():
            builder[name] = value
        return builder

    @classmethod
    def _nodes_of(
        cls,
        inputs: Mapping[str, Any],
        code: orm.AbstractCode | str,
        nodes: Mapping[str, Any],
        options: Mapping[str, Any] | None,
        gpus: int,
    ) -> dict[str, Any]:
        """Return the inputs of a protocol with nodes laid over those of the job, complete or not.

        :raises ValueError: a scheduler that cannot be asked for GPUs
        """
        if isinstance(code, str):
            code = orm.load_code(code)
        job = merge(inputs['goectp'], {})
        job['metadata']['options'] = merge(job['metadata']['options'], options or {})
        job['metadata']['options'].update(gpu_options(code, gpus, job['metadata']['options']))
        job |= {'code': code, **nodes}
        return {
            'goectp': {key: value for key, value in job.items() if key in cls.spec().inputs['goectp']},  # type: ignore[operator]
            'clean_workdir': orm.Bool(inputs['clean_workdir']),
            'max_iterations': orm.Int(inputs['max_iterations']),
        }

    def setup(self) -> None:
        """Take the inputs of the job, and remember that nothing is done yet."""
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(self._process_class, 'goectp'))
        self.ctx.done = 0
        self.ctx.idle_jobs = 0

    def _said(self, node: orm.CalcJobNode) -> dict[str, Any]:
        """Return what the executable said of itself, empty if it said nothing."""
        return node.outputs[self._SAID].get_dict() if self._SAID in node.outputs else {}

    def _go_on_from(self, node: orm.CalcJobNode, problem: str, action: str) -> ProcessHandlerReport:
        """Let the next job go on from what this one has done; give up if nothing moves any more."""
        done = int(self._said(node).get(self._DONE, 0))
        if done > 0:
            self.ctx.inputs.parent_folder = node.outputs.remote_folder
        self.ctx.idle_jobs = 0 if done > self.ctx.done else self.ctx.idle_jobs + 1
        self.ctx.done = max(done, self.ctx.done)
        return self._again(node, f'{problem}; {done} {self._UNIT} are done', action)

    def _again(self, node: orm.CalcJobNode, problem: str, action: str) -> ProcessHandlerReport:
        self.report(f'{node.process_label}<{node.pk}>: {problem}; {action}')
        return ProcessHandlerReport(True)

    def _stop_if_idle(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        if self.ctx.idle_jobs < self.defaults.idle_jobs:
            return None
        code = self.exit_codes.ERROR_NO_PROGRESS
        return self._give_up(code.format(jobs=self.ctx.idle_jobs, message=node.exit_message))

    def _give_up(self, code: ExitCode) -> ProcessHandlerReport:
        self.report(code.message or 'giving up')
        return ProcessHandlerReport(True, code)
