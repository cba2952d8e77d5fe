"""``goectp.predict``: predict many crystals in jobs with restarts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.predict import PredictCalculation
from aiida_goectp.calculations.structures import to_crystals
from aiida_goectp.data.model import ModelData, to_model
from aiida_goectp.workflows.restart import GoectpBaseRestartWorkChain

__all__ = ('PROVIDED', 'PredictWorkChain')

PROVIDED = tuple(
    f'goectp.{name}' for name in ('crystals', 'model', 'shard', 'parent_folder', 'prepared', 'keep_prepared')
)
"""inputs that work chains provide which expose those of a prediction"""
_CODES = PredictCalculation.spec().exit_codes


class PredictWorkChain(GoectpBaseRestartWorkChain):
    """Run ``goectp.predict`` with restarts until every crystal has its row.

    Finished rows are not computed again: each job continues from the working directory of the one before it.
    """

    _process_class = PredictCalculation
    _PROTOCOL_FILE = 'predict.yaml'
    _STATUS_OUTPUT, _PROGRESS_KEY, _UNIT = 'status', 'rows_done', 'rows'

    defaults = AttributeDict(
        {
            'batch_factor': 0.25,  # factor on the size of a batch that did not fit into the memory
            'first_batch_atoms': 4096,  # size that is assumed if the job did not report one
            'smallest_batch_atoms': 64,  # size at which a failure is not attributed to the batch any more
            'idle_jobs': 2,  # number of jobs in a row without a new row after which the work chain ends
        }
    )

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.input(
            'allow_cpu',
            valid_type=orm.Bool,
            default=lambda: orm.Bool(True),
            serializer=orm.to_aiida_type,
            help='Whether to continue on the CPU if the GPU is not available or its memory does not suffice.',
        )
        spec.output(
            'prepared',
            valid_type=orm.RemoteData,
            required=False,
            help='Working folder with the preparation of the crystals, if it was kept.',
        )
        spec.exit_code(
            410,
            'ERROR_TOO_MANY_FAILED_ROWS',
            message='{failed} of {total} rows failed, more than allowed; the predictions are attached.',
        )
        spec.exit_code(
            412, 'ERROR_MEMORY_TOO_SMALL', message='The memory does not suffice for a batch of {atoms} atoms.'
        )
        spec.exit_code(413, 'ERROR_GPU_GONE', message='The GPU is not available, and `allow_cpu` is false.')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        crystals: Any,
        model: ModelData | str | Path,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        Further arguments as those of :meth:`inputs_from_protocol`.

        :param crystals: as for :func:`.to_crystals`
        :param model: a node, a model file, or the name of a shipped model
        """
        nodes = {'crystals': to_crystals(crystals), 'model': to_model(model)}
        return cls._fill_builder(cls.inputs_from_protocol(code, protocol, overrides, options, gpus, **nodes))

    def results(self) -> ExitCode | None:
        """Attach the outputs of the last job, and its working folder if that keeps the preparation."""
        code = super().results()
        kept, cleaned = (self.ctx.inputs.get('keep_prepared', None), self.inputs.get('clean_workdir', None))
        if code is None and kept is not None and kept.value and not (cleaned is not None and cleaned.value):
            self.out('prepared', self.ctx.children[-1].outputs.remote_folder)
        return code

    @process_handler(priority=600, exit_codes=[_CODES.ERROR_BAD_INPUT, _CODES.ERROR_BAD_MODEL])
    def handle_refused_input(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The executable refused the crystals or the model: abort, since another job would refuse them too."""
        return self._abort(self.exit_codes.ERROR_INPUT_REFUSED.format(message=node.exit_message))

    @process_handler(priority=550, exit_codes=[_CODES.ERROR_CANNOT_WRITE])
    def handle_cannot_write(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The working folder cannot be written to (disk, quota): abort, or pause as `on_unhandled_failure` asks."""
        return self._abort_or_pause(node)

    @process_handler(priority=500, exit_codes=[_CODES.ERROR_TOO_MANY_FAILED_ROWS])
    def handle_too_many_failed_rows(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """More rows failed than allowed: attach the outputs, which give the reason of each row, and abort.

        Failed rows are results: the same crystals would fail again.
        """
        predictions = node.outputs.predictions
        self.ctx.is_finished = True
        self.results()
        failed = predictions.base.attributes.get('failed')
        return self._abort(self.exit_codes.ERROR_TOO_MANY_FAILED_ROWS.format(failed=failed, total=len(predictions)))

    @process_handler(priority=400, exit_codes=[_CODES.ERROR_OUT_OF_MEMORY])
    def handle_out_of_memory(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The memory did not suffice: reduce the batch to a quarter; at the smallest batch use the CPU, if allowed."""
        used = self._reported_status(node).get('batch_atoms') or self.defaults.first_batch_atoms
        if 'batch_atoms' in self.ctx.inputs:
            used = min(used, self.ctx.inputs.batch_atoms.value)
        if used > self.defaults.smallest_batch_atoms:
            atoms = self._reduce_batch(used)
            return self._continue_from(node, 'out of memory', f'continuing with batches of {atoms} atoms')
        on_gpu = str(self._reported_status(node).get('device', '')).startswith('cuda')
        if on_gpu and self.inputs.allow_cpu.value:
            self.ctx.inputs.device = orm.Str('cpu')
            self.ctx.inputs.pop('batch_atoms', None)
            return self._continue_from(node, 'out of memory on the GPU at the smallest batch', 'continuing on the CPU')
        return self._abort(self.exit_codes.ERROR_MEMORY_TOO_SMALL.format(atoms=used))

    def _reduce_batch(self, used: int) -> int:
        """Reduce the batch of the next job, and return its size in atoms."""
        atoms = max(int(used * self.defaults.batch_factor), self.defaults.smallest_batch_atoms)
        self.ctx.inputs.batch_atoms = orm.Int(atoms)
        return atoms

    @process_handler(priority=300, exit_codes=[_CODES.ERROR_NO_DEVICE])
    def handle_no_device(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The GPU is not available, or was lost during the job: continue on the CPU, if allowed."""
        if self.inputs.allow_cpu.value and self.ctx.inputs.device.value != 'cpu':
            self.ctx.inputs.device = orm.Str('cpu')
            return self._continue_from(node, 'no GPU is available', 'continuing on the CPU')
        return self._abort(self.exit_codes.ERROR_GPU_GONE)

    @process_handler(priority=200, exit_codes=[_CODES.ERROR_INTERRUPTED])
    def handle_interrupted(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The wall time was reached: continue from the finished rows; abort if two jobs in a row added none."""
        return self._continue_or_abort(node, 'the wall time was reached')

    @process_handler(priority=100, exit_codes=[_CODES.ERROR_KILLED, _CODES.ERROR_NO_STATUS, _CODES.ERROR_OUTPUT_BROKEN])
    def handle_killed(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The job was killed, or its files are incomplete: continue from the finished rows; abort as if interrupted.

        A job that is killed before its first new row may have run out of memory: the batch is reduced as well.
        """
        before = self.ctx.idle_jobs
        report = self._continue_or_abort(node, 'the job was killed')
        if self.ctx.idle_jobs > before and (used := self._reported_status(node).get('batch_atoms')):
            self._reduce_batch(used)
        return report
