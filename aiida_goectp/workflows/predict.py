"""``goectp.predict``: predict many crystals, and get over what goes wrong on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.predict import PredictCalculation
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.restart import GoectpBaseRestartWorkChain

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder

__all__ = ('PredictWorkChain',)

_CODES = PredictCalculation.spec().exit_codes


class PredictWorkChain(GoectpBaseRestartWorkChain):
    """Run ``goectp.predict`` until every crystal has its row, or until there is no hope.

    Rows that are done are never computed again: each new job goes on from the working folder of the one before it.
    """

    _process_class = PredictCalculation
    _PROTOCOLS = 'predict.yaml'
    _SAID, _DONE, _UNIT = 'status', 'rows_done', 'rows'

    defaults = AttributeDict(
        {
            'batch_factor': 0.25,  # a batch that did not fit is cut to this part of it
            'first_batch_atoms': 4096,  # taken if nobody knows how large the batch was
            'smallest_batch_atoms': 64,  # below that, memory is not the batch's fault
            'idle_jobs': 2,  # jobs in a row that end without a new row, after which it is given up
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
            help='Whether to go on without the GPU when it is gone or its memory does not suffice.',
        )
        spec.exit_code(
            410,
            'ERROR_TOO_MANY_FAILED_ROWS',
            message='{failed} of {total} rows failed, more than allowed; the predictions are attached all the same.',
        )
        spec.exit_code(
            412, 'ERROR_MEMORY_TOO_SMALL', message='The memory does not suffice for a batch of {atoms} atoms.'
        )
        spec.exit_code(413, 'ERROR_GPU_GONE', message='The GPU is not there, and `allow_cpu` is false.')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        crystals: CrystalsData,
        model: ModelData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param code: the executable ``goectp``, or its full label
        :param protocol: fast, balanced or stringent
        :param overrides: inputs that take precedence over the protocol, nested as in its YAML file
        :param options: options of the job, for example ``{'queue_name': 'gpu', 'account': 'me'}``
        :param gpus: GPUs to ask the scheduler for; a machine without scheduler needs not be asked
        :raises ValueError: no such protocol, or a scheduler that cannot be asked for GPUs
        """
        inputs = cls.get_protocol_inputs(protocol, overrides)
        builder = cls._builder(inputs, code, {'crystals': crystals, 'model': model}, options, gpus)
        builder.allow_cpu = orm.Bool(inputs['allow_cpu'])
        return builder

    @process_handler(priority=600, exit_codes=[_CODES.ERROR_BAD_INPUT, _CODES.ERROR_BAD_MODEL])
    def handle_refused_input(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The executable refused the crystals or the model: give up, another job would refuse them too."""
        return self._give_up(self.exit_codes.ERROR_INPUT_REFUSED.format(message=node.exit_message))

    @process_handler(priority=500, exit_codes=[_CODES.ERROR_TOO_MANY_FAILED_ROWS])
    def handle_too_many_failed_rows(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """More rows failed than allowed: attach the outputs, which say why each row failed, and end with a code for it.

        Failed rows are results: the same crystals would fail again.
        """
        predictions = node.outputs.predictions
        self.ctx.is_finished = True
        self.results()
        failed = predictions.base.attributes.get('failed')
        return self._give_up(self.exit_codes.ERROR_TOO_MANY_FAILED_ROWS.format(failed=failed, total=len(predictions)))

    @process_handler(priority=400, exit_codes=[_CODES.ERROR_OUT_OF_MEMORY])
    def handle_out_of_memory(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The memory did not suffice: cut the batch to a quarter; at the smallest one go to the CPU, if allowed."""
        used = self._said(node).get('batch_atoms') or self.defaults.first_batch_atoms
        if 'batch_atoms' in self.ctx.inputs:
            used = min(used, self.ctx.inputs.batch_atoms.value)
        if used > self.defaults.smallest_batch_atoms:
            atoms = max(int(used * self.defaults.batch_factor), self.defaults.smallest_batch_atoms)
            self.ctx.inputs.batch_atoms = orm.Int(atoms)
            return self._go_on_from(node, 'out of memory', f'smaller batches, of {atoms} atoms')
        if self._leave_gpu(node):
            return self._go_on_from(node, 'out of memory on the GPU at the smallest batch', 'going on with the CPU')
        return self._give_up(self.exit_codes.ERROR_MEMORY_TOO_SMALL.format(atoms=used))

    @process_handler(priority=300, exit_codes=[_CODES.ERROR_NO_DEVICE])
    def handle_no_device(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The GPU is not there, or was lost on the way: go on with the CPU, if allowed."""
        if self.inputs.allow_cpu.value and self.ctx.inputs.device.value != 'cpu':
            self.ctx.inputs.device = orm.Str('cpu')
            return self._go_on_from(node, 'the GPU is gone', 'going on with the CPU')
        return self._give_up(self.exit_codes.ERROR_GPU_GONE)

    def _leave_gpu(self, node: orm.CalcJobNode) -> bool:
        """Turn to the CPU if that is allowed and a change."""
        on_gpu = str(self._said(node).get('device', '')).startswith('cuda')
        if not (on_gpu and self.inputs.allow_cpu.value):
            return False
        self.ctx.inputs.device = orm.Str('cpu')
        self.ctx.inputs.pop('batch_atoms', None)
        return True

    @process_handler(priority=200, exit_codes=[_CODES.ERROR_INTERRUPTED])
    def handle_interrupted(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The time was up: go on from the rows that are done; give up when two jobs in a row added none."""
        report = self._go_on_from(node, 'the time was up', 'going on from there')
        return self._stop_if_idle(node) or report

    @process_handler(priority=100, exit_codes=[_CODES.ERROR_KILLED, _CODES.ERROR_NO_STATUS, _CODES.ERROR_OUTPUT_BROKEN])
    def handle_killed(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The job was killed half-way, or its files are torn: go on from the rows that are done.

        A job that is killed before its first new row may have been too large: the batch is cut as well. Two such jobs
        in a row are the end.
        """
        before = self.ctx.idle_jobs
        report = self._go_on_from(node, 'the job was killed', 'going on from there')
        if self.ctx.idle_jobs > before and (used := self._said(node).get('batch_atoms')):
            atoms = max(int(used * self.defaults.batch_factor), self.defaults.smallest_batch_atoms)
            self.ctx.inputs.batch_atoms = orm.Int(atoms)
        return self._stop_if_idle(node) or report
