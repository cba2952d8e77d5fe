"""``goectp.train``: train a model, and get over what goes wrong on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.calculations.monitors import TRAINING
from aiida_goectp.calculations.train import TrainCalculation, all_settings, settings_error
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.workflows.restart import GoectpBaseRestartWorkChain

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder

__all__ = ('TrainWorkChain',)

_CODES = TrainCalculation.spec().exit_codes
_NODES = ('split', 'model', 'name', 'card')
"""inputs of the job that no protocol has"""


class TrainWorkChain(GoectpBaseRestartWorkChain):
    """Run ``goectp.train`` until the model is trained, or until there is no hope.

    Epochs that are done are never computed again, unless a setting has to change: the learning rate after a training
    that diverged, the size of the batch after one that found no room.
    """

    _process_class = TrainCalculation
    _PROTOCOLS = 'train.yaml'
    _OPEN = (*GoectpBaseRestartWorkChain._OPEN, 'goectp.monitors')
    _SAID, _DONE, _UNIT = 'output_parameters', 'epochs_done', 'epochs'

    defaults = AttributeDict(
        {
            'rate_factor': 0.3,  # of the learning rate, after a training that diverged
            'rate_cuts': 3,  # so many times; then it is not the learning rate's fault
            'smallest_batch': 4,  # crystals; below that, memory is not the batch's fault
            'idle_jobs': 2,  # jobs in a row that end without a new epoch, after which it is given up
            'lost_devices': 1,  # jobs that may lose their GPU before it is given up
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
            message='The training diverged at each of {cuts} lower learning rates, the last {rate}; look at the data.',
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        dataset: DatasetData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        gpus: int = 0,
        **nodes: Any,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param code: the executable ``goectp``, or its full label
        :param protocol: fast, balanced or stringent
        :param overrides: inputs that take precedence over the protocol, nested as in its YAML file
        :param options: options of the job, for example ``{'queue_name': 'gpu', 'account': 'me'}``
        :param gpus: GPUs of one node to ask the scheduler for, and to train on together; a machine without scheduler
            needs not be asked
        :param nodes: further inputs of the job: ``split``, ``model`` to fine-tune, ``name``, ``card``
        :raises ValueError: no such protocol, no such setting, or a scheduler that cannot be asked for GPUs
        """
        if unknown := set(nodes) - set(_NODES):
            raise ValueError(f'no input is named {", ".join(sorted(unknown))}; there are {", ".join(_NODES)}')
        inputs = cls.get_protocol_inputs(protocol, overrides)
        job = inputs['goectp']
        if complaint := settings_error(job['settings']):
            raise ValueError(complaint)
        made = {name: value for name, value in nodes.items() if value is not None}
        if gpus > 1:
            made['processes'] = orm.Int(gpus)
        made['settings'] = orm.Dict(job['settings'])
        made['monitors'] = {name: orm.Dict(value) for name, value in (job.get('monitors') or {}).items() if value}
        return cls._builder(inputs, code, {'dataset': dataset, **made}, options, gpus)

    def setup(self) -> None:
        """Take the inputs of the job, and remember that nothing went wrong yet."""
        super().setup()
        self.ctx.rate_cuts = 0
        self.ctx.lost_devices = 0

    def _setting(self, name: str) -> Any:
        return all_settings(self.ctx.inputs.settings.get_dict())[name]

    def _change(self, **settings: Any) -> None:
        self.ctx.inputs.settings = orm.Dict({**self.ctx.inputs.settings.get_dict(), **settings})

    def _from_the_start(self, node: orm.CalcJobNode, problem: str, **settings: Any) -> ProcessHandlerReport:
        """Let the next job begin anew with other settings: another training, to which no state belongs."""
        self._change(**settings)
        self.ctx.inputs.pop('parent_folder', None)
        self.ctx.done = self.ctx.idle_jobs = 0
        changes = ', '.join(f'{name} {value:.4g}' for name, value in settings.items())
        return self._again(node, problem, f'from the start with {changes}')

    @process_handler(priority=600, exit_codes=[_CODES.ERROR_BAD_INPUT, _CODES.ERROR_BAD_MODEL])
    def handle_refused_input(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The executable refused the dataset, the settings or the model: give up, it would refuse them again."""
        return self._give_up(self.exit_codes.ERROR_INPUT_REFUSED.format(message=node.exit_message))

    @process_handler(priority=500, exit_codes=[_CODES.ERROR_DIVERGED])
    def handle_diverged(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The loss is no number any more: from the start with 0.3 times the learning rate, three times at most."""
        rate = self._setting('learning_rate')
        if self.ctx.rate_cuts >= self.defaults.rate_cuts:
            return self._give_up(self.exit_codes.ERROR_DIVERGES.format(cuts=self.ctx.rate_cuts, rate=f'{rate:.3g}'))
        self.ctx.rate_cuts += 1
        return self._from_the_start(node, 'diverged', learning_rate=rate * self.defaults.rate_factor)

    @process_handler(priority=450, exit_codes=[_CODES.ERROR_PLATEAU])
    def handle_plateau(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """No better validation for long: go on from the state with that patience, which ends it and keeps the model."""
        waited = max(1, int(self._said(node).get('since_best', 1)))
        self._change(patience=min(waited, self._setting('patience') or waited))
        monitors = self.ctx.inputs.get('monitors', {})
        # it has said what it had to say; in the next job it would be faster than the end of the training
        self.ctx.inputs.monitors = {
            name: monitor for name, monitor in monitors.items() if monitor.get_dict().get('entry_point') != TRAINING
        }
        return self._go_on_from(node, 'no better validation', 'ending the training with its best epoch behind it')

    @process_handler(priority=400, exit_codes=[_CODES.ERROR_OUT_OF_MEMORY])
    def handle_out_of_memory(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The memory did not suffice: from the start with half the batch; give up at the smallest one."""
        batch = self._setting('batch_size')
        if batch <= self.defaults.smallest_batch:
            return self._give_up(self.exit_codes.ERROR_MEMORY_TOO_SMALL.format(crystals=batch))
        return self._from_the_start(node, 'out of memory', batch_size=max(batch // 2, self.defaults.smallest_batch))

    @process_handler(priority=300, exit_codes=[_CODES.ERROR_NO_DEVICE])
    def handle_no_device(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The GPU is not there, or was lost on the way: once again, on a machine that may have one; then give up."""
        self.ctx.lost_devices += 1
        if self.ctx.lost_devices > self.defaults.lost_devices:
            code = self.exit_codes.ERROR_GPU_GONE
            return self._give_up(code.format(jobs=self.ctx.lost_devices, message=node.exit_message))
        return self._go_on_from(node, 'the GPU is gone', 'once again')

    @process_handler(priority=200, exit_codes=[_CODES.ERROR_INTERRUPTED])
    def handle_interrupted(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The time was up: go on from the epochs that are done; give up when two jobs in a row added none."""
        report = self._go_on_from(node, 'the time was up', 'going on from there')
        return self._stop_if_idle(node) or report

    @process_handler(priority=100, exit_codes=[_CODES.ERROR_KILLED, _CODES.ERROR_NO_STATUS, _CODES.ERROR_OUTPUT_BROKEN])
    def handle_killed(self, node: orm.CalcJobNode) -> ProcessHandlerReport:
        """The job was killed half-way: go on from the epochs that are done; give up when two in a row added none."""
        report = self._go_on_from(node, 'the job was killed', 'going on from there')
        return self._stop_if_idle(node) or report
