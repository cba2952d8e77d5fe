"""Private API of aiida-core that this package uses, with the reason for each. Check these after an upgrade of AiiDA."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any

from aiida import orm
from aiida.common import timezone
from aiida.engine import BaseRestartWorkChain, ExitCode, ProcessState, ToContext, WorkChain
from aiida.engine.processes.builder import ProcessBuilderNamespace
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from plumpy.process_states import Interruption

from aiida_goectp.calculations.broker import LostConnectionMixin

__all__ = (
    'STEP_RAISED',
    'BrokerRestartMixin',
    'NamedStepFailureMixin',
    'RestartMixin',
    'ResumeAfterEachChildMixin',
    'builder_inputs',
    'clean_remote_folder',
)

STEP_RAISED = 490
"""exit status of a work chain of which a step raised an exception"""


def builder_inputs(builder: ProcessBuilderNamespace) -> dict[str, Any]:
    """Return the inputs of a builder as nested dictionaries, without empty namespaces.

    Reason: a work chain submits another process with a dictionary of inputs, while the protocols of aiida-vasp and
    aiida-quantumespresso return builders. ``ProcessBuilderNamespace`` has no public method that leaves out the empty
    namespaces, which are invalid where a namespace is optional.
    """
    inputs: dict[str, Any] = builder._inputs(prune=True)
    return inputs


def clean_remote_folder(folder: orm.RemoteData) -> None:
    """Remove the content of the working directory of a job.

    Reason: aiida-core has no public method for it; its own ``BaseRestartWorkChain`` calls the same private one.

    :raises OSError: the directory does not exist or cannot be reached
    """
    folder._clean()


_MAX_NAMED = 5
"""finished processes that an exit message names"""


class NamedStepFailureMixin(WorkChain):
    """Work chain that ends with an exit code if one of its steps raises an exception.

    Reason: aiida-core has no public method around the steps of an outline. An exception in a step would leave the work
    chain excepted: without a message that names the processes that are finished, and without further outputs.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define the exit code."""
        super().define(spec)
        spec.exit_code(
            STEP_RAISED, 'ERROR_STEP_RAISED', message='The step {step} raised {error}. Finished before: {finished}.'
        )

    def attach_partial_results(self) -> None:
        """Attach as outputs what was obtained before a step raised an exception; a subclass overrides this."""

    def _do_step(self) -> Any:
        """Execute the next step; return the exit code if it raises an exception."""
        try:
            return super()._do_step()
        except Interruption:  # a request to pause or kill the process
            raise
        except Exception as error:
            return self._step_failure(error)

    def _step_failure(self, error: Exception) -> ExitCode:
        step = next((name for name in _methods(error.__traceback__, self) if name != '_do_step'), 'unknown')
        self.logger.exception('the step %s raised an exception', step)
        try:
            self.attach_partial_results()
        except Exception:
            self.logger.exception('partial results could not be attached')
        calls = sorted(self.node.called, key=lambda call: int(call.pk or 0))
        finished = [f'{call.process_label}<{call.pk}>' for call in calls if call.is_finished_ok]
        lines = str(error).splitlines() or ['']
        code: ExitCode = self.exit_codes.ERROR_STEP_RAISED
        return code.format(
            step=step,
            error=f'{type(error).__name__}: {lines[0]}'.removesuffix(': '),
            finished=', '.join(finished[-_MAX_NAMED:]) or 'none',
        )


def _methods(trace: TracebackType | None, process: WorkChain) -> Iterator[str]:
    """Yield the names of the methods of a process in a traceback, outermost first."""
    while trace is not None:
        if trace.tb_frame.f_locals.get('self') is process:
            yield trace.tb_frame.f_code.co_name
        trace = trace.tb_next


_BROKER_SECONDS, _BROKER_LIMIT = 5.0, 300.0
"""between two attempts, and of all; a server is back after a restart in less than a minute, and after five minutes a
user has to see that it is not"""


class BrokerRestartMixin(LostConnectionMixin, WorkChain):
    """Work chain that survives a restart of the message broker while it submits a process or begins to wait for one.

    Reason: aiida-core stores a process with its checkpoint, and then sends its task to the broker. If that raises an
    exception, the process stays behind and no worker continues it. There is no public method that sends the task alone,
    and none that waits for a process without a message from the broker, which a closed connection refuses as well.
    """

    def _action_awaitables(self) -> None:
        """Wait for the called processes: for a message that each has ended, and by asking the database."""
        for awaitable in self._awaitables:
            callback = partial(self.call_soon, self._on_awaitable_finished, awaitable)
            try:
                self.runner.call_on_process_finish(awaitable.pk, callback)
            except Exception as error:
                self.logger.warning('no messages about process %d: %s', awaitable.pk, error)
                self.runner._poll_process(orm.load_node(awaitable.pk), callback)

    def _on_awaitable_finished(self, awaitable: Any) -> None:
        """Resolve a called process that has ended, once.

        kiwipy keeps a subscription that the broker refused, so that a message may arrive as well. aiida-core ends the
        work chain by an exception if the same process is resolved twice.
        """
        if awaitable in self._awaitables:
            super()._on_awaitable_finished(awaitable)

    def submit(self, process: Any, inputs: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Submit a process as aiida-core does; send its task again while the broker does not take it.

        :raises Exception: that of aiida-core, if no process was stored, or the broker is away for five minutes
        """
        begin = timezone.now()
        try:
            return super().submit(process, inputs, **kwargs)
        except Exception as error:
            stored = [call for call in self.node.called if call.ctime >= begin and call.checkpoint is not None]
            if not stored or not self.runner.is_daemon_runner:
                raise
            return self._send_again(stored[-1], error)

    def _send_again(self, node: Any, error: Exception) -> Any:
        """Send the task of a stored process until the broker takes it, and return its node.

        A task that was not acknowledged in time is sent when the connection is back: it is not sent twice.
        """
        controller: Any = self.runner.controller
        name = f'{node.process_label}<{node.pk}>'
        self.report(f'the broker did not take {name} ({type(error).__name__}: {error}); trying again')
        deadline = time.monotonic() + _BROKER_LIMIT
        while not isinstance(error, TimeoutError | concurrent.futures.TimeoutError):
            if time.monotonic() > deadline:
                raise error
            time.sleep(_BROKER_SECONDS)  # the connection to the broker has a thread of its own
            try:
                controller.continue_process(node.pk, nowait=False, no_reply=True)
            except Exception as latest:
                error = latest
            else:
                break
        return node


