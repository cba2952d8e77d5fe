"""``goectp.train``: train a model in jobs with restarts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ProcessBuilder, ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.monitors import TRAINING
from aiida_goectp.calculations.train import TrainCalculation, all_settings, settings_error
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.workflows.protocols.overrides import Check, monitor_errors, settings_of
from aiida_goectp.workflows.restart import GoectpBaseRestartWorkChain

__all__ = ('TrainWorkChain',)

_CODES = TrainCalculation.spec().exit_codes


class TrainWorkChain(GoectpBaseRestartWorkChain):
    """Run ``goectp.train`` with restarts until the model is trained.

    Finished epochs are not computed again, unless a setting has to change: the learning rate after a training that
    diverged, the batch size after one that ran out of memory.
    """

    _process_class = TrainCalculation
    _PROTOCOL_FILE = 'train.yaml'
    _CHECKS: ClassVar[Mapping[str, Check]] = {
        **GoectpBaseRestartWorkChain._CHECKS,
        'goectp.settings': settings_of(TrainSettings),
        'goectp.monitors': monitor_errors,
    }
    _STATUS_OUTPUT, _PROGRESS_KEY, _UNIT = 'output_parameters', 'epochs_done', 'epochs'

    defaults = AttributeDict(
        {
            'rate_factor': 0.3,  # factor on the learning rate after a training that diverged
            'rate_cuts': 3,  # maximum number of such reductions
            'smallest_batch': 4,  # crystals; size at which a failure is not attributed to the batch any more
            'idle_jobs': 2,  # number of jobs in a row without a new epoch after which the work chain ends
            'lost_devices': 1,  # number of jobs that may lose their GPU
        }
    )

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.exit_code(
            412, 'ERROR_MEMORY_TOO_SMALL', message='The memory does not suffice for a batch of {crystals} crystals.'
        )
        spec.exit_code(413, 'ERROR_GPU_GONE', message='{jobs} jobs found no GPU or lost it; the last one: {message}')
        spec.exit_code(
            415,
            'ERROR_DIVERGES',
            message='The training diverged at each of {cuts} lower learning rates, the last {rate}; check the data.',
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        dataset: DatasetData | Dataset,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
        **nodes: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        Further arguments as those of :meth:`inputs_from_protocol`.
        """
        inputs = cls.inputs_from_protocol(code, protocol, overrides, options, gpus, dataset=dataset, **nodes)
        return cls._fill_builder(inputs)

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
        :param gpus: number of GPUs of one node to request from the scheduler, and to train on together
        :param nodes: further inputs of the job: ``dataset``, ``split``, ``model`` to fine-tune, ``name``, ``card``
        :raises ValueError: an unknown protocol, input or setting, or a scheduler from which GPUs cannot be requested
        """
        if gpus > 1:
            nodes['processes'] = orm.Int(gpus)
        inputs = super().inputs_from_protocol(code, protocol, overrides, options, gpus, **nodes)
        job = inputs['goectp']
        if error := settings_error(job['settings']):
            raise ValueError(error)
        job['settings'] = orm.Dict(job['settings'])
        job['monitors'] = {name: orm.Dict(value) for name, value in (job.get('monitors') or {}).items() if value}
        return inputs

    def setup(self) -> None:
        """Initialize the inputs of the job and the counts of its failures."""
        super().setup()
        self.ctx.rate_cuts = 0
        self.ctx.lost_devices = 0

    def _setting(self, name: str) -> Any:
        return all_settings(self.ctx.inputs.settings.get_dict())[name]

    def _change_settings(self, **settings: Any) -> None:
        self.ctx.inputs.settings = orm.Dict({**self.ctx.inputs.settings.get_dict(), **settings})

    def _restart_from_scratch(self, node: orm.CalcJobNode, problem: str, **settings: Any) -> ProcessHandlerReport:
        """Let the next job start anew with other settings, to which no saved state belongs."""
        self._change_settings(**settings)
        self.ctx.inputs.pop('parent_folder', None)
        self.ctx.finished_units = self.ctx.idle_jobs = 0
        changes = ', '.join(f'{name} {value:.4g}' for name, value in settings.items())
        return self._report_handled(node, problem, f'restarting from scratch with {changes}')

    @process_handler(priority=600, exit_codes=[_CODES.ERROR_BAD_INPUT, _CODES.ERROR_BAD_MODEL])
    def handle_refused_input(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The executable refused the dataset, the settings or the model: abort, since another job would refuse too."""
        return self._abort(self.exit_codes.ERROR_INPUT_REFUSED.format(message=node.exit_message))

    @process_handler(priority=550, exit_codes=[_CODES.ERROR_CANNOT_WRITE])
    def handle_cannot_write(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The working folder cannot be written to (disk, quota): abort, or pause as `on_unhandled_failure` asks."""
        return self._abort_or_pause(node)

    @process_handler(priority=500, exit_codes=[_CODES.ERROR_DIVERGED])
    def handle_diverged(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The training diverged: restart from scratch with 0.3 times the learning rate, at most three times."""
        rate = self._setting('learning_rate')
        if self.ctx.rate_cuts >= self.defaults.rate_cuts:
            return self._abort(self.exit_codes.ERROR_DIVERGES.format(cuts=self.ctx.rate_cuts, rate=f'{rate:.3g}'))
        self.ctx.rate_cuts += 1
        return self._restart_from_scratch(node, 'diverged', learning_rate=rate * self.defaults.rate_factor)

    @process_handler(priority=450, exit_codes=[_CODES.ERROR_PLATEAU])
    def handle_plateau(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The validation error stopped improving: continue with a patience that ends the training with its best epoch.

        The monitor is left out: it would stop the next job again before that job can write the model.
        """
        waited = max(1, int(self._reported_status(node).get('since_best', 1)))
        self._change_settings(patience=min(waited, self._setting('patience') or waited))
        monitors = self.ctx.inputs.get('monitors', {})
        self.ctx.inputs.monitors = {
            name: monitor for name, monitor in monitors.items() if monitor.get_dict().get('entry_point') != TRAINING
        }
        return self._continue_from(node, 'the validation error does not improve', 'ending the training')

    @process_handler(priority=400, exit_codes=[_CODES.ERROR_OUT_OF_MEMORY])
    def handle_out_of_memory(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The memory did not suffice: restart from scratch with half the batch size; abort at the smallest one."""
        batch = self._setting('batch_size')
        if batch <= self.defaults.smallest_batch:
            return self._abort(self.exit_codes.ERROR_MEMORY_TOO_SMALL.format(crystals=batch))
        smaller = max(batch // 2, self.defaults.smallest_batch)
        return self._restart_from_scratch(node, 'out of memory', batch_size=smaller)

    @process_handler(priority=300, exit_codes=[_CODES.ERROR_NO_DEVICE])
    def handle_no_device(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The GPU is not available, or was lost during the job: retry once, perhaps on another node; then abort."""
        self.ctx.lost_devices += 1
        if self.ctx.lost_devices > self.defaults.lost_devices:
            code = self.exit_codes.ERROR_GPU_GONE
            return self._abort(code.format(jobs=self.ctx.lost_devices, message=node.exit_message))
        return self._continue_from(node, 'no GPU is available', 'retrying')

    @process_handler(priority=200, exit_codes=[_CODES.ERROR_INTERRUPTED])
    def handle_interrupted(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The wall time was reached: continue from the finished epochs; abort if two jobs in a row added none."""
        return self._continue_or_abort(node, 'the wall time was reached')

    @process_handler(priority=100, exit_codes=[_CODES.ERROR_KILLED, _CODES.ERROR_NO_STATUS, _CODES.ERROR_OUTPUT_BROKEN])
    def handle_killed(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The job was killed: continue from the finished epochs; abort if two jobs in a row added none."""
        return self._continue_or_abort(node, 'the job was killed')