class RestartMixin(BaseRestartWorkChain):
    """``BaseRestartWorkChain`` that continues after a pause and after the death of a worker in its last step, and
    replaces once a job that was not submitted.

    Reason: with ``pause_on_max_iterations``, aiida-core 2.9 sets its counter to zero and keeps the list of jobs, in
    which the counter is the place of the last one. It would inspect the first job again in place of the new one. A
    worker that loses its connection to the message broker while it loads a job ends that job by an exception, which
    aiida-core takes for one of the job itself. If a worker is killed after it has linked the outputs and before it has
    saved this, aiida-core skips them when the next worker repeats the step, and ends the work chain with exit code 11
    because they are missing.
    """

    def setup(self) -> None:
        """Initialise the list of the jobs before the last pause."""
        super().setup()
        self.ctx.jobs_before_pause = []

    def run_process(self) -> ToContext:
        """Run the next job; after such a pause, begin a new list."""
        if self.ctx.iteration == 0 and self.ctx.get('children'):
            self.ctx.jobs_before_pause = [*self.ctx.jobs_before_pause, *self.ctx.children]
            self.ctx.children = []
        return super().run_process()

    def inspect_process(self) -> ExitCode | None:
        """Inspect the last job as aiida-core does, but replace once one that raised before its submission."""
        node = self.ctx.children[self.ctx.iteration - 1]
        submitted = not isinstance(node, orm.CalcJobNode) or node.get_job_id() is not None
        if not node.is_excepted or submitted or self.ctx.get('replaced_job', False):
            return super().inspect_process()
        self.ctx.replaced_job = True
        self.report(f'{node.process_label}<{node.pk}> raised an exception before its submission; running it once more')
        return None

    def _attach_outputs(self, node: orm.CalcJobNode) -> Mapping[str, Any]:
        """Attach the outputs of a job as aiida-core does, also those that an earlier execution of this step linked."""
        outputs: Mapping[str, Any] = super()._attach_outputs(node)
        for name in self.spec().outputs:
            if name in outputs and name not in self.outputs:
                self.out(name, outputs[name])
        return outputs


class ResumeAfterEachChildMixin(WorkChain):
    """Work chain that executes its next step as soon as one of its children has terminated.

    Reason: aiida-core resumes a work chain when all children that it waits for have terminated. With that, a slow
    calculation would keep the next one from starting. Each step must pass all running children to ``to_context``.
    """

    def _on_awaitable_finished(self, awaitable: Any) -> None:
        """Resolve a child that has terminated and resume.

        Since each step waits anew for the children that are running, aiida-core may report a child more than once; only
        a child that is waited for counts.
        """
        current = next((item for item in self._awaitables if item.pk == awaitable.pk), None)
        if current is None:
            return
        super()._on_awaitable_finished(current)
        if self.state == ProcessState.WAITING and self._awaitables:
            self.resume()
